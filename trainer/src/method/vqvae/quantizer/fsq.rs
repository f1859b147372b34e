//! Finite scalar quantization (Mentzer et al. 2023, arXiv 2309.15505, appendix A): every channel is bounded and rounded to one of
//! a few values, and a code is the number that these values write. There is no codebook.

use dtrain_configs::schema::CodebookConfig;
use tch::{Kind, TchError, Tensor};

use super::{Codebook, Quantized};

/// Keeps the outermost values within reach of tanh.
const EPS: f64 = 1e-3;

/// See the module.
pub struct Fsq {
    levels: Vec<i64>,
}

impl Fsq {
    /// Nothing to register.
    pub fn build(config: &CodebookConfig) -> Self {
        Self { levels: config.levels.iter().map(|&levels| levels as i64).collect() }
    }

    /// A row `[1, D]` of a number for each channel.
    fn row(&self, of: impl Fn(f64) -> f64, like: &Tensor) -> Result<Tensor, TchError> {
        let values: Vec<f64> = self.levels.iter().map(|&levels| of(levels as f64)).collect();
        Tensor::f_from_slice(&values)?.f_to_device(like.device())?.f_to_kind(like.kind())?.f_unsqueeze(0)
    }

    /// What each digit of a code counts for, `[1, D]`: the first channel changes fastest.
    fn basis(&self, device: tch::Device) -> Result<Tensor, TchError> {
        let mut next = 1;
        let basis: Vec<i64> = self.levels.iter().map(|&levels| (next, next *= levels).0).collect();
        Tensor::f_from_slice(&basis)?.f_to_device(device)?.f_unsqueeze(0)
    }
}

/// Whole numbers below 0 of L values.
fn below_zero(levels: f64) -> f64 {
    (levels / 2.0).floor()
}

impl Codebook for Fsq {
    fn entries(&self) -> Result<Option<Tensor>, TchError> {
        Ok(None)
    }

    fn quantize(&self, latents: &Tensor) -> Result<Quantized, TchError> {
        let half = |levels: f64| (levels - 1.0) * (1.0 + EPS) / 2.0;
        let offset = |levels: f64| if levels % 2.0 == 0.0 { 0.5 } else { 0.0 };
        let shift =
            self.row(|levels| (offset(levels) / half(levels)).clamp(-0.999, 0.999).atanh(), latents)?;
        let bounded = latents
            .f_add(&shift)?
            .f_tanh()?
            .f_mul(&self.row(half, latents)?)?
            .f_sub(&self.row(offset, latents)?)?;
        let rounded = bounded.detach().f_round()?;
        let down = self.row(below_zero, latents)?;
        let digits = rounded.f_add(&down)?.f_to_kind(Kind::Int64)?;
        let codes =
            digits.f_mul(&self.basis(latents.device())?)?.f_sum_dim_intlist(1, false, None::<Kind>)?;
        let scale = down.f_clamp_min(1.0)?;
        Ok(Quantized { latents: bounded.f_div(&scale)?, codes, vectors: rounded.f_div(&scale)? })
    }

    fn lookup(&self, codes: &Tensor) -> Result<Tensor, TchError> {
        let basis = self.basis(codes.device())?;
        let levels = Tensor::f_from_slice(&self.levels)?.f_to_device(codes.device())?.f_unsqueeze(0)?;
        let digits = codes.f_unsqueeze(1)?.f_floor_divide(&basis)?.f_remainder_tensor(&levels)?;
        let digits = digits.f_to_kind(Kind::Float)?;
        let down = self.row(below_zero, &digits)?;
        digits.f_sub(&down)?.f_div(&down.f_clamp_min(1.0)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every code is reached by some latent, its number gives back its vector, and rounding is to the nearest of evenly spaced
    /// values.
    #[test]
    fn codes_are_the_numbers_that_rounded_channels_write() {
        let config = CodebookConfig { levels: vec![4, 3, 2], ..CodebookConfig::default() };
        let fsq = Fsq::build(&config);
        // Ten values of each channel, from -4.05 to 4.05, in every combination.
        let values: Vec<f32> = (0..1000)
            .flat_map(|row| [row % 10, row / 10 % 10, row / 100].map(|step| 0.9 * step as f32 - 4.05))
            .collect();
        let latents = Tensor::from_slice(&values).view([1000, 3]);
        let Quantized { latents: bounded, codes, vectors } = fsq.quantize(&latents).unwrap();
        let all: BTreeSet<i64> = Vec::<i64>::try_from(&codes).unwrap().into_iter().collect();
        assert_eq!(all, (0..24).collect());
        assert!(fsq.lookup(&codes).unwrap().allclose(&vectors, 1e-6, 1e-6, false));
        let scale = Tensor::from_slice(&[2.0_f32, 1.0, 1.0]).unsqueeze(0);
        let error = ((bounded - vectors) * scale).abs().max().double_value(&[]);
        assert!(error <= 0.5 + 2e-3, "{error}");
    }
}
