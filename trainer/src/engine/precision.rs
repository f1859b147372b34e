//! The arithmetic of a step: weights, losses and statistics in one type, convolutions and products in another.

use dtrain_configs::schema::Precision;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::torch_extra::{Autocast, LossScale};

/// Types of a run, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arithmetic {
    /// Everything in 32 bits.
    Fp32,
    /// Convolutions and products in bfloat16.
    Bf16,
    /// Convolutions and products in 16-bit floats, with a loss scale.
    Fp16,
    /// Everything in 64 bits.
    Fp64,
}

impl Arithmetic {
    /// Type of weights, gradients, losses and inputs.
    pub fn kind(self) -> Kind {
        if self == Arithmetic::Fp64 { Kind::Double } else { Kind::Float }
    }

    /// Type of convolutions and products, where it is another one.
    pub fn reduced(self) -> Option<Kind> {
        match self {
            Arithmetic::Fp32 | Arithmetic::Fp64 => None,
            Arithmetic::Bf16 => Some(Kind::BFloat16),
            Arithmetic::Fp16 => Some(Kind::Half),
        }
    }

    /// As written in `trainer.precision`.
    pub fn precision(self) -> Precision {
        match self {
            Arithmetic::Fp32 => Precision::Fp32,
            Arithmetic::Bf16 => Precision::Bf16,
            Arithmetic::Fp16 => Precision::Fp16,
            Arithmetic::Fp64 => Precision::Fp64,
        }
    }

    /// Forward passes until the guard is dropped take the reduced type.
    pub fn enter(self, device: Device) -> Option<Autocast> {
        self.reduced().map(|kind| Autocast::enter(device, kind))
    }

    /// Gradients of 16-bit floats underflow without a scale.
    pub fn loss_scale(self) -> Option<LossScale> {
        (self == Arithmetic::Fp16).then(LossScale::default)
    }
}
