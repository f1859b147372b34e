//! Rounding latents to codes: what codes are, how they begin, and what moves them. A kind of codebook is a file here.

mod averaged;
mod fsq;
mod gradient;
mod kmeans;
mod learned;
mod nearest;
mod usage;

use dtrain_configs::schema::{CodebookConfig, CodebookKind};
use tch::{Kind, TchError, Tensor};

use crate::method::{AfterStep, Statistics};
use crate::model::parameters::Parameters;
pub use gradient::passed;
pub use usage::Usage;

/// Latents and what they were rounded to.
#[derive(Debug)]
pub struct Quantized {
    /// What was rounded, with graph: the latents, or what the codebook makes of them first, `[m, D]`.
    pub latents: Tensor,
    /// Number of the code of each, `[m]`.
    pub codes: Tensor,
    /// Its vector, `[m, D]`, with graph where gradients move codes.
    pub vectors: Tensor,
}

/// What latents are rounded to.
pub trait Codebook: Send {
    /// The vectors of all codes, `[K, D]`, without graph; `None` where they are not kept.
    fn entries(&self) -> Result<Option<Tensor>, TchError>;

    /// Rounds `latents` `[m, D]`; m may be 0.
    ///
    /// # Errors
    /// When memory runs out.
    fn quantize(&self, latents: &Tensor) -> Result<Quantized, TchError>;

    /// Vectors `[m, D]` of the codes `[m]`, the same as [`Codebook::quantize`] gives.
    ///
    /// # Errors
    /// When memory runs out.
    fn lookup(&self, codes: &Tensor) -> Result<Tensor, TchError>;

    /// Whether gradients move codes, which a loss then draws to their latents.
    fn is_trained(&self) -> bool {
        false
    }

    /// Before the first step: codes become means of `rows` `[m, D]`, the latents of the global batch.
    ///
    /// # Errors
    /// When memory runs out.
    fn begin(&mut self, _rows: &Tensor, _seed: u64) -> Result<(), TchError> {
        Ok(())
    }

    /// Whether [`Codebook::tell`] is to be given drawn latents.
    fn wants_drawn(&self) -> bool {
        false
    }

    /// Adds to the statistics of a step what [`Codebook::after_step`] needs; `drawn` `[K, D + 1]` is a latent of the global batch
    /// for each code, with a 1 behind it, or zeros where another part has it.
    ///
    /// # Errors
    /// When memory runs out.
    fn tell(&self, _found: &Quantized, _drawn: Option<Tensor>, _to: &mut Statistics) -> Result<(), TchError> {
        Ok(())
    }

    /// Moves codes that no gradient moves, unless they are frozen.
    ///
    /// # Errors
    /// When memory runs out.
    fn after_step(&mut self, _after: &AfterStep<'_>) -> Result<(), TchError> {
        Ok(())
    }
}

/// The codebook of the settings, registered in the current scope of `parameters`.
pub fn build(config: &CodebookConfig, bound: Option<f64>, parameters: &mut Parameters) -> Box<dyn Codebook> {
    match config.kind {
        CodebookKind::Ema | CodebookKind::Cosine => {
            Box::new(averaged::Averaged::build(config, bound, parameters))
        }
        CodebookKind::Learned | CodebookKind::Simvq => {
            Box::new(learned::Learned::build(config, bound, parameters))
        }
        CodebookKind::Fsq => Box::new(fsq::Fsq::build(config)),
    }
}

/// exp of the entropy of `counts` `[K]`, 0-dimensional: how many codes would be in use if all were used alike. 1 where nothing
/// was counted.
///
/// # Errors
/// When memory runs out.
pub fn perplexity(counts: &Tensor) -> Result<Tensor, TchError> {
    let total = counts.f_sum(None::<Kind>)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    let share = counts.f_div(&total)?;
    let logarithm = share.f_clamp_min(f64::from(f32::MIN_POSITIVE))?.f_log()?;
    share.f_mul(&logarithm)?.f_sum(None::<Kind>)?.f_neg()?.f_exp()
}

/// Rows of length 1, as `torch.nn.functional.normalize`.
fn unit(rows: &Tensor) -> Result<Tensor, TchError> {
    rows.f_div(&rows.f_norm_scalaropt_dim(2, [1], true)?.f_clamp_min(1e-12)?)
}
