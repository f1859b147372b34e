//! The precisions that a device is checked in, and what each of them may lose.

use serde::Serialize;

use crate::engine::Arithmetic;

/// Arithmetic of convolutions and matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DevicePrecision {
    /// 32 bits throughout.
    Fp32,
    /// 32-bit numbers whose factors GPUs round to 10 bits of mantissa; on a CPU the same as `fp32`.
    Tf32,
    /// Autocast to bfloat16.
    Bf16,
    /// Autocast to 16-bit floats, with a loss scale.
    Fp16,
}

impl DevicePrecision {
    /// All, from the most to the least exact.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Tf32, Self::Fp16, Self::Bf16];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        }
    }

    /// As the engine knows it.
    pub(super) fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Fp32 | Self::Tf32 => Arithmetic::Fp32,
            Self::Bf16 => Arithmetic::Bf16,
            Self::Fp16 => Arithmetic::Fp16,
        }
    }

    /// Relative size of the errors that weights and inputs are given to see how a check reacts. A number is rounded once
    /// to 16 bits, products and sums of it are exact to 32; in 32 bits it is the sums that lose, some sqrt(n) roundoffs over
    /// n terms, and ResNets sum up to 4,608.
    pub(super) fn jitter(self) -> f64 {
        let roundoff = |bits| 0.5_f64.powi(bits);
        match self {
            Self::Fp32 => 64.0 * roundoff(24),
            Self::Tf32 | Self::Fp16 => roundoff(11),
            Self::Bf16 => roundoff(8),
        }
    }

    /// What outputs may lose; see the table above.
    pub(super) fn output_tolerance(self) -> f64 {
        if self == Self::Fp32 { 1e-5 } else { 2e-2 }
    }

    /// What gradients may lose.
    pub(super) fn gradient_tolerance(self) -> f64 {
        if self == Self::Fp32 { 1e-4 } else { 5e-2 }
    }
}
