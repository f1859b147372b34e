//! The scale that keeps small gradients of 16-bit floats from becoming zero, as `torch.amp.GradScaler` has it
//! (Micikevicius et al. 2018, arXiv 1710.03740).

use serde::{Deserialize, Serialize};

/// Factor after steps without an overflow.
const GROWTH: f64 = 2.0;
/// Factor after an overflow.
const BACKOFF: f64 = 0.5;
/// Steps without an overflow after which the scale grows.
const GROWTH_INTERVAL: u64 = 2000;

/// What the loss is multiplied by before backward. Equal on all ranks if they all tell it the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    steps_without_overflow: u64,
}

impl Default for LossScale {
    /// 65,536.
    fn default() -> Self {
        Self { scale: 65_536.0, steps_without_overflow: 0 }
    }
}

impl LossScale {
    /// The factor.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Halves the scale when a gradient of the step was not finite, on any rank; else doubles it after 2,000 steps in
    /// a row. It stays a finite 32-bit float above zero.
    pub fn update(&mut self, found_inf: bool) {
        if found_inf {
            self.scale = (self.scale * BACKOFF).max(f64::from(f32::MIN_POSITIVE));
            self.steps_without_overflow = 0;
            return;
        }
        self.steps_without_overflow += 1;
        if self.steps_without_overflow == GROWTH_INTERVAL {
            let grown = self.scale * GROWTH;
            self.scale = if grown <= f64::from(f32::MAX) { grown } else { self.scale };
            self.steps_without_overflow = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_moves_as_torch_amp_s() {
        let mut scale = LossScale::default();
        (0..1999).for_each(|_| scale.update(false));
        assert_eq!(scale.scale(), 65_536.0);
        scale.update(false);
        assert_eq!(scale.scale(), 131_072.0);
        (0..1999).for_each(|_| scale.update(false));
        scale.update(true);
        assert_eq!(scale.scale(), 65_536.0);
        (0..1999).for_each(|_| scale.update(false));
        assert_eq!(scale.scale(), 65_536.0, "an overflow starts the count again");

        let saved: LossScale = serde_json::from_str(&serde_json::to_string(&scale).unwrap()).unwrap();
        assert_eq!(saved, scale);
        scale.update(false);
        assert_eq!(scale.scale(), 131_072.0);
    }

    #[test]
    fn the_scale_stays_a_finite_number_above_zero() {
        let mut scale = LossScale::default();
        (0..2000).for_each(|_| scale.update(true));
        assert!(scale.scale() > 0.0 && (1.0 / scale.scale() as f32).is_finite());
        (0..600_000).for_each(|_| scale.update(false));
        assert!((scale.scale() as f32).is_finite());
    }
}
