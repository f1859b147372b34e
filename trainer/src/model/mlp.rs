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
    layers: Vec<Linear>,
    input: InputShape,
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
        let mut layer = |(index, &outputs): (usize, &usize)| {
            let between = (std::mem::replace(&mut width, outputs as i64), outputs as i64);
            let name = format!("fc{}", index + 1);
            match config.init_std {
                Some(std) => Linear::drawn(&name, between, Init::Normal { std }, true, parameters),
                None => Linear::new(&name, between, true, parameters),
            }
        };
        let layers = config.hidden.iter().enumerate().map(&mut layer).collect();
        Self { layers, input, num_features: width, norm }
    }
}

impl Backbone for Mlp {
    /// The view itself: no layer knows positions.
    fn features(&self, input: &Tensor, _pass: &ForwardContext) -> Result<Features, TchError> {
        Ok(Features::of_maps(input.shallow_clone()))
    }

    fn pool(&self, features: &Features, _pass: &ForwardContext) -> Result<Tensor, TchError> {
        let mut hidden = features.maps.f_flatten(1, -1)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden)?.f_relu()?;
        }
        Ok(hidden)
    }

    fn feature_shape(&self) -> [i64; 3] {
        [self.input.channels, self.input.height, self.input.width]
    }

    fn num_features(&self) -> i64 {
        self.num_features
    }

    fn norm(&self) -> NormConfig {
        self.norm
    }
}
