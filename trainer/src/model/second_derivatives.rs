//! The gradient of a gradient of every network, with every normalization, on one rank and on several, against finite differences
//! of the first gradient of the ordinary passes on one rank.

use std::sync::Arc;
use std::thread;

use dtrain_configs::schema::{ModelConfig, Norm};
use tch::{Device, Kind, Tensor, no_grad};

use super::parameters::Parameters;
use super::thread_ranks::ThreadRanks;
use super::{Backbone, ForwardContext, build_backbone};
use crate::torch_extra::SyncStatistics;
use crate::torch_extra::cuda_contract::as_on_cuda;

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
const ROWS: i64 = 6;
const SIDE: i64 = 24;
/// Rows of each rank; a rank may have none.
const WORLDS: [&[i64]; 3] = [&[6], &[2, 4], &[4, 0, 2]];
/// Shares of themselves by which weights or inputs are moved, tried one after the other. A step that moves an activation across
/// the kink of a ReLU, or makes another element the largest of its window, says nothing of a derivative: one of them meets none.
const STEPS: [f64; 4] = [1e-8, 1e-9, 1e-7, 1e-6];

fn wave(shape: &[i64], frequency: f64) -> Tensor {
    (Tensor::arange(shape.iter().product::<i64>(), DOUBLE) * frequency).sin().reshape(shape)
}

/// The direction in which a tensor is moved: of its own size, and along itself too, which a network without normalization of its
/// own feels most.
fn direction(tensor: &Tensor) -> Tensor {
    let tensor = tensor.detach();
    wave(&tensor.size(), 2.0 * 1.359) * tensor.square().mean(Kind::Double).sqrt() + tensor
}

struct Network {
    backbone: Box<dyn Backbone>,
    parameters: Parameters,
}

impl Network {
    /// Scales, shifts and running statistics away from their simple beginnings. Scales are small, so that of a residual block
    /// the shortcut is the larger part, as it is in a trained one, and a deep network is no chaos; no shift is 0, which
    /// would put the activations of a constant channel onto the kink of its ReLU.
    fn new(config: &ModelConfig) -> Self {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
        let backbone = build_backbone(config, [1, SIDE, SIDE].into(), &mut parameters);
        let tensors = parameters.parameters().iter().map(|p| (&p.name, &p.tensor));
        let buffers = parameters.buffers().iter().map(|b| (&b.name, &b.tensor));
        no_grad(|| {
            for (name, tensor) in tensors.chain(buffers).filter(|(_, tensor)| tensor.dim() == 1) {
                let center = match name.rsplit('.').next() {
                    // Without a normalization in between, a small scale would let the inputs fade.
                    Some("weight") if config.norm == Norm::Frozen => 1.0,
                    Some("weight") => 0.3,
                    Some("running_var") => 1.0,
                    _ => 0.02,
                };
                tensor.shallow_clone().copy_(&(wave(&tensor.size(), 0.377) * 0.1 + center));
            }
        });
        Self { backbone, parameters }
    }

    /// This rank's share of a loss of the embeddings, and its gradient with respect to the inputs: of the losses of all ranks.
    fn input_gradient(&self, input: &Tensor, cotangent: &Tensor, pass: &ForwardContext) -> Tensor {
        let loss = (self.backbone.forward(input, pass).unwrap().square() * cotangent).sum(Kind::Double);
        let twice = pass.differentiable_twice;
        Tensor::run_backward(&[loss], &[input], twice, twice).remove(0)
    }

    /// This rank's share of the penalty on that gradient.
    fn penalty(&self, input: &Tensor, cotangent: &Tensor, pass: &ForwardContext) -> Tensor {
        self.input_gradient(input, cotangent, pass).square().sum(Kind::Double)
    }
}

/// Inputs and what the loss weighs embeddings by.
fn case(network: &Network) -> (Tensor, Tensor) {
    (wave(&[ROWS, 1, SIDE, SIDE], 0.731), wave(&[ROWS, network.backbone.num_features()], 1.177))
}

/// The penalty of the whole batch, and how fast it rises along the direction of all weights and along that of the inputs, by
/// finite differences.
struct Measured {
    penalty: f64,
    slopes: [f64; 2],
}

impl Measured {
    fn with_step(config: &ModelConfig, step: f64) -> Self {
        let network = Network::new(config);
        let (input, cotangent) = case(&network);
        let pass = ForwardContext::train(Some(SyncStatistics::new(|_| Ok(())))).without_update();
        let penalty = |input: &Tensor| {
            let input = input.detach().set_requires_grad(true);
            network.penalty(&input, &cotangent, &pass).double_value(&[])
        };
        let parameters = network.parameters.parameters();
        let weights: Vec<(&Tensor, Tensor, Tensor)> =
            parameters.iter().map(|p| (&p.tensor, p.tensor.detach().copy(), direction(&p.tensor))).collect();
        let of_weights = |by: f64| {
            let move_all = |by: f64| {
                no_grad(|| {
                    for (tensor, value, direction) in &weights {
                        tensor.shallow_clone().copy_(&(value + direction * by));
                    }
                });
            };
            move_all(by);
            let moved = penalty(&input);
            move_all(0.0);
            moved
        };
        let of_inputs = |by: f64| penalty(&(&input + direction(&input) * by));
        let slope = |penalty: &dyn Fn(f64) -> f64| (penalty(step) - penalty(-step)) / (2.0 * step);
        Self { penalty: penalty(&input), slopes: [slope(&of_weights), slope(&of_inputs)] }
    }
}

/// The same of one rank's rows by second derivatives: its share of the sums over the ranks.
fn share(config: &ModelConfig, (begin, rows): (i64, i64), sync: Option<SyncStatistics>) -> Measured {
    let network = Network::new(config);
    let (inputs, cotangents) = case(&network);
    let input = inputs.narrow(0, begin, rows).copy().set_requires_grad(true);
    let pass = ForwardContext::train(sync).without_update().twice(true);
    let penalty = network.penalty(&input, &cotangents.narrow(0, begin, rows), &pass);
    penalty.backward();
    let along = |tensor: &Tensor, direction: &Tensor| {
        let gradient = tensor.grad();
        if gradient.defined() { (gradient * direction).sum(Kind::Double).double_value(&[]) } else { 0.0 }
    };
    let parameters = network.parameters.parameters().iter();
    let of_weights: f64 = parameters.map(|p| along(&p.tensor, &direction(&p.tensor))).sum();
    let of_inputs = along(&input, &direction(&inputs).narrow(0, begin, rows));
    Measured { penalty: penalty.double_value(&[]), slopes: [of_weights, of_inputs] }
}

/// The shares of all ranks, added up.
fn computed(config: &ModelConfig, shards: &[i64]) -> Measured {
    let ranks = ThreadRanks::new(shards.len());
    let threads: Vec<_> = shards
        .iter()
        .scan(0, |begin, &rows| {
            let range = (*begin, rows);
            *begin += rows;
            Some(range)
        })
        .map(|range| {
            let (config, ranks) = (config.clone(), Arc::clone(&ranks));
            thread::spawn(move || share(&config, range, Some(ranks.statistics())))
        })
        .collect();
    let mut sum = Measured { penalty: 0.0, slopes: [0.0; 2] };
    for thread in threads {
        let Measured { penalty, slopes } = thread.join().unwrap();
        sum.penalty += penalty;
        sum.slopes.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
    }
    sum
}

fn assert_measured(what: &str, config: &ModelConfig, all: &[Measured]) {
    let mut tried = Vec::new();
    for step in STEPS {
        let expected = Measured::with_step(config, step);
        let penalty = expected.penalty;
        let mut largest = 0.0_f64;
        for computed in all {
            let error = (computed.penalty / penalty - 1.0).abs();
            assert!(error < 1e-9, "{what}: penalty {} and {penalty}", computed.penalty);
            for (computed, expected) in computed.slopes.iter().zip(expected.slopes) {
                // A penalty that does not move would agree with anything.
                assert!(computed.abs() > 1e-4 * penalty, "{what}: {computed} of {penalty}");
                largest = largest.max((computed - expected).abs() / computed.abs().max(penalty));
            }
        }
        if largest < 1e-5 {
            return;
        }
        tried.push((step, largest));
    }
    panic!("{what}: relative errors by the step of finite differences: {tried:?}");
}

fn networks() -> impl Iterator<Item = ModelConfig> {
    let first = |model: ModelConfig| model.network.variants().into_iter().next();
    ModelConfig::all().into_iter().filter_map(first).map(|variant| ModelConfig::from(variant.network))
}

fn assert_second_derivatives(norm: Norm) {
    for model in networks() {
        let config = ModelConfig { norm, norm_groups: 8, ..model };
        let what = format!("{} {norm:?}", config.name());
        assert_measured(&what, &config, &WORLDS.map(|shards| computed(&config, shards)));
    }
}

#[test]
fn batch_norm_has_second_derivatives_on_any_number_of_ranks() {
    assert_second_derivatives(Norm::Batch);
}

#[test]
fn group_norm_has_second_derivatives_on_any_number_of_ranks() {
    assert_second_derivatives(Norm::Group);
}

#[test]
fn frozen_norm_has_second_derivatives_on_any_number_of_ranks() {
    assert_second_derivatives(Norm::Frozen);
}

/// Without statistics over ranks, as with one rank or `trainer.sync_bn=false`; and as a GPU would be asked to compute it.
#[test]
fn local_statistics_have_second_derivatives_too() {
    for config in networks().filter(|model| !model.network.facts().is_large) {
        let alone = || Some(SyncStatistics::new(|_| Ok(())));
        let all = [
            share(&config, (0, ROWS), None),
            as_on_cuda(|| share(&config, (0, ROWS), None)),
            as_on_cuda(|| share(&config, (0, ROWS), alone())),
        ];
        assert_measured(&format!("{}, local", config.name()), &config, &all);
    }
}

/// What the passes leave behind is the same whichever operations compute them.
#[test]
fn outputs_gradients_and_running_statistics_are_those_of_the_ordinary_passes() {
    for config in networks().filter(|model| !model.network.facts().is_large) {
        for sync in [false, true] {
            let outcome = |twice: bool| {
                let network = Network::new(&config);
                let (input, cotangent) = case(&network);
                let sync = sync.then(|| SyncStatistics::new(|_| Ok(())));
                let pass = ForwardContext::train(sync).twice(twice);
                let output = network.backbone.forward(&input, &pass).unwrap();
                (output.tanh() * cotangent).sum(Kind::Double).backward();
                let gradients = network.parameters.parameters().iter().map(|p| p.tensor.grad());
                let buffers = network.parameters.buffers().iter().map(|b| b.tensor.to_kind(Kind::Double));
                let all = std::iter::once(output.detach()).chain(gradients).chain(buffers);
                all.collect::<Vec<_>>()
            };
            for (index, (plain, twice)) in outcome(false).iter().zip(outcome(true)).enumerate() {
                let error = ((plain - twice).norm() / plain.norm().clamp_min(1e-30)).double_value(&[]);
                assert!(error < 1e-10, "{}, sync {sync}: tensor {index} differs by {error:e}", config.name());
            }
        }
    }
}
