//! How codes are used over about the last hundred steps, whatever the codebook: a batch alone says little, since it may have
//! fewer latents than there are codes.

use tch::{Kind, TchError, Tensor};

use super::perplexity;
use crate::method::{AfterStep, Statistics};
use crate::model::parameters::Parameters;

/// Share of itself that a count keeps in a step.
const DECAY: f64 = 0.99;
/// A code is in use above this share of the mean count.
const IN_USE: f64 = 0.1;
/// Statistic of a step.
const COUNTS: &str = "usage.counts";

/// Moving averages of the latents of each code.
pub struct Usage {
    /// `[K]`.
    counts: Tensor,
}

impl Usage {
    /// Registers `counts` in the current scope of `parameters`.
    pub fn build(num_codes: i64, parameters: &mut Parameters) -> Self {
        Self { counts: parameters.after_step(|scope| scope.buffer("counts", &[num_codes], 0.0)) }
    }

    /// exp of the entropy of the counts, 0-dimensional.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn perplexity(&self) -> Result<Tensor, TchError> {
        perplexity(&self.counts)
    }

    /// Share of codes that are in use, 0-dimensional.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn share(&self) -> Result<Tensor, TchError> {
        let mean = self.counts.f_mean(None::<Kind>)?;
        let in_use = self.counts.f_gt_tensor(&mean.f_mul_scalar(IN_USE)?)?;
        in_use.f_to_kind(self.counts.kind())?.f_mean(None::<Kind>)
    }

    /// Adds the codes `[m]` of a part of the batch.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn tell(&self, codes: &Tensor, to: &mut Statistics) -> Result<(), TchError> {
        to.put(COUNTS, &codes.f_bincount(None::<&Tensor>, self.counts.size()[0])?)
    }

    /// Moves the averages.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        let own = self.counts.f_to_kind(Kind::Double)?.f_mul_scalar(DECAY)?;
        after.set(&self.counts, &own.f_add(&after.statistics.get(COUNTS)?.f_mul_scalar(1.0 - DECAY)?)?)
    }
}
