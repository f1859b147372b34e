//! Networks with torchvision's parameter names: backbones that turn a view into an embedding, and the heads on them.

pub mod batch_norm;
pub mod classifier;
pub mod cnn_small;
pub mod dropout;
pub mod freeze;
pub mod group_norm;
pub mod layers;
pub mod norm;
pub mod parameters;
pub mod projector;
pub mod resnet;
pub mod simple_cnn;
mod stateful;

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
    /// In training: let the running statistics learn. Off where a batch goes through a second time, as in the second
    /// encoding of a micro-batched contrastive step.
    pub update_statistics: bool,
    /// In training: what dropout draws from. `None` drops nothing.
    pub noise: Option<Noise>,
}

impl Pass {
    /// Evaluation: each sample by itself.
    pub fn eval() -> Self {
        Self { train: false, sync: None, update_statistics: false, noise: None }
    }

    /// Training, with statistics over all ranks if `sync` is given.
    pub fn train(sync: Option<SyncStatistics>) -> Self {
        Self { train: true, sync, update_statistics: true, noise: None }
    }

    /// The same, leaving the running statistics as they are.
    pub fn without_update(self) -> Self {
        Self { update_statistics: false, ..self }
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

    use dtrain_configs::schema::Stem;
    use tch::{Device, Kind};

    use super::thread_ranks::ThreadRanks;
    use super::*;
    use crate::torch_extra::Autocast;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
    const NAMES: [ModelName; 5] = [
        ModelName::CnnSmall,
        ModelName::SimpleCnn,
        ModelName::Resnet18,
        ModelName::Resnet34,
        ModelName::Resnet50,
    ];

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
        for name in NAMES {
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

    /// Relative differences of features and of all gradients together.
    fn bf16_against_f32(name: ModelName, sync: bool) -> (f64, f64) {
        let float = |t: Tensor| t.to_kind(Kind::Float);
        // Noise whose energy falls with frequency and time, as in a log-mel spectrogram.
        let noise = float(wave(&[16, 1, 64, 96]) * 7919.0).sin();
        let slope = Tensor::linspace(1, -1, 64, (Kind::Float, Device::Cpu)).view([64, 1]);
        let input = noise.avg_pool2d([3, 3], [1, 1], [1, 1], false, true, None) * 2.0 + slope;
        let run = |kind: Kind| {
            let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 5);
            let config = ModelConfig { name, ..ModelConfig::default() };
            let backbone = build_backbone(&config, 1, &mut parameters);
            let sync = sync.then(|| SyncStatistics::new(|_| Ok(())));
            let guard = Autocast::enter(Device::Cpu, kind);
            let features = float(backbone.forward(&input, &Pass::train(sync)).unwrap());
            drop(guard);
            let cotangent = float(wave(&features.size()));
            (&features * cotangent).sum(Kind::Float).backward();
            let gradients: Vec<_> =
                parameters.parameters().iter().map(|p| p.tensor.grad().flatten(0, -1)).collect();
            (features.detach(), Tensor::cat(&gradients, 0))
        };
        let ((features, gradient), (exact, exact_gradient)) = (run(Kind::BFloat16), run(Kind::Float));
        let error = |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
        (error(&features, &exact), error(&gradient, &exact_gradient))
    }

    /// An untrained network with batch norm magnifies rounding, so libtorch's own batch norm is the measure for the
    /// synchronized one: both come equally near to fp32.
    #[test]
    fn bf16_is_f32_rounded() {
        for name in [ModelName::CnnSmall, ModelName::Resnet18] {
            let [local, sync] = [false, true].map(|sync| bf16_against_f32(name, sync));
            for (features, gradient) in [local, sync] {
                assert!(features > 1e-6, "{name:?} ran in fp32");
                assert!(features < 3e-2 && gradient < 0.5, "{name:?}: {features:e} {gradient:e}");
            }
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.2;
            assert!(near(local.0, sync.0) && near(local.1, sync.1), "{name:?}: {local:?} {sync:?}");
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
