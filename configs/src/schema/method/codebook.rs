//! What a VQ-VAE rounds its latents to.

use serde::{Deserialize, Serialize};

use crate::checks::{Checks, MAX_DIM};

/// Most codes.
const MAX_CODES: u64 = 1 << 20;

/// A codebook, and what keeps its codes in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodebookConfig {
    /// What codes are and how they learn.
    pub kind: CodebookKind,
    /// Codes; `fsq` has as many as `levels` give.
    pub num_codes: usize,
    /// Width of a code and of a latent; `fsq` has one value for each of `levels`.
    pub dim: usize,
    /// `ema`, `cosine`: share of itself that a code's moving average keeps in a step.
    pub decay: f64,
    /// `ema`, `cosine`: Laplace smoothing of the counts that sums are divided by (van den Oord et al. 2017, official code).
    pub laplace: f64,
    /// `fsq`: values that each channel is rounded to (Mentzer et al. 2023; [8, 8, 8] gives 512 codes).
    pub levels: Vec<usize>,
    /// `ema`, `cosine`, `learned`: codes begin as the means that k-means finds among latents of the first global batch, rather
    /// than at random.
    pub kmeans_init: bool,
    /// `kmeans_init`: rounds of k-means.
    pub kmeans_iterations: usize,
    /// `ema`, `cosine`: unused codes are replaced by latents of the batch while the perplexity of usage is below this share of
    /// `num_codes`; 0: never.
    pub reseed_below: f64,
    /// `reseed_below`: a code is unused when its moving average of latents per step is below this share of the mean code's.
    pub dead_below: f64,
}

impl Default for CodebookConfig {
    fn default() -> Self {
        Self {
            kind: CodebookKind::Ema,
            num_codes: 512,
            dim: 64,
            decay: 0.99,
            laplace: 1e-5,
            levels: vec![8, 8, 8],
            kmeans_init: true,
            kmeans_iterations: 10,
            reseed_below: 0.5,
            dead_below: 0.1,
        }
    }
}

/// What codes are and how they learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodebookKind {
    /// Moving averages of the latents that chose them (van den Oord et al. 2017, arXiv 1711.00937, appendix A.1).
    #[default]
    Ema,
    /// The same for latents and codes of length 1 (Yu et al. 2021, arXiv 2110.04627).
    Cosine,
    /// Trained by the gradient of their distance from the latents that chose them (the same paper, equation 3).
    Learned,
    /// Finite scalar quantization: each channel is rounded, there is no codebook (Mentzer et al. 2023, arXiv 2309.15505).
    Fsq,
    /// Random codes behind one trained linear map, which moves all of them (Zhu et al. 2024, arXiv 2411.02038).
    Simvq,
}

impl CodebookConfig {
    /// Codes that there are.
    pub fn size(&self) -> usize {
        match self.kind {
            CodebookKind::Fsq => self.levels.iter().copied().fold(1, usize::saturating_mul),
            _ => self.num_codes,
        }
    }

    /// Width of a latent.
    pub fn width(&self) -> usize {
        match self.kind {
            CodebookKind::Fsq => self.levels.len(),
            _ => self.dim,
        }
    }

    /// Whether codes are vectors that are kept.
    pub fn has_entries(&self) -> bool {
        self.kind != CodebookKind::Fsq
    }

    /// Whether codes are moving averages.
    pub fn is_averaged(&self) -> bool {
        matches!(self.kind, CodebookKind::Ema | CodebookKind::Cosine)
    }

    /// Whether codes begin as means of latents.
    pub fn begins_by_kmeans(&self) -> bool {
        self.kmeans_init && (self.is_averaged() || self.kind == CodebookKind::Learned)
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        checks.count("method.codebook.num_codes", self.num_codes as u64, 2, MAX_CODES);
        checks.count("method.codebook.dim", self.dim as u64, 1, MAX_DIM);
        checks.below_one("method.codebook.decay", self.decay);
        checks.not_negative("method.codebook.laplace", self.laplace);
        checks.count("method.codebook.kmeans_iterations", self.kmeans_iterations as u64, 1, 1000);
        checks.fraction("method.codebook.reseed_below", self.reseed_below);
        checks.fraction("method.codebook.dead_below", self.dead_below);
        if self.kind == CodebookKind::Fsq {
            checks.count("method.codebook.levels", self.levels.len() as u64, 1, 64);
            for &levels in &self.levels {
                checks.count("method.codebook.levels", levels as u64, 2, 1 << 16);
            }
            checks.require(
                self.size() as u64 <= MAX_CODES,
                ["method.codebook.levels"],
                || format!("`method.codebook.levels` give more than {MAX_CODES} codes"),
                "[8, 8, 8] gives 512, [8, 5, 5, 5] gives 1000",
            );
        }
        let word = match self.kind {
            CodebookKind::Fsq => "fsq",
            CodebookKind::Simvq => "simvq",
            CodebookKind::Learned => "learned",
            CodebookKind::Ema | CodebookKind::Cosine => return,
        };
        checks.require_of_asked(
            !self.kmeans_init || self.kind == CodebookKind::Learned,
            ["method.codebook.kmeans_init", "method.codebook.kind"],
            || {
                format!(
                    "`method.codebook.kmeans_init` = true sets codes, and `method.codebook.kind` = {word} keeps none that \
                     could be set"
                )
            },
            "leave `method.codebook.kmeans_init` out, or choose ema, cosine or learned",
        );
        checks.require_of_asked(
            self.reseed_below == 0.0,
            ["method.codebook.reseed_below", "method.codebook.kind"],
            || {
                format!(
                    "`method.codebook.reseed_below` = {} replaces moving averages, and `method.codebook.kind` = {word} has none",
                    self.reseed_below
                )
            },
            "leave `method.codebook.reseed_below` out, or choose ema or cosine",
        );
    }
}
