//! Batch norm against the formula, over ranks, and with what follows it.

use std::thread;

use tch::{Device, Kind, no_grad};

use super::*;
use crate::model::thread_ranks::ThreadRanks;
use crate::torch_extra::SyncStatistics;
use crate::torch_extra::cuda_contract::{as_on_cuda, observed};

/// Output, gradient of the input, gradients of weight and bias, running mean and variance.
type Outcome = [Tensor; 6];

fn layer(channels: i64, kind: Kind) -> (BatchNorm, Parameters) {
    let mut parameters = Parameters::new(Device::Cpu, kind, 0);
    let layer = BatchNorm::new("bn", channels, &mut parameters);
    no_grad(|| {
        let ramp = Tensor::arange(channels, (kind, Device::Cpu));
        layer.weight.shallow_clone().copy_(&(&ramp * 0.3 - 0.4));
        layer.bias.shallow_clone().copy_(&(&ramp * 0.1 + 0.2));
        layer.running_mean.shallow_clone().copy_(&(&ramp * 0.5));
        layer.running_var.shallow_clone().copy_(&(ramp + 2.0));
    });
    (layer, parameters)
}

fn weight_kind(input: &Tensor) -> Kind {
    if input.kind() == Kind::BFloat16 { Kind::Float } else { input.kind() }
}

/// What follows the normalization, in one call or in calls of their own.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain,
    Relu { shortcut: bool, fused: bool },
    ReluMaxPool { fused: bool },
}

fn run(input: &Tensor, cotangent: &Tensor, sync: Option<SyncStatistics>) -> Outcome {
    run_form(input, cotangent, sync, Form::Plain)
}

fn run_form(input: &Tensor, cotangent: &Tensor, sync: Option<SyncStatistics>, form: Form) -> Outcome {
    let (layer, _parameters) = layer(input.size()[1], weight_kind(input));
    let input = input.detach().set_requires_grad(true);
    // A function in between, so that the layer's gradient is not the leaf's own.
    let inner = &input * 1.0;
    let pass = ForwardContext::train(sync);
    let output = match form {
        Form::Plain => layer.forward(&inner, &pass, Epilogue::Nothing).unwrap(),
        Form::Relu { shortcut, fused } => {
            let shortcut = shortcut.then(|| &inner * 0.5 - 0.3);
            let epilogue = Epilogue::Relu { shortcut: shortcut.as_ref() };
            if fused {
                layer.forward(&inner, &pass, epilogue).unwrap()
            } else {
                finish(layer.forward(&inner, &pass, Epilogue::Nothing).unwrap(), epilogue).unwrap()
            }
        }
        Form::ReluMaxPool { fused: true } => layer.forward(&inner, &pass, Epilogue::ReluMaxPool).unwrap(),
        Form::ReluMaxPool { fused: false } => {
            finish(layer.forward(&inner, &pass, Epilogue::Nothing).unwrap(), Epilogue::ReluMaxPool).unwrap()
        }
    };
    // Pooling leaves fewer values, which take the first ones' cotangents.
    let cotangent = match form {
        Form::ReluMaxPool { .. } => {
            let size = output.size();
            cotangent.narrow(2, 0, size[2]).narrow(3, 0, size[3])
        }
        _ => cotangent.shallow_clone(),
    };
    (output.tanh() * cotangent).sum(input.kind()).backward();
    assert_eq!(layer.num_batches_tracked.int64_value(&[]), 1);
    let [weight, bias] = [&layer.weight, &layer.bias].map(Tensor::grad);
    [output.detach(), input.grad(), weight, bias, layer.running_mean, layer.running_var]
}

/// Each rank on its thread, with its rows of the batch; then rows together, weight gradients added up.
fn run_ranks(input: &Tensor, cotangent: &Tensor, shards: &[i64]) -> Outcome {
    run_ranks_form(input, cotangent, shards, Form::Plain)
}

fn run_ranks_form(input: &Tensor, cotangent: &Tensor, shards: &[i64], form: Form) -> Outcome {
    let ranks = ThreadRanks::new(shards.len());
    let threads: Vec<_> = shards
        .iter()
        .scan(0, |begin, &rows| {
            let shard = |tensor: &Tensor| tensor.narrow(0, *begin, rows);
            let shards = (shard(input), shard(cotangent));
            *begin += rows;
            Some(shards)
        })
        .map(|(input, cotangent)| {
            let sync = ranks.statistics();
            thread::spawn(move || run_form(&input, &cotangent, Some(sync), form))
        })
        .collect();
    let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let all = |part: usize| outcomes.iter().map(|o| o[part].shallow_clone()).collect::<Vec<_>>();
    for part in [4, 5] {
        assert!(all(part).iter().all(|other| *other == outcomes[0][part]), "ranks have parted");
    }
    let total = |part: usize| Tensor::stack(&all(part), 0).sum_dim_intlist(0, false, weight_kind(input));
    let rows = |part: usize| Tensor::cat(&all(part), 0);
    let [.., mean, var] = &outcomes[0];
    [rows(0), rows(1), total(2), total(3), mean.shallow_clone(), var.shallow_clone()]
}

fn assert_equal(actual: &Outcome, expected: &Outcome, tolerance: f64, what: &str) {
    let names = ["output", "gradient", "weight gradient", "bias gradient", "running mean", "running var"];
    for ((actual, expected), name) in actual.iter().zip(expected).zip(names) {
        assert_eq!(actual.kind(), expected.kind());
        let [actual, expected] = [actual, expected].map(|tensor| tensor.to_kind(Kind::Double));
        let error = (actual - &expected).abs().max() / expected.abs().max();
        let error = error.double_value(&[]);
        assert!(error <= tolerance, "{what}: {name} differs by {error:e}");
    }
}

fn batch(shape: &[i64], kind: Kind, channels_last: bool) -> (Tensor, Tensor) {
    let wave = |frequency: f64| {
        let count = shape.iter().product::<i64>();
        let wave = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * frequency).sin();
        let tensor = (wave * 2.0 + 0.7).reshape(shape).to_kind(kind);
        if channels_last && shape.len() == 4 {
            return tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        }
        tensor
    };
    (wave(0.731), wave(1.177))
}

#[test]
fn any_split_over_ranks_equals_one_batch() {
    let splits: [&[i64]; 6] = [&[7], &[4, 3], &[7, 0], &[0, 7], &[1, 4, 2], &[3, 0, 4]];
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
        for (shape, channels_last) in
            [(&[7, 5][..], false), (&[7, 5, 4, 3], false), (&[7, 5, 4, 3], true), (&[7, 5, 6], false)]
        {
            let (input, cotangent) = batch(shape, kind, channels_last);
            let expected = run(&input, &cotangent, None);
            for split in splits {
                let what = format!("{kind:?} {shape:?} channels last {channels_last} as {split:?}");
                assert_equal(&run_ranks(&input, &cotangent, split), &expected, tolerance, &what);
            }
        }
    }
}

/// What a GPU would be asked to do gives the results of the CPU's own kernels, and none of it would be refused: every form,
/// layout, type and share, with ranks that have no sample.
#[test]
fn as_on_a_gpu_every_form_is_what_it_is_on_the_cpu() {
    let forms = [
        Form::Plain,
        Form::Relu { shortcut: false, fused: true },
        Form::Relu { shortcut: true, fused: true },
        Form::ReluMaxPool { fused: true },
    ];
    let shapes: [(&[i64], bool); 4] =
        [(&[7, 5], false), (&[7, 5, 4, 6], false), (&[7, 5, 4, 6], true), (&[7, 5, 6], false)];
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-5), (Kind::BFloat16, 3e-2)] {
        for (shape, channels_last) in shapes {
            for form in
                forms.iter().filter(|form| shape.len() == 4 || !matches!(form, Form::ReluMaxPool { .. }))
            {
                let (input, cotangent) = batch(shape, kind, channels_last);
                let what = format!("{kind:?} {shape:?} channels last {channels_last} {form:?}");
                let alone = || Some(SyncStatistics::new(|_| Ok(())));
                let expected = run_form(&input, &cotangent, alone(), *form);
                let (actual, seen) = observed(|| run_form(&input, &cotangent, alone(), *form));
                assert!(seen.broken.is_empty(), "{what}: {:#?}", seen.broken);
                assert_eq!(seen.calls("native_batch_norm_backward"), 1, "{what}");
                // Rounded to 16 bits between two operations, a value may be on the other side of a ReLU's kink.
                let at_the_kink = kind == Kind::BFloat16 && !matches!(form, Form::Plain);
                let tolerance = if at_the_kink { f64::INFINITY } else { tolerance };
                assert_equal(&actual, &expected, tolerance, &what);
                // Of this rank alone, libtorch's own layer.
                let local = as_on_cuda(|| run_form(&input, &cotangent, None, *form));
                assert_equal(&local, &expected, tolerance, &format!("{what} of one rank"));
                let (none, no_cotangent) = (input.narrow(0, 0, 0), cotangent.narrow(0, 0, 0));
                let empty = as_on_cuda(|| run_form(&none, &no_cotangent, alone(), *form));
                assert!(
                    empty.iter().all(|t| t.isfinite().all().int64_value(&[]) == 1),
                    "{what} of no sample"
                );
            }
        }
    }
}

#[test]
fn relu_and_shortcut_in_one_call_equal_separate_operations() {
    // The last shape has enough elements for several threads, of which this thread may use two.
    tch::set_num_threads(2);
    let shapes: [(&[i64], bool); 5] = [
        (&[7, 5], false),
        (&[7, 5, 4, 3], true),
        (&[7, 5, 4, 3], false),
        (&[7, 5, 6], false),
        (&[7, 37, 20, 21], true),
    ];
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-5)] {
        for (shape, channels_last) in shapes {
            for shortcut in [false, true] {
                let (input, cotangent) = batch(shape, kind, channels_last);
                let expected = run_form(&input, &cotangent, None, Form::Relu { shortcut, fused: false });
                let form = Form::Relu { shortcut, fused: true };
                let what = format!("{kind:?} {shape:?} {channels_last} shortcut {shortcut}");
                assert_equal(&run_form(&input, &cotangent, None, form), &expected, tolerance, &what);
                let ranks = run_ranks_form(&input, &cotangent, &[3, 0, 4], form);
                assert_equal(&ranks, &expected, tolerance, &format!("{what} on ranks"));
            }
        }
    }
}

#[test]
fn max_pooling_in_one_call_equals_separate_operations() {
    // The last shape has enough elements for several threads, of which this thread may use two.
    tch::set_num_threads(2);
    let shapes: [(&[i64], bool); 7] = [
        (&[7, 5, 4, 6], true),
        (&[7, 5, 4, 6], false),
        (&[7, 3, 5, 7], true),
        (&[7, 1, 2, 2], true),
        (&[7, 40, 3, 2], true),
        (&[7, 5, 300, 2], true),
        (&[7, 37, 21, 20], true),
    ];
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-5)] {
        for (shape, channels_last) in shapes {
            let (input, cotangent) = batch(shape, kind, channels_last);
            // Equal elements of a window: the first one has the gradient.
            let _ = input.slice(3, 0, 2, 1).get(0).fill_(1.25);
            let expected = run_form(&input, &cotangent, None, Form::ReluMaxPool { fused: false });
            let form = Form::ReluMaxPool { fused: true };
            let what = format!("{kind:?} {shape:?} {channels_last}");
            assert_equal(&run_form(&input, &cotangent, None, form), &expected, tolerance, &what);
            let ranks = run_ranks_form(&input, &cotangent, &[3, 0, 4], form);
            assert_equal(&ranks, &expected, tolerance, &format!("{what} on ranks"));
        }
    }
}

#[test]
fn max_pooling_takes_no_image_of_one_line() {
    let (layer, _parameters) = layer(3, Kind::Float);
    let (input, _) = batch(&[4, 3, 1, 6], Kind::Float, true);
    let error = layer.forward(&input, &ForwardContext::train(None), Epilogue::ReluMaxPool).unwrap_err();
    assert!(error.to_string().contains("Output size is too small"), "{error}");
}

#[test]
fn what_follows_in_one_call_in_bf16_is_that_of_f64_rounded() {
    let relu = |shortcut| move |fused| Form::Relu { shortcut, fused };
    let forms: [&dyn Fn(bool) -> Form; 3] = [&relu(false), &relu(true), &|fused| Form::ReluMaxPool { fused }];
    for form in forms {
        let (input, cotangent) = batch(&[40, 6, 9, 5], Kind::BFloat16, true);
        let [exact_input, exact_cotangent] = [&input, &cotangent].map(|t| t.to_kind(Kind::Double));
        let expected = run_form(&exact_input, &exact_cotangent, None, form(false));
        let actual = run_form(&input, &cotangent, None, form(true));
        assert_eq!(actual[0].kind(), Kind::BFloat16);
        for (part, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            let (actual, expected) = (actual.to_kind(Kind::Double), expected);
            let error = ((actual - expected).norm() / expected.norm()).double_value(&[]);
            assert!(error < 2e-2, "{:?}: part {part} differs by {error:e}", form(true));
        }
    }
}

#[test]
fn a_value_that_is_not_a_number_passes_relu() {
    let (input, cotangent) = batch(&[4, 3, 2, 2], Kind::Float, true);
    let _ = input.get(0).get(1).fill_(f64::NAN);
    let relu = [false, true].map(|shortcut| Form::Relu { shortcut, fused: true });
    for form in relu.into_iter().chain([Form::ReluMaxPool { fused: true }]) {
        let outcome = run_form(&input, &cotangent, None, form);
        assert!(outcome[0].isnan().any().int64_value(&[]) == 1, "output");
        assert!(outcome[1].isnan().any().int64_value(&[]) == 1, "gradient");
    }
}

#[test]
fn bf16_inputs_keep_the_statistics_of_f32() {
    let (input, cotangent) = batch(&[6, 4, 3, 3], Kind::BFloat16, false);
    let (layer, parameters) = layer(4, Kind::Float);
    let alone = SyncStatistics::new(|_| Ok(()));
    let input = input.set_requires_grad(true);
    let output = layer.forward(&input, &ForwardContext::train(Some(alone)), Epilogue::Nothing).unwrap();
    (&output * cotangent).sum(Kind::Float).backward();
    assert_eq!((output.kind(), input.grad().kind()), (Kind::BFloat16, Kind::BFloat16));
    let mean = input.to_kind(Kind::Double).mean_dim([0, 2, 3].as_slice(), false, Kind::Double);
    let expected = Tensor::arange(4, (Kind::Double, Device::Cpu)) * 0.45 + mean * 0.1;
    assert!(layer.running_mean.to_kind(Kind::Double).allclose(&expected, 1e-6, 1e-6, false));
    assert!(parameters.parameters().iter().all(|p| p.tensor.grad().kind() == Kind::Float));
}

#[test]
fn bf16_over_ranks_is_the_result_of_f64_rounded() {
    for channels_last in [false, true] {
        let (input, cotangent) = batch(&[40, 6, 9, 5], Kind::BFloat16, channels_last);
        // A mean far from zero: a sum of squares in 16 bits would lose the variance.
        let input = input + 8.0;
        let expected = run(&input.to_kind(Kind::Double), &cotangent.to_kind(Kind::Double), None);
        let actual = run_ranks(&input, &cotangent, &[13, 0, 27]);
        assert_eq!(
            actual.each_ref().map(Tensor::kind),
            [Kind::BFloat16, Kind::BFloat16, Kind::Float, Kind::Float, Kind::Float, Kind::Float]
        );
        for (part, tolerance) in [1e-2, 1e-2, 2e-3, 2e-3, 1e-6, 1e-5].into_iter().enumerate() {
            let (actual, expected) = (actual[part].to_kind(Kind::Double), &expected[part]);
            let error = ((actual - expected).norm() / expected.norm()).double_value(&[]);
            assert!(error < tolerance, "channels last {channels_last}: part {part} differs by {error:e}");
        }
    }
}

#[test]
fn without_two_values_nothing_is_learned_and_nothing_is_nan() {
    for rows in [0, 1] {
        for shards in [None, Some([rows, 0])] {
            let (input, cotangent) = batch(&[rows, 5], Kind::Double, false);
            let outcome = match shards {
                None => run(&input, &cotangent, None),
                Some(shards) => run_ranks(&input, &cotangent, &shards),
            };
            let (untouched, _) = layer(5, Kind::Double);
            assert_eq!(outcome[4], untouched.running_mean);
            assert_eq!(outcome[5], untouched.running_var);
            assert!(outcome.iter().all(|t| t.isfinite().all().int64_value(&[]) == 1), "{rows} {shards:?}");
        }
    }
}

#[test]
fn a_pass_without_update_leaves_all_buffers() {
    for sync in [None, Some(SyncStatistics::new(|_| Ok(())))] {
        let (layer, parameters) = layer(5, Kind::Double);
        let before: Vec<_> = parameters.buffers().iter().map(|b| b.tensor.copy()).collect();
        let (input, _) = batch(&[7, 5], Kind::Double, false);
        let silent = {
            let pass = ForwardContext::train(sync.clone()).without_update();
            layer.forward(&input, &pass, Epilogue::Nothing).unwrap()
        };
        assert!(parameters.buffers().iter().zip(&before).all(|(after, before)| after.tensor == *before));
        assert_eq!(silent, layer.forward(&input, &ForwardContext::train(sync), Epilogue::Nothing).unwrap());
        assert!(parameters.buffers().iter().zip(&before).all(|(after, before)| after.tensor != *before));
    }
}
