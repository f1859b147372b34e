//! The heads between embedding and loss.
//!
//! SimCLR (Chen et al. 2020, arXiv 2002.05709, section 4.2) and SupCon (Khosla et al. 2020, arXiv 2004.11362, section
//! 3.1) use Linear, ReLU, Linear on the pooled features and drop the head after training. SimCLR's published code
//! also has a batch norm after both layers, the last without shift, and no biases. Here: batch norm after the hidden
//! layers only and by choice (`batch_norm`), a bias wherever no batch norm follows, and the loss normalizes to unit
//! length, which the last batch norm would not replace. `last_batch_norm` is that of SimSiam's projector, which has neither
//! scale nor shift; a bias before it would change nothing, and there is none (the official code keeps one that never moves).

use dtrain_configs::schema::{PredictorConfig, ProjectorConfig};
use tch::{TchError, Tensor};

use super::ForwardContext;
use super::layers::Linear;
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;

/// Features of a group of a group norm.
const MIN_GROUP: i64 = 8;

/// A multi-layer perceptron: (Linear, batch norm, ReLU) per hidden layer, then Linear.
#[derive(Debug)]
pub struct Projector {
    hidden: Vec<(Linear, Option<NormLayer>)>,
    last: Linear,
    last_norm: Option<NormLayer>,
}

impl Projector {
    /// Registers tensors under the indices that the layers have in a `torch.nn.Sequential` of Linear, BatchNorm1d (if
    /// any; other kinds of `norm` have the same names) and ReLU: `0.weight`, `1.weight`, `1.running_mean`, ..., `3.weight`, `3.bias`.
    pub fn new(config: &ProjectorConfig, in_dim: i64, norm: NormConfig, parameters: &mut Parameters) -> Self {
        // A vector has one value per channel, and a group of one or two values is all zeros or signs after it was
        // normalized.
        let most = (config.hidden_dim as i64 / MIN_GROUP).max(1);
        let norm = NormConfig { max_groups: norm.max_groups.min(most), ..norm };
        let (hidden_dim, out_dim) = (config.hidden_dim as i64, config.out_dim as i64);
        let mut hidden = Vec::new();
        let (mut index, mut width) = (0, in_dim);
        for _ in 1..config.num_layers {
            let linear = Linear::new(&index.to_string(), (width, hidden_dim), !config.batch_norm, parameters);
            let layer = config
                .batch_norm
                .then(|| NormLayer::new(&(index + 1).to_string(), hidden_dim, norm, parameters));
            index += if layer.is_some() { 3 } else { 2 };
            width = hidden_dim;
            hidden.push((linear, layer));
        }
        let last = Linear::new(&index.to_string(), (width, out_dim), !config.last_batch_norm, parameters);
        let last_norm = config.last_batch_norm.then(|| {
            let most = (out_dim / MIN_GROUP).max(1);
            let norm = NormConfig { max_groups: norm.max_groups.min(most), ..norm };
            let name = (index + 1).to_string();
            parameters.constant(|parameters| NormLayer::new(&name, out_dim, norm, parameters))
        });
        Self { hidden, last, last_norm }
    }

    /// Projects.
    ///
    /// # Shapes
    /// Embeddings (N, `in_dim`) to projections (N, `out_dim`), not normalized; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit, memory runs out, or the ranks fail to exchange statistics.
    pub fn forward(&self, embedding: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let mut hidden = embedding.shallow_clone();
        for (linear, norm) in &self.hidden {
            let mut next = linear.forward(&hidden)?;
            hidden = match norm {
                Some(norm) => norm.forward_relu(&next, None, pass)?,
                None => next.f_relu_()?,
            };
        }
        let last = self.last.forward(&hidden)?;
        match &self.last_norm {
            Some(norm) => norm.forward(&last, pass),
            None => Ok(last),
        }
    }
}

/// Predicts one view's projection from another's: Linear, batch norm, ReLU, Linear (Grill et al. 2020, arXiv 2006.07733,
/// section 3.2; Chen & He 2021, arXiv 2011.10566, section 3).
#[derive(Debug)]
pub struct Predictor(Projector);

impl Predictor {
    /// Registers tensors under their indices, as [`Projector::new`] does.
    pub fn new(config: &PredictorConfig, dim: usize, norm: NormConfig, parameters: &mut Parameters) -> Self {
        let layers = ProjectorConfig {
            hidden_dim: config.hidden_dim,
            out_dim: dim,
            num_layers: 2,
            batch_norm: true,
            last_batch_norm: false,
        };
        Self(Projector::new(&layers, dim as i64, norm, parameters))
    }

    /// Predicts.
    ///
    /// # Shapes
    /// Projections (N, `dim`) to predictions of the same shape; N may be 0.
    ///
    /// # Errors
    /// As [`Projector::forward`].
    pub fn forward(&self, projection: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.0.forward(projection, pass)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn shapes(config: &ProjectorConfig) -> Vec<(String, Vec<i64>)> {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
        let projector = Projector::new(config, 6, NormConfig::default(), &mut parameters);
        let out = projector
            .forward(&Tensor::ones([4, 6], (Kind::Float, Device::Cpu)), &ForwardContext::train(None));
        assert_eq!(out.unwrap().size(), [4, config.out_dim as i64]);
        parameters.parameters().iter().map(|p| (p.name.clone(), p.tensor.size())).collect()
    }

    #[test]
    fn names_are_those_of_a_sequential() {
        let config = ProjectorConfig {
            hidden_dim: 5,
            out_dim: 3,
            num_layers: 3,
            batch_norm: true,
            last_batch_norm: false,
        };
        let expected = [
            ("0.weight", vec![5, 6]),
            ("1.weight", vec![5]),
            ("1.bias", vec![5]),
            ("3.weight", vec![5, 5]),
            ("4.weight", vec![5]),
            ("4.bias", vec![5]),
            ("6.weight", vec![3, 5]),
            ("6.bias", vec![3]),
        ];
        assert_eq!(shapes(&config), expected.map(|(name, shape)| (name.to_owned(), shape)));

        let config = ProjectorConfig { num_layers: 2, batch_norm: false, ..config };
        let names: Vec<_> = shapes(&config).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["0.weight", "0.bias", "2.weight", "2.bias"]);

        let config = ProjectorConfig { num_layers: 1, ..config };
        assert_eq!(shapes(&config), [("0.weight".into(), vec![3, 6]), ("0.bias".into(), vec![3])]);
    }
}
