//! The normalization layers of a network, as `model.norm` chooses them.

use dtrain_configs::schema::{ModelConfig, Norm};
use tch::{TchError, Tensor};

use super::ForwardContext;
use super::batch_norm::{BatchNorm, finish};
use super::group_norm::GroupNorm;
use super::parameters::Parameters;
use crate::torch_extra::Epilogue;

/// Which layers a network and its heads are built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormConfig {
    /// The kind.
    pub kind: Norm,
    /// Most groups of a group norm.
    pub max_groups: i64,
}

impl Default for NormConfig {
    fn default() -> Self {
        Self::from(&ModelConfig::default())
    }
}

impl From<&ModelConfig> for NormConfig {
    fn from(config: &ModelConfig) -> Self {
        Self { kind: config.norm, max_groups: i64::try_from(config.norm_groups).unwrap_or(i64::MAX) }
    }
}

/// One normalization layer.
#[derive(Debug)]
pub enum NormLayer {
    /// By the statistics of the batch in training, by running ones in evaluation.
    Batch(BatchNorm),
    /// By the statistics of groups of channels of each sample.
    Group(GroupNorm),
    /// By running statistics that never learn; scale and shift do.
    Frozen(BatchNorm),
}

impl NormLayer {
    /// Registers `name.weight` and `name.bias`, and running statistics where there are any.
    pub fn new(name: &str, channels: i64, config: NormConfig, parameters: &mut Parameters) -> Self {
        match config.kind {
            Norm::Batch => NormLayer::Batch(BatchNorm::new(name, channels, parameters)),
            Norm::Group => NormLayer::Group(GroupNorm::new(name, channels, config.max_groups, parameters)),
            Norm::Frozen => NormLayer::Frozen(BatchNorm::new(name, channels, parameters)),
        }
    }

    /// Normalizes as `pass` says.
    ///
    /// # Shapes
    /// `input` (N, C, ...) and the result are alike; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit, memory runs out, or the ranks fail to exchange statistics.
    pub fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.forward_then(input, pass, Epilogue::Nothing)
    }

    /// ReLU of the normalized `input`, plus the shortcut of a residual block if there is one.
    ///
    /// # Shapes
    /// `input` (N, C, ...), `shortcut` and the result are alike; N may be 0.
    ///
    /// # Errors
    /// As [`NormLayer::forward`].
    pub fn forward_relu(
        &self,
        input: &Tensor,
        shortcut: Option<&Tensor>,
        pass: &ForwardContext,
    ) -> Result<Tensor, TchError> {
        self.forward_then(input, pass, Epilogue::Relu { shortcut })
    }

    /// The largest element of each 2x2 window of ReLU of the normalized `input`.
    ///
    /// # Shapes
    /// `input` (N, C, H, W) to (N, C, H / 2, W / 2), rounded down; N may be 0.
    ///
    /// # Errors
    /// As [`NormLayer::forward`].
    pub fn forward_relu_max_pool(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.forward_then(input, pass, Epilogue::ReluMaxPool)
    }

    fn forward_then(
        &self,
        input: &Tensor,
        pass: &ForwardContext,
        epilogue: Epilogue<'_>,
    ) -> Result<Tensor, TchError> {
        match self {
            NormLayer::Batch(layer) => layer.forward(input, pass, epilogue),
            NormLayer::Group(layer) => finish(layer.forward(input)?, epilogue),
            NormLayer::Frozen(layer) => finish(layer.forward_by_running_statistics(input)?, epilogue),
        }
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::ProjectorConfig;
    use tch::{Device, Kind, no_grad};

    use super::*;
    use crate::model::build_backbone;
    use crate::model::projector::Projector;
    use crate::torch_extra::SyncStatistics;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn wave(shape: &[i64], frequency: f64) -> Tensor {
        (Tensor::arange(shape.iter().product::<i64>(), DOUBLE) * frequency).sin().reshape(shape)
    }

    /// Moves scales, shifts and running statistics away from their simple beginnings.
    fn perturb(parameters: &Parameters) {
        let tensors = parameters.parameters().iter().map(|p| (&p.name, &p.tensor));
        let buffers = parameters.buffers().iter().map(|b| (&b.name, &b.tensor));
        no_grad(|| {
            for (name, tensor) in tensors.chain(buffers).filter(|(_, t)| t.dim() == 1) {
                let draw = wave(&tensor.size(), 0.377) * 0.2;
                let center = if name.ends_with("weight") || name.ends_with("var") { 1.0 } else { 0.0 };
                tensor.shallow_clone().copy_(&(draw + center));
            }
        });
    }

    struct Network {
        backbone: Box<dyn super::super::Backbone>,
        projector: Projector,
        parameters: Parameters,
    }

    fn network(kind: Norm, name: &str) -> Network {
        let config = ModelConfig { norm: kind, norm_groups: 8, ..ModelConfig::named(name).unwrap() };
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
        let backbone = build_backbone(&config, [1, 32, 32].into(), &mut parameters);
        let head = ProjectorConfig {
            hidden_dim: 24,
            out_dim: 7,
            num_layers: 2,
            batch_norm: true,
            last_batch_norm: false,
        };
        let projector = parameters.scope("projector", |scope| {
            Projector::new(&head, backbone.num_features(), NormConfig::from(&config), scope)
        });
        perturb(&parameters);
        Network { backbone, projector, parameters }
    }

    /// Adds the gradient of a sum over samples and returns the projections.
    fn train(network: &Network, input: &Tensor, cotangent: &Tensor) -> Tensor {
        let pass = ForwardContext::train(Some(SyncStatistics::new(|_| Ok(()))));
        let embedding = network.backbone.forward(input, &pass).unwrap();
        let projection = network.projector.forward(&embedding, &pass).unwrap();
        (projection.tanh() * cotangent).sum(Kind::Double).backward();
        projection.detach()
    }

    fn gradient(network: &Network) -> Tensor {
        let parts: Vec<_> =
            network.parameters.parameters().iter().map(|p| p.tensor.grad().flatten(0, -1)).collect();
        Tensor::cat(&parts, 0)
    }

    #[test]
    fn micro_batches_change_nothing_where_each_sample_stands_alone() {
        for (samples, side) in [(64, 32), (512, 16)] {
            let (input, cotangent) = (wave(&[samples, 1, side, side], 0.731), wave(&[samples, 7], 1.177));
            for name in ["cnn_small", "resnet18"] {
                for kind in [Norm::Group, Norm::Frozen] {
                    let whole = network(kind, name);
                    let projections = train(&whole, &input, &cotangent);
                    let pieces = network(kind, name);
                    let piece = samples / 8;
                    let part = |of: &Tensor, index: i64| of.narrow(0, piece * index, piece);
                    let projected: Vec<_> =
                        (0..8).map(|i| train(&pieces, &part(&input, i), &part(&cotangent, i))).collect();
                    let error = |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
                    let output = error(&Tensor::cat(&projected, 0), &projections);
                    let gradient = error(&gradient(&pieces), &gradient(&whole));
                    let what = format!("{name:?} {kind:?} {samples} samples");
                    assert!(output < 1e-12 && gradient < 1e-12, "{what}: {output:e} {gradient:e}");
                }
            }
        }
    }

    #[test]
    fn frozen_statistics_never_learn_and_scales_do() {
        let network = network(Norm::Frozen, "cnn_small");
        let before: Vec<_> = network.parameters.buffers().iter().map(|b| b.tensor.copy()).collect();
        let input = wave(&[4, 1, 16, 16], 0.731);
        let trained = train(&network, &input, &wave(&[4, 7], 1.177));
        assert!(network.parameters.buffers().iter().zip(&before).all(|(b, before)| b.tensor == *before));
        let norm_gradients = network.parameters.parameters().iter().filter(|p| p.name.contains("bn"));
        assert!(norm_gradients.into_iter().all(|p| p.tensor.grad().norm().double_value(&[]) > 0.0));
        let embedding = network.backbone.forward(&input, &ForwardContext::eval()).unwrap();
        assert_eq!(trained, network.projector.forward(&embedding, &ForwardContext::eval()).unwrap());
    }

    #[test]
    fn names_are_those_of_batch_norm() {
        let names = |kind| {
            let parameters = network(kind, "resnet18").parameters;
            let names: Vec<_> = parameters.parameters().iter().map(|p| p.name.clone()).collect();
            (names, parameters.buffers().len())
        };
        let (expected, num_buffers) = names(Norm::Batch);
        assert_eq!(names(Norm::Frozen), (expected.clone(), num_buffers));
        assert_eq!(names(Norm::Group), (expected, 0));
    }

    #[test]
    fn empty_batches_pass_with_gradients_of_zero() {
        for kind in [Norm::Batch, Norm::Group, Norm::Frozen] {
            let network = network(kind, "resnet18");
            let projections = train(&network, &wave(&[0, 1, 16, 16], 1.0), &wave(&[0, 7], 1.0));
            assert_eq!(projections.size(), [0, 7]);
            assert_eq!(gradient(&network).norm().double_value(&[]), 0.0, "{kind:?}");
        }
    }
}
