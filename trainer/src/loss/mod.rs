//! Losses as pure functions of tensors that have already been gathered: no ranks, no configuration, no logging.

pub mod contrastive;
pub mod cross_entropy;
pub mod heads;
pub mod input_gradient;

use tch::{Kind, Tensor};

/// In fp32 at least.
pub(crate) fn widened(tensor: &Tensor) -> Tensor {
    match tensor.kind() {
        Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor.shallow_clone(),
    }
}
