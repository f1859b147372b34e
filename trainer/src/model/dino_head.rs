//! DINO's head (Caron et al. 2021, arXiv 2104.14294, section 3.1 and appendix C; facebookresearch/dino, `DINOHead`): linear layers
//! with GELU between them, unit length, and a last layer whose rows have unit length or one that is trained. No bias before a
//! batch norm, which would take it away again (the official code keeps one that never moves).

use dtrain_configs::schema::DinoHeadConfig;
use tch::{TchError, Tensor};

use super::ForwardContext;
use super::layers::Linear;
use super::norm::{NormConfig, NormLayer};
use super::parameters::{Init, Parameters, Role};

/// Standard deviation of the layers before the last one at the beginning.
const INIT: Init = Init::Normal { std: 0.02 };
/// Smallest length that something is divided by, as in `torch.nn.functional.normalize`.
const SHORTEST: f64 = 1e-12;

/// From embeddings to scores of the classes that views are assigned to.
#[derive(Debug)]
pub struct DinoHead {
    hidden: Vec<(Linear, Option<NormLayer>)>,
    bottleneck: Linear,
    /// Direction of each class's row, (classes, bottleneck).
    direction: Tensor,
    /// Length of each row, (classes, 1); `None`: 1.
    length: Option<Tensor>,
}

impl DinoHead {
    /// Registers `mlp.0`, ... under the indices of a `torch.nn.Sequential` of Linear, BatchNorm1d (if any) and GELU, and
    /// `last_layer.weight_v` with, where it is trained, `last_layer.weight_g`, the names of `torch.nn.utils.weight_norm`.
    pub fn new(config: &DinoHeadConfig, in_dim: i64, norm: NormConfig, parameters: &mut Parameters) -> Self {
        let [hidden_dim, bottleneck_dim, classes] =
            [config.hidden_dim, config.bottleneck_dim, config.out_dim].map(|width| width as i64);
        let (mut hidden, mut index, mut width) = (Vec::new(), 0, in_dim);
        let bottleneck = parameters.scope("mlp", |scope| {
            for _ in 1..config.num_layers {
                let bias = !config.batch_norm;
                let linear = Linear::drawn(&index.to_string(), (width, hidden_dim), INIT, bias, scope);
                let layer = config
                    .batch_norm
                    .then(|| NormLayer::new(&(index + 1).to_string(), hidden_dim, norm, scope));
                index += if layer.is_some() { 3 } else { 2 };
                width = hidden_dim;
                hidden.push((linear, layer));
            }
            Linear::drawn(&index.to_string(), (width, bottleneck_dim), INIT, true, scope)
        });
        let (direction, length) = parameters.scope("last_layer", |scope| {
            let init = Init::Uniform { bound: 1.0 / (bottleneck_dim as f64).sqrt() };
            let direction = scope.parameter("weight_v", &[classes, bottleneck_dim], init, Role::Weight);
            let length = (!config.norm_last_layer)
                .then(|| scope.parameter("weight_g", &[classes, 1], Init::Constant(1.0), Role::Weight));
            (direction, length)
        });
        Self { hidden, bottleneck, direction, length }
    }

    /// Scores.
    ///
    /// # Shapes
    /// Embeddings (N, `in_dim`) to (N, classes); N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit, memory runs out, or the ranks fail to exchange statistics.
    pub fn forward(&self, embedding: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let mut hidden = embedding.shallow_clone();
        for (linear, norm) in &self.hidden {
            let next = linear.forward(&hidden)?;
            let next = match norm {
                Some(norm) => norm.forward(&next, pass)?,
                None => next,
            };
            hidden = next.f_gelu("none")?;
        }
        let direction = unit_rows(&self.direction)?;
        let weight = match &self.length {
            Some(length) => direction.f_mul(length)?,
            None => direction,
        };
        unit_rows(&self.bottleneck.forward(&hidden)?)?.f_linear(&weight, None::<&Tensor>)
    }
}

fn unit_rows(rows: &Tensor) -> Result<Tensor, TchError> {
    let length = rows.f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), true)?;
    rows.f_div(&length.f_clamp_min(SHORTEST)?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn scores_are_cosines_times_the_length_of_a_row() {
        for norm_last_layer in [true, false] {
            let config = DinoHeadConfig {
                hidden_dim: 5,
                bottleneck_dim: 4,
                out_dim: 7,
                batch_norm: !norm_last_layer,
                norm_last_layer,
                ..DinoHeadConfig::default()
            };
            let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 0);
            let head = DinoHead::new(&config, 6, NormConfig::default(), &mut parameters);
            let names: Vec<&str> = parameters.parameters().iter().map(|p| p.name.as_str()).collect();
            let plain = [
                "mlp.0.weight",
                "mlp.0.bias",
                "mlp.2.weight",
                "mlp.2.bias",
                "mlp.4.weight",
                "mlp.4.bias",
                "last_layer.weight_v",
            ];
            match norm_last_layer {
                true => assert_eq!(names, plain),
                false => {
                    assert!(names.contains(&"mlp.4.weight") && names.contains(&"mlp.6.bias"), "{names:?}");
                    assert_eq!(names.last(), Some(&"last_layer.weight_g"));
                }
            }
            if let Some(length) = &head.length {
                let lengths = Tensor::arange(7, (Kind::Double, Device::Cpu)).view([7, 1]);
                tch::no_grad(|| length.shallow_clone().copy_(&lengths));
            }
            let input = (Tensor::arange(3 * 6, (Kind::Double, Device::Cpu)) * 0.731).sin().view([3, 6]);
            let scores = head.forward(&input, &ForwardContext::eval()).unwrap();
            assert_eq!(scores.size(), [3, 7]);
            for class in 0..7 {
                let length = if norm_last_layer { 1.0 } else { class as f64 };
                let row = head.direction.get(class);
                let bottleneck = {
                    let mut hidden = input.shallow_clone();
                    for (linear, norm) in &head.hidden {
                        let next = linear.forward(&hidden).unwrap();
                        let next = norm.as_ref().map_or(next.shallow_clone(), |norm| {
                            norm.forward(&next, &ForwardContext::eval()).unwrap()
                        });
                        hidden = next.gelu("none");
                    }
                    head.bottleneck.forward(&hidden).unwrap()
                };
                for sample in 0..3 {
                    let other = bottleneck.get(sample);
                    let cosine = (&row * &other).sum(Kind::Double) / (row.norm() * other.norm());
                    let found = scores.double_value(&[sample, class]);
                    assert!((found - length * cosine.double_value(&[])).abs() < 1e-12);
                }
            }
            assert_eq!(head.forward(&input.narrow(0, 0, 0), &ForwardContext::eval()).unwrap().size(), [0, 7]);
        }
    }
}
