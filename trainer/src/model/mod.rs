//! Networks with torchvision's parameter names: backbones that turn a view into an embedding, and the heads on them.

pub mod batch_norm;
pub mod classifier;
pub mod cnn_small;
pub mod dropout;
pub mod freeze;
pub mod frozen;
pub mod group_norm;
pub mod layers;
pub mod norm;
pub mod parameters;
pub mod projector;
pub mod resnet;
pub mod simple_cnn;
mod stateful;
pub mod statistics;

use dtrain_configs::schema::{ModelConfig, ModelName};
use tch::{TchError, Tensor};

use crate::torch_extra::SyncStatistics;
use cnn_small::CnnSmall;
use dropout::Noise;
use norm::NormConfig;
use parameters::Parameters;
use resnet::{Depth, Resnet};
use simple_cnn::SimpleCnn;

/// How layers behave in one forward.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Normalize by the statistics of the batch rather than by the running ones.
    pub train: bool,
    /// In training: take the statistics over all ranks. `None` takes those of the tensor at hand.
    pub sync: Option<SyncStatistics>,
    /// In training: share of the batch's statistics in the running ones, which learn by it. `None` leaves them, as where
    /// a batch goes through a second time, in the second encoding of a micro-batched contrastive step.
    pub momentum: Option<f64>,
    /// In training: what dropout draws from. `None` drops nothing.
    pub noise: Option<Noise>,
}

impl Pass {
    /// Evaluation: each sample by itself.
    pub fn eval() -> Self {
        Self { train: false, sync: None, momentum: None, noise: None }
    }

    /// Training, with statistics over all ranks if `sync` is given.
    pub fn train(sync: Option<SyncStatistics>) -> Self {
        Self { train: true, sync, momentum: Some(batch_norm::MOMENTUM), noise: None }
    }

    /// The same, leaving the running statistics as they are.
    pub fn without_update(self) -> Self {
        Self { momentum: None, ..self }
    }

    /// As in training but without dropout; afterwards the running statistics are those of this batch.
    pub fn taking_statistics(sync: Option<SyncStatistics>) -> Self {
        Self { momentum: Some(1.0), ..Self::train(sync) }
    }
}

/// A network that turns views into embeddings.
pub trait Backbone: Send {
    /// Embeds a batch.
    ///
    /// # Shapes
    /// `input` (N, `in_channels`, H, W) to (N, `num_features`); N may be 0.
    ///
    /// # Errors
    /// When memory runs out, the shape does not fit, or the ranks fail to exchange statistics.
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor, TchError>;

    /// Width of an embedding.
    fn num_features(&self) -> i64;

    /// Kind of its normalization layers, for heads.
    fn norm(&self) -> NormConfig;
}

/// Builds the configured backbone and registers its tensors in the current scope of `parameters`.
pub fn build_backbone(
    config: &ModelConfig,
    in_channels: i64,
    parameters: &mut Parameters,
) -> Box<dyn Backbone> {
    let norm = NormConfig::from(config);
    let depth = match config.name {
        ModelName::CnnSmall => return Box::new(CnnSmall::new(in_channels, norm, parameters)),
        ModelName::SimpleCnn => return Box::new(SimpleCnn::new(config, in_channels, norm, parameters)),
        ModelName::Resnet18 => Depth::Resnet18,
        ModelName::Resnet34 => Depth::Resnet34,
        ModelName::Resnet50 => Depth::Resnet50,
    };
    Box::new(Resnet::new(depth, config.stem, in_channels, norm, parameters))
}

/// Rows and columns that an input has at least.
pub fn min_side(name: ModelName) -> usize {
    match name {
        ModelName::CnnSmall => 16,
        ModelName::SimpleCnn => 4,
        ModelName::Resnet18 | ModelName::Resnet34 | ModelName::Resnet50 => 1,
    }
}

#[cfg(test)]
mod parity;
#[cfg(test)]
mod thread_ranks;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use dtrain_configs::schema::{Norm, Stem};
    use tch::{Device, Kind};

    use super::thread_ranks::ThreadRanks;
    use super::*;
    use crate::torch_extra::Autocast;
    use crate::torch_extra::cuda_contract::as_on_cuda;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
    fn build(name: ModelName, stem: Stem, in_channels: i64) -> (Box<dyn Backbone>, Parameters) {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
        let backbone = build_backbone(
            &ModelConfig { name, stem, ..ModelConfig::default() },
            in_channels,
            &mut parameters,
        );
        (backbone, parameters)
    }

    fn wave(shape: &[i64]) -> Tensor {
        (Tensor::arange(shape.iter().product::<i64>(), DOUBLE) * 0.731).sin().reshape(shape)
    }

    #[test]
    fn sizes_are_the_published_ones() {
        let num_elements = |name, stem| build(name, stem, 3).1.num_elements();
        // torchvision's counts less the classifier's 1000 x (features + 1).
        assert_eq!(num_elements(ModelName::Resnet18, Stem::Imagenet), 11_689_512 - 513_000);
        assert_eq!(num_elements(ModelName::Resnet34, Stem::Imagenet), 21_797_672 - 513_000);
        assert_eq!(num_elements(ModelName::Resnet50, Stem::Imagenet), 25_557_032 - 2_049_000);
        assert_eq!(num_elements(ModelName::Resnet18, Stem::Small), 11_689_512 - 513_000 - 64 * 3 * (49 - 9));
        assert_eq!(num_elements(ModelName::CnnSmall, Stem::Imagenet), 388_896);
        // Without heads; 3 and 1 channels, two convolutions, their norms, and the hidden layer.
        let simple = |c: usize| 9 * 32 * (c + 64) + 2 * (32 + 64) + 3136 * 128 + 128;
        assert_eq!(num_elements(ModelName::SimpleCnn, Stem::Imagenet), simple(3));
        assert_eq!(build(ModelName::SimpleCnn, Stem::Imagenet, 1).1.num_elements(), simple(1));
    }

    #[test]
    fn an_empty_batch_goes_forward_and_backward_without_nan() {
        for name in ModelName::ALL {
            for sync in [None, Some(SyncStatistics::new(|_| Ok(())))] {
                let (backbone, parameters) = build(name, Stem::Small, 1);
                let features =
                    backbone.forward(&Tensor::zeros([0, 1, 16, 16], DOUBLE), &Pass::train(sync)).unwrap();
                assert_eq!(features.size(), [0, backbone.num_features()]);
                features.sum(Kind::Double).backward();
                let norms = parameters.parameters().iter().map(|p| p.tensor.grad().norm().double_value(&[]));
                assert_eq!(norms.sum::<f64>(), 0.0, "{name:?}");
                let finite = |b: &parameters::Buffer| b.tensor.isfinite().all().int64_value(&[]) == 1;
                assert!(parameters.buffers().iter().all(finite), "{name:?}");
            }
        }
    }

    /// Every network with every normalization, as a GPU would be asked to compute it: the same numbers, and nothing that it would
    /// refuse or that has no fixed order.
    #[test]
    fn as_on_a_gpu_every_network_is_what_it_is_on_the_cpu() {
        for name in ModelName::ALL {
            for norm in [Norm::Batch, Norm::Group, Norm::Frozen] {
                let config =
                    ModelConfig { name, norm, norm_groups: 8, dropout: 0.0, ..ModelConfig::default() };
                for (rows, sync) in [(3, false), (3, true), (0, true)] {
                    let run = || {
                        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
                        let backbone = build_backbone(&config, 2, &mut parameters);
                        let sync = sync.then(|| SyncStatistics::new(|_| Ok(())));
                        let features =
                            backbone.forward(&wave(&[rows, 2, 36, 40]), &Pass::train(sync)).unwrap();
                        (&features * wave(&features.size())).sum(Kind::Double).backward();
                        let gradients = parameters.parameters().iter().map(|p| p.tensor.grad());
                        std::iter::once(features.detach()).chain(gradients).collect::<Vec<_>>()
                    };
                    let (expected, actual) = (run(), as_on_cuda(run));
                    let all = |tensors: &[Tensor]| {
                        Tensor::cat(&tensors.iter().map(|t| t.flatten(0, -1)).collect::<Vec<_>>(), 0)
                    };
                    let (expected, actual) = (all(&expected), all(&actual));
                    let error = (actual - &expected).norm().double_value(&[]);
                    let allowed = 1e-10 * expected.norm().double_value(&[]);
                    assert!(error <= allowed, "{name:?} {norm:?} {rows} rows, sync {sync}: {error:e}");
                }
            }
        }
    }

    /// Features, then gradients summed over the ranks, then buffers.
    fn train(name: ModelName, input: &Tensor, sync: Option<SyncStatistics>) -> Vec<Tensor> {
        let (backbone, parameters) = build(name, Stem::Imagenet, 1);
        let features = backbone.forward(input, &Pass::train(sync)).unwrap();
        features.square().sum(Kind::Double).backward();
        let gradients = parameters.parameters().iter().map(|p| p.tensor.grad());
        let buffers = parameters.buffers().iter().map(|b| b.tensor.to_kind(Kind::Double));
        std::iter::once(features.detach()).chain(gradients).chain(buffers).collect()
    }

    #[test]
    fn a_network_over_two_ranks_equals_one_process() {
        for name in [ModelName::CnnSmall, ModelName::SimpleCnn, ModelName::Resnet18] {
            let input = wave(&[5, 1, 32, 40]);
            let expected = train(name, &input, None);
            let ranks = ThreadRanks::new(2);
            let threads = [(0, 2), (2, 3)].map(|(begin, rows)| {
                let (shard, ranks) = (input.narrow(0, begin, rows), Arc::clone(&ranks));
                thread::spawn(move || train(name, &shard, Some(ranks.statistics())))
            });
            let [first, second] = threads.map(|thread| thread.join().unwrap());
            let num_gradients = build(name, Stem::Imagenet, 1).1.parameters().len();
            for (index, expected) in expected.iter().enumerate() {
                let (first, second) = (&first[index], &second[index]);
                let actual = match index {
                    0 => Tensor::cat(&[first, second], 0),
                    _ if index <= num_gradients => first + second,
                    _ => {
                        assert_eq!(first, second);
                        first.shallow_clone()
                    }
                };
                let error = ((actual - expected).norm() / expected.norm()).double_value(&[]);
                assert!(error < 1e-11, "{name:?}: tensor {index} differs by {error:e}");
            }
        }
    }

    /// Features, and all gradients as one vector, of a network whose weights and inputs are off by up to `jitter` of themselves.
    fn trained_in(kind: Kind, name: ModelName, norm: Norm, sync: bool, jitter: f64) -> [Tensor; 2] {
        let float = |t: Tensor| t.to_kind(Kind::Float);
        let shaken = |t: &Tensor, frequency: f64| {
            let noise = (Tensor::arange(t.numel() as i64, DOUBLE) * frequency).sin().reshape(t.size());
            float(t.to_kind(Kind::Double) * (noise * jitter + 1.0))
        };
        // Noise whose energy falls with frequency and time, as in a log-mel spectrogram.
        let noise = float(wave(&[16, 1, 64, 96]) * 7919.0).sin();
        let slope = Tensor::linspace(1, -1, 64, (Kind::Float, Device::Cpu)).view([64, 1]);
        let input = noise.avg_pool2d([3, 3], [1, 1], [1, 1], false, true, None) * 2.0 + slope;
        let input = shaken(&input, 12_345.678);
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 5);
        let config = ModelConfig { name, norm, ..ModelConfig::default() };
        let backbone = build_backbone(&config, 1, &mut parameters);
        for parameter in parameters.parameters() {
            let value = shaken(&parameter.tensor.detach(), 54_321.123);
            tch::no_grad(|| parameter.tensor.shallow_clone().copy_(&value));
        }
        let sync = sync.then(|| SyncStatistics::new(|_| Ok(())));
        let guard = Autocast::enter(Device::Cpu, kind);
        let features = float(backbone.forward(&input, &Pass::train(sync)).unwrap());
        drop(guard);
        let cotangent = float(wave(&features.size()));
        (&features * cotangent).sum(Kind::Float).backward();
        let gradients: Vec<_> =
            parameters.parameters().iter().map(|p| p.tensor.grad().flatten(0, -1)).collect();
        [features.detach(), Tensor::cat(&gradients, 0)]
    }

    /// Relative differences from fp32, of features and of gradients.
    fn differences(a: &[Tensor; 2], exact: &[Tensor; 2]) -> [f64; 2] {
        let error = |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
        [error(&a[0], &exact[0]), error(&a[1], &exact[1])]
    }

    /// What weights and inputs that are off by a rounding of bf16 change in fp32 is the noise, and libtorch's own batch norm the
    /// measure of the synchronized one.
    ///
    /// Features change smoothly: bf16 was off by 0.6 to 1.0 of that noise in all six networks, so 1.5 is allowed. Gradients jump
    /// where an activation crosses the kink of a ReLU or another element becomes the largest of its window, which one shake may
    /// meet or not. So each network has a bound of its own, a quarter above the largest of what bf16 and the noise were
    /// measured to change (of gradients, with batch and with group norm: 0.20 and 0.09 both ways in `cnn_small`; 0.01 and 0.13 in
    /// bf16, 0.07 and 0.01 as noise in `simple_cnn`; 0.37 and 0.26 in bf16, 0.39 and 0.27 as noise in `resnet18`).
    #[test]
    fn bf16_is_f32_rounded() {
        let bounds = [
            (ModelName::CnnSmall, [0.25, 0.12]),
            (ModelName::SimpleCnn, [0.09, 0.16]),
            (ModelName::Resnet18, [0.48, 0.34]),
        ];
        for (name, bounds) in bounds {
            for (norm, bound) in [Norm::Batch, Norm::Group].into_iter().zip(bounds) {
                let exact = trained_in(Kind::Float, name, norm, false, 0.0);
                let noise = differences(&trained_in(Kind::Float, name, norm, false, 0.5_f64.powi(8)), &exact);
                let [local, sync] = [false, true]
                    .map(|sync| differences(&trained_in(Kind::BFloat16, name, norm, sync, 0.0), &exact));
                let what = format!("{name:?} {norm:?}: noise {noise:?}, {local:?}, synchronized {sync:?}");
                for [features, gradient] in [local, sync] {
                    assert!(features > 1e-6, "{what} ran in fp32");
                    assert!(features < 1.5 * noise[0] && gradient < bound, "{what}");
                }
                let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.2;
                assert!(near(local[0], sync[0]) && near(local[1], sync[1]), "{what}");
            }
        }
    }

    #[test]
    fn convolutions_begin_as_in_torchvision() {
        let (_, parameters) = build(ModelName::Resnet18, Stem::Imagenet, 3);
        let weight = parameters.parameters().iter().find(|p| p.name == "layer4.1.conv2.weight").unwrap();
        let std = weight.tensor.std(true).double_value(&[]);
        assert!((std / (2.0 / (512.0 * 9.0f64)).sqrt() - 1.0).abs() < 0.005, "{std}");
    }
}
