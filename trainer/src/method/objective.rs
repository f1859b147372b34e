//! What a forward pass leads to: losses, figures beside them, and statistics.

use tch::{Kind, TchError, Tensor};

use super::{PairKeys, Statistics, Targets};

/// The losses of a part of the global batch, and what is measured beside them.
#[derive(Debug, Default)]
pub struct Objective {
    /// One for each of [`super::Method::loss_names`], in that order. The engine weights and adds them.
    pub terms: Vec<Term>,
    /// One for each of [`super::Method::mean_names`], in that order.
    pub means: Vec<Mean>,
    /// Summed over the global batch for [`super::Method::after_step`].
    pub statistics: Statistics,
}

/// One loss.
#[derive(Debug)]
pub enum Term {
    /// It needs no other rank.
    Direct(DirectTerm),
    /// The engine computes it over the rows of all ranks.
    Pairs(PairTerm),
}

/// This part's share of a loss: the sum over parts and ranks is the loss, and the sum of its gradients the gradient.
#[derive(Debug)]
pub struct DirectTerm {
    /// A scalar with graph.
    pub loss: Tensor,
    /// The samples that the loss is a mean over.
    pub over: Over,
    /// What the objective takes it times, beside its weight: a number of the step, such as a multiplier that the method moves. What
    /// is reported is the loss itself.
    pub factor: Option<Tensor>,
}

impl DirectTerm {
    /// The loss as the objective has it before it is weighted.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn scaled(&self) -> Result<Tensor, TchError> {
        match &self.factor {
            Some(factor) => self.loss.f_mul(&factor.f_to_kind(self.loss.kind())?),
            None => Ok(self.loss.shallow_clone()),
        }
    }
}

/// Normalized projections that a contrastive loss compares with those of all ranks.
#[derive(Debug)]
pub struct PairTerm {
    /// With graph, `[num_views * n, D]`, view-major.
    pub projections: Tensor,
    /// Rows of each sample.
    pub num_views: u32,
    /// What decides about their pairs, `num_views * n` rows.
    pub keys: PairKeys,
    /// Softmax temperature of the cosine similarities.
    pub temperature: f64,
}

/// A figure beside the losses.
#[derive(Debug)]
pub struct Mean {
    /// Its name.
    pub name: String,
    /// Sum over this part's samples, 0-dimensional and on the device; the engine divides by the number of `over`.
    pub sum: Tensor,
    /// The samples that it is a mean over.
    pub over: Over,
}

/// Some samples of the global batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// All of them.
    Samples,
    /// Those of a group, by its place in what [`super::Method::count`] counts.
    Group(usize),
}

impl Objective {
    /// One loss, which needs no other rank and is a mean over all samples.
    pub fn direct(loss: Tensor) -> Self {
        Self::of(vec![Term::direct(loss)])
    }

    /// The mean of `losses` `[n]` over the samples of the global batch.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn mean_of(losses: &Tensor, targets: &Targets) -> Result<Self, TchError> {
        let sum = losses.f_sum(None::<Kind>)?;
        Ok(Self::direct(sum.f_div_scalar(targets.global_samples.max(1) as f64)?))
    }

    /// Losses without figures beside them.
    pub fn of(terms: Vec<Term>) -> Self {
        Self { terms, ..Self::default() }
    }

    /// The terms that the engine compares over ranks.
    pub fn pairs(&self) -> impl Iterator<Item = &PairTerm> {
        self.terms.iter().filter_map(|term| match term {
            Term::Pairs(pairs) => Some(pairs),
            Term::Direct(_) => None,
        })
    }
}

impl Term {
    /// A loss that needs no other rank and is a mean over all samples.
    pub fn direct(loss: Tensor) -> Self {
        Term::Direct(DirectTerm { loss, over: Over::Samples, factor: None })
    }

    /// What it is a mean over; `None` for a pair term, whose rows decide.
    pub fn over(&self) -> Option<Over> {
        match self {
            Term::Direct(term) => Some(term.over),
            Term::Pairs(_) => None,
        }
    }
}

impl Mean {
    /// A mean over all samples.
    pub fn new(name: impl Into<String>, sum: Tensor) -> Self {
        Self { name: name.into(), sum, over: Over::Samples }
    }
}
