//! Linear layers with ReLU over all values of a view, without normalization.

use dtrain_configs::schema::MlpConfig;
use tch::{TchError, Tensor};

use super::layers::Linear;
use super::norm::NormConfig;
use super::parameters::{Init, Parameters};
use super::{Backbone, Features, ForwardContext, InputShape};

/// A linear layer and ReLU for each width. A view has one size, that which the network was built for.
#[derive(Debug)]
pub struct Mlp {
    first: Linear,
    first_width: i64,
    further: Vec<Linear>,
    num_features: i64,
    norm: NormConfig,
}

impl Mlp {
    /// Registers `fc1.weight`, `fc1.bias`, ... in the current scope of `parameters`.
    pub fn build(
        config: &MlpConfig,
        input: InputShape,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let mut width = input.channels * input.height * input.width;
        let mut number = 0;
        let mut layer = |outputs: usize| {
            let between = (std::mem::replace(&mut width, outputs as i64), outputs as i64);
            number += 1;
            let name = format!("fc{number}");
            match config.init_std {
                Some(std) => Linear::drawn(&name, between, Init::Normal { std }, true, parameters),
                None => Linear::new(&name, between, true, parameters),
            }
        };
        // One at least, as the settings are checked.
        let (first_width, rest) =
            config.hidden.split_first().map_or((1, &[][..]), |(first, rest)| (*first, rest));
        let first = layer(first_width);
        let further = rest.iter().map(|&outputs| layer(outputs)).collect();
        Self { first, first_width: first_width as i64, further, num_features: width, norm }
    }
}

impl Backbone for Mlp {
    /// What the first layer knows, which has no positions: a map of one.
    fn features(&self, input: &Tensor, _pass: &ForwardContext) -> Result<Features, TchError> {
        let hidden = self.first.forward(&input.f_flatten(1, -1)?)?.f_relu()?;
        Ok(Features::of_maps(hidden.f_unsqueeze(-1)?.f_unsqueeze(-1)?))
    }

    fn pool(&self, features: &Features, _pass: &ForwardContext) -> Result<Tensor, TchError> {
        let mut hidden = features.maps.f_flatten(1, -1)?;
        for layer in &self.further {
            hidden = layer.forward(&hidden)?.f_relu()?;
        }
        Ok(hidden)
    }

    fn feature_shape(&self) -> [i64; 3] {
        [self.first_width, 1, 1]
    }

    fn num_features(&self) -> i64 {
        self.num_features
    }

    fn norm(&self) -> NormConfig {
        self.norm
    }
}
