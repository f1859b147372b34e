//! The gradient of a gradient of every network, with every normalization, on one rank and on several, against finite differences
//! of the first gradient of the ordinary passes on one rank.

use std::sync::Arc;
use std::thread;

use dtrain_configs::schema::{ModelConfig, Norm};
use tch::{Device, Kind, Tensor, no_grad};

use super::parameters::Parameters;
use super::thread_ranks::ThreadRanks;
use super::{Backbone, Pass, build_backbone};
use crate::torch_extra::SyncStatistics;
use crate::torch_extra::cuda_contract::as_on_cuda;

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
const ROWS: i64 = 5;
/// Large enough that the last stage of a ResNet normalizes over more than a handful of values.
const SIDE: i64 = 48;
/// Rows of each rank; a rank may have none.
const WORLDS: [&[i64]; 3] = [&[5], &[2, 3], &[3, 0, 2]];
/// Shares of themselves by which weights or inputs are moved. A step that moves an activation across the kink of a ReLU, or makes
/// another element the largest of its window, says nothing of a derivative: one of them meets none.
const STEPS: [f64; 3] = [1e-6, 1e-7, 1e-8];

fn wave(shape: &[i64], frequency: f64) -> Tensor {
    (Tensor::arange(shape.iter().product::<i64>(), DOUBLE) * frequency).sin().reshape(shape)
}

/// The direction in which a tensor is moved: of its own size.
fn direction(tensor: &Tensor) -> Tensor {
    wave(&tensor.size(), 2.0 * 1.359) * tensor.detach().square().mean(Kind::Double).sqrt()
}

struct Network {
    backbone: Box<dyn Backbone>,
    parameters: Parameters,
}

impl Network {
    /// Scales, shifts and running statistics away from their simple beginnings.
    fn new(config: &ModelConfig) -> Self {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
        let backbone = build_backbone(config, [1, SIDE, SIDE].into(), &mut parameters);
        let tensors = parameters.parameters().iter().map(|p| (&p.name, &p.tensor));
        let buffers = parameters.buffers().iter().map(|b| (&b.name, &b.tensor));
        no_grad(|| {
            for (name, tensor) in tensors.chain(buffers).filter(|(_, tensor)| tensor.dim() == 1) {
                // Small scales keep second derivatives of 50 layers within what differences can measure.
                let center = match name.rsplit('.').next() {
                    Some("weight") => 0.3,
                    Some("running_var") => 1.0,
                    _ => 0.0,
                };
                tensor.shallow_clone().copy_(&(wave(&tensor.size(), 0.377) * 0.1 + center));
            }
        });
        Self { backbone, parameters }
    }

    /// This rank's share of a loss of the embeddings, and its gradient with respect to the inputs: of the losses of all ranks.
    fn input_gradient(&self, input: &Tensor, cotangent: &Tensor, pass: &Pass) -> Tensor {
        let loss = (self.backbone.forward(input, pass).unwrap().tanh() * cotangent).sum(Kind::Double);
        let twice = pass.differentiable_twice;
        Tensor::run_backward(&[loss], &[input], twice, twice).remove(0)
    }

    /// This rank's share of the penalty on that gradient.
    fn penalty(&self, input: &Tensor, cotangent: &Tensor, pass: &Pass) -> Tensor {
        self.input_gradient(input, cotangent, pass).square().sum(Kind::Double)
    }
}

/// Inputs and the weights of embeddings in the loss.
fn case(network: &Network) -> (Tensor, Tensor) {
    (wave(&[ROWS, 1, SIDE, SIDE], 0.731), wave(&[ROWS, network.backbone.num_features()], 1.177))
}

/// How fast the penalty of the whole batch rises along the direction of all weights, and along that of the inputs, by
/// finite differences for each of the steps; and its value.
fn measured(config: &ModelConfig) -> ([[f64; 2]; 3], f64) {
    let network = Network::new(config);
    let (input, cotangent) = case(&network);
    let pass = Pass::train(Some(SyncStatistics::new(|_| Ok(())))).without_update();
    let penalty = |input: &Tensor| {
        let input = input.detach().set_requires_grad(true);
        network.penalty(&input, &cotangent, &pass).double_value(&[])
    };
    let weights: Vec<(Tensor, Tensor, Tensor)> = network
        .parameters
        .parameters()
        .iter()
        .map(|p| (p.tensor.shallow_clone(), p.tensor.detach().copy(), direction(&p.tensor)))
        .collect();
    let at = |by: f64| {
        no_grad(|| {
            for (tensor, value, direction) in &weights {
                tensor.shallow_clone().copy_(&(value + direction * by));
            }
        });
        penalty(&input)
    };
    let of_inputs = |by: f64| penalty(&(&input + direction(&input) * by));
    let value = penalty(&input);
    let slopes = STEPS.map(|step| {
        let of_weights = (at(step) - at(-step)) / (2.0 * step);
        at(0.0);
        [of_weights, (of_inputs(step) - of_inputs(-step)) / (2.0 * step)]
    });
    (slopes, value)
}

/// The same of one rank's rows by second derivatives, and the penalty: its share of the sums over the ranks.
fn share(config: &ModelConfig, (begin, rows): (i64, i64), sync: Option<SyncStatistics>) -> [f64; 3] {
    let network = Network::new(config);
    let (inputs, cotangents) = case(&network);
    let input = inputs.narrow(0, begin, rows).copy().set_requires_grad(true);
    let pass = Pass::train(sync).without_update().twice(true);
    let penalty = network.penalty(&input, &cotangents.narrow(0, begin, rows), &pass);
    penalty.backward();
    let along = |tensor: &Tensor, direction: &Tensor| {
        let gradient = tensor.grad();
        if gradient.defined() { (gradient * direction).sum(Kind::Double).double_value(&[]) } else { 0.0 }
    };
    let parameters = network.parameters.parameters().iter();
    let of_weights: f64 = parameters.map(|p| along(&p.tensor, &direction(&p.tensor))).sum();
    let of_inputs = along(&input, &direction(&inputs).narrow(0, begin, rows));
    [of_weights, of_inputs, penalty.double_value(&[])]
}

/// The shares of all ranks, added up.
fn computed(config: &ModelConfig, shards: &[i64]) -> [f64; 3] {
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
    let shares = threads.into_iter().map(|thread| thread.join().unwrap());
    shares.fold([0.0; 3], |sums, share| [sums[0] + share[0], sums[1] + share[1], sums[2] + share[2]])
}

fn assert_close(what: &str, expected: &([[f64; 2]; 3], f64), actual: [f64; 3]) {
    let (slopes, penalty) = expected;
    let [of_weights, of_inputs, own_penalty] = actual;
    assert!((own_penalty / penalty - 1.0).abs() < 1e-9, "{what}: penalty {own_penalty}, {penalty}");
    for (index, (name, actual)) in [("weights", of_weights), ("inputs", of_inputs)].into_iter().enumerate() {
        let measured = slopes.map(|slope| slope[index]);
        let error = |measured: f64| (actual - measured).abs() / (actual.abs() + 1e-3 * penalty);
        let least = measured.map(error).into_iter().fold(f64::INFINITY, f64::min);
        assert!(
            least < 1e-5,
            "{what}: along the {name} {actual}, and by differences {measured:?}: {least:e}"
        );
        // A penalty that does not move would agree with anything.
        assert!(actual.abs() > 1e-4 * penalty, "{what}: {actual} of {penalty} along the {name}");
    }
}

fn networks() -> impl Iterator<Item = ModelConfig> {
    let first = |model: ModelConfig| model.network.variants().into_iter().next();
    ModelConfig::all().into_iter().filter_map(first).map(|variant| ModelConfig::from(variant.network))
}

fn assert_second_derivatives(norm: Norm) {
    for model in networks() {
        let config = ModelConfig { norm, norm_groups: 8, ..model };
        let expected = measured(&config);
        for shards in WORLDS {
            let what = format!("{} {norm:?} {shards:?}", config.name());
            assert_close(&what, &expected, computed(&config, shards));
        }
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
    let small = networks().filter(|model| !model.network.facts().is_large);
    for config in small {
        let expected = measured(&config);
        let what = format!("{}, local", config.name());
        assert_close(&what, &expected, share(&config, (0, ROWS), None));
        assert_close(&what, &expected, as_on_cuda(|| share(&config, (0, ROWS), None)));
        let alone = || Some(SyncStatistics::new(|_| Ok(())));
        assert_close(&what, &expected, as_on_cuda(|| share(&config, (0, ROWS), alone())));
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
                let pass = Pass::train(sync).twice(twice);
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
