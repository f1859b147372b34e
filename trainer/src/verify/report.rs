//! What a verification found.

use dtrain_configs::schema::Precision;
use serde::Serialize;

/// A number and what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// Relative difference from the reference; infinite (`null` in JSON) where a value is not a number.
    pub difference: f64,
    /// The largest one allowed; `None` where it is only reported.
    pub tolerance: Option<f64>,
    /// Whether the tolerance follows the noise on one rank.
    pub from_noise: bool,
}

impl Measured {
    /// A number that is not judged.
    pub fn only(difference: f64) -> Self {
        Self { difference, tolerance: None, from_noise: false }
    }

    /// Whether it is within its tolerance, if there is one.
    pub fn is_within(&self) -> bool {
        self.tolerance.is_none_or(|tolerance| self.difference <= tolerance)
    }

    /// Part of the tolerance that is used.
    pub(super) fn exhausted(&self) -> f64 {
        let used = self.difference / self.tolerance.unwrap_or(1.0);
        if used.is_nan() { f64::INFINITY } else { used }
    }
}

/// The tensor that comes closest to its tolerance, or goes furthest beyond.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstTensor {
    /// Its name.
    pub name: String,
    /// In f64 and after several steps of its weights, in one step of fp32 of its gradient.
    #[serde(flatten)]
    pub measured: Measured,
}

/// What became of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Within all tolerances.
    Within,
    /// Beyond one of them.
    Beyond,
    /// Not judged.
    Reported,
}

/// One way to train, compared with the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Types of forward and backward.
    pub precision: Precision,
    /// What was done in another way.
    pub way: String,
    /// Ranks.
    pub ranks: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// The loss of the step that differs most.
    pub loss: Measured,
    /// The gradient, as one vector, of the step that differs most; `None` where no rank holds all of it.
    pub gradient: Option<Measured>,
    /// All weights, as one vector, after the last step.
    pub weights: Option<Measured>,
    /// The worst tensor.
    pub worst: Option<WorstTensor>,
    /// Whether all ranks ended with the same bits.
    pub ranks_agree: bool,
    /// What became of it.
    pub verdict: Verdict,
}

impl Comparison {
    /// Whether every number is within its tolerance.
    pub(super) fn keeps_to_tolerances(&self) -> bool {
        self.measured().all(Measured::is_within)
    }

    /// Part of its tolerance that the number nearest to it, or furthest beyond, uses.
    pub(super) fn exhausted(&self) -> f64 {
        self.measured().map(Measured::exhausted).fold(0.0, f64::max)
    }

    fn measured(&self) -> impl Iterator<Item = &Measured> {
        let worst = self.worst.as_ref().map(|worst| &worst.measured);
        [Some(&self.loss), self.gradient.as_ref(), self.weights.as_ref(), worst].into_iter().flatten()
    }
}

/// All comparisons of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the method.
    pub method: &'static str,
    /// Samples of a global batch.
    pub batch: usize,
    /// Samples of each batch that was used.
    pub samples_per_step: Vec<usize>,
    /// What the ranks were.
    pub ranks_are: &'static str,
    /// Where tensors lived.
    pub device: String,
    /// In the order in which they were made.
    pub comparisons: Vec<Comparison>,
    /// Tensors whose gradient is zero by construction, which are not judged by themselves.
    pub zero_gradients: Vec<String>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// Comparisons that were judged.
    pub fn num_judged(&self) -> usize {
        self.comparisons.iter().filter(|c| c.verdict != Verdict::Reported).count()
    }

    /// Comparisons beyond a tolerance.
    pub fn num_beyond(&self) -> usize {
        self.comparisons.iter().filter(|c| c.verdict == Verdict::Beyond).count()
    }
}
