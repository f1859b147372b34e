//! What makes an embedding of a sample: the network, or nothing but arithmetic on its input, to which the network is compared.

use dtrain_data::Views;
use tch::{Kind, Tensor};

use super::room;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::Targets;

/// What makes an embedding of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedder {
    /// The network.
    Network,
    /// Mean and standard deviation over time of each row of the input, such as a mel band.
    PooledOverTime {
        /// Channels and rows.
        num_rows: i64,
    },
    /// The values of the input, such as pixels.
    Values {
        /// Of one sample.
        num_values: i64,
    },
}

impl Embedder {
    /// That of the inputs that `maker` makes.
    pub fn of_inputs(maker: &dyn Views) -> Self {
        let [channels, rows, columns] = maker.shape().map(|size| size as i64);
        match maker.columns_are_times() {
            true => Self::PooledOverTime { num_rows: channels * rows },
            false => Self::Values { num_values: channels * rows * columns },
        }
    }

    /// Width and type of an embedding.
    pub(super) fn width(self, engine: &Engine) -> (i64, Kind) {
        match self {
            Self::Network => (engine.method().num_features(), engine.kind()),
            Self::PooledOverTime { num_rows } => (2 * num_rows, Kind::Float),
            Self::Values { num_values } => (num_values, Kind::Float),
        }
    }

    /// Embeddings `[n, D]` of `inputs` `[n, C, H, W]`.
    pub(super) fn embed(self, engine: &Engine, inputs: &Tensor) -> Result<Tensor, TrainError> {
        match self {
            Self::Network => Ok(engine.read(inputs, &Targets::default(), false)?.embeddings),
            Self::PooledOverTime { .. } => pooled_over_time(inputs),
            Self::Values { .. } => {
                inputs.f_to_kind(Kind::Float).and_then(|x| x.f_flatten(1, -1)).map_err(room)
            }
        }
    }
}

/// `[n, C, H, W]` to `[n, 2 * C * H]`: the means, then the standard deviations (divided by W).
fn pooled_over_time(inputs: &Tensor) -> Result<Tensor, TrainError> {
    let rows = inputs.f_to_kind(Kind::Float).and_then(|x| x.f_flatten(1, 2)).map_err(room)?;
    let over_time = [2i64].as_slice();
    let mean = rows.f_mean_dim(over_time, false, Kind::Float)?;
    let std = rows.f_std_dim(over_time, false, false)?;
    Tensor::f_cat(&[mean, std], 1).map_err(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_pooled_over_columns() {
        let inputs = Tensor::from_slice(&[1.0f32, 3.0, 5.0, 5.0, 0.0, 4.0, 2.0, 2.0]).view([1, 2, 2, 2]);
        let pooled: Vec<f32> = Vec::try_from(pooled_over_time(&inputs).unwrap().view([-1])).unwrap();
        assert_eq!(pooled, [2.0, 5.0, 2.0, 2.0, 1.0, 0.0, 2.0, 0.0]);
    }
}
