//! What comes of a step: sums on the device first, numbers on the host once they have arrived.

use dtrain_comm::Stage;
use tch::{Device, Kind, Tensor};

use super::pairs::PairLosses;
use crate::engine::flat::ActiveSet;
use crate::engine::ranks::Ranks;
use crate::error::TrainError;
use crate::method::{GlobalRows, Mean, Objective, Over, Statistics, Term};
use crate::torch_extra::{Event, HostCopy};

/// What a step did; the same on all ranks except for the times.
#[derive(Debug, Clone, Default)]
pub struct StepOutcome {
    /// Zero-based number of the step.
    pub step: u64,
    /// Loss of the global batch.
    pub loss: f64,
    /// Value of each of the method's losses before it is weighted; empty where there is only one.
    pub losses: Vec<f64>,
    /// Named means over the global batch.
    pub means: Vec<(String, f64)>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// False: loss or gradient was not finite and no weight moved.
    pub finite: bool,
    /// Anchors of the pair loss that had a positive, of several pair losses the fewest; `None` for other losses.
    pub anchors: Option<u64>,
    /// What the loss was multiplied by before backward; 1 but with 16-bit floats.
    pub loss_scale: f64,
    /// Seconds of the step in which this rank worked.
    pub compute_secs: f64,
    /// Seconds in which this rank's host was blocked by other ranks: gathers, statistics and the tail of the gradient sums.
    pub comm_secs: f64,
    /// Of them, from the end of backward to the last gradient sum: by the device's clock on a GPU.
    pub tail_secs: f64,
    /// Gradient buckets that were sent while backward went on.
    pub early_buckets: usize,
}

/// Sums that a rank contributes to a step.
pub(super) struct LocalSums {
    /// 0-dimensional, f64.
    pub(super) loss: Tensor,
    /// As [`StepOutcome::losses`], 0-dimensional, f64.
    pub(super) losses: Vec<Tensor>,
    /// With f64 sums.
    pub(super) means: Vec<Mean>,
    pub(super) statistics: Statistics,
    /// Of each pair term.
    pub(super) pairs: Vec<PairLosses>,
    pub(super) counts: GlobalCounts,
}

impl LocalSums {
    pub(super) fn zero(device: Device) -> Self {
        Self {
            loss: Tensor::zeros([0i64; 0], (Kind::Double, device)),
            losses: Vec::new(),
            means: Vec::new(),
            statistics: Statistics::default(),
            pairs: Vec::new(),
            counts: GlobalCounts::default(),
        }
    }

    /// Adds what a part of the batch has measured, and with the first one the pair terms of all parts.
    pub(super) fn add(
        &mut self,
        part: Objective,
        pairs: &[PairLosses],
        is_first: bool,
    ) -> Result<(), TrainError> {
        if part.terms.len() > 1 {
            let mut pairs = pairs.iter();
            for (index, term) in part.terms.iter().enumerate() {
                let value = match term {
                    Term::Direct(term) => Some(term.loss.detach().to_kind(Kind::Double)),
                    Term::Pairs(_) => {
                        pairs.next().filter(|_| is_first).map(|pairs| pairs.loss.shallow_clone())
                    }
                };
                match (self.losses.get_mut(index), value) {
                    (Some(total), Some(value)) => *total += value,
                    (None, Some(value)) => self.losses.push(value),
                    (_, None) => {}
                }
            }
        }
        for (index, mean) in part.means.into_iter().enumerate() {
            let sum = mean.sum.to_kind(Kind::Double);
            match self.means.get_mut(index) {
                Some(total) => total.sum += sum,
                None => self.means.push(Mean { sum, ..mean }),
            }
        }
        Ok(self.statistics.add(part.statistics)?)
    }
}

/// Samples of the global batch in each group that the method counts.
#[derive(Debug, Default)]
pub(super) struct GlobalCounts(pub(super) Vec<u64>);

impl GlobalCounts {
    /// What a mean is divided by; 1 where there is no sample.
    pub(super) fn of(&self, over: Over, all: u64) -> f64 {
        let count = match over {
            Over::Samples => all,
            Over::Group(group) => self.0.get(group).copied().unwrap_or(0),
        };
        (count as f64).max(1.0)
    }
}

/// A step after the sums over ranks; nothing of it has come to the host.
pub(super) struct Summed {
    pub(super) in_flight: InFlight,
    /// 0-dimensional and boolean: loss or gradient is not finite.
    pub(super) skipped: Tensor,
    /// Of the gradient.
    pub(super) norm: Tensor,
    pub(super) statistics: Statistics,
    pub(super) rows: Vec<GlobalRows>,
}

/// A step whose sums are still on the device.
pub(in crate::engine) struct InFlight {
    pub(super) outcome: StepOutcome,
    pub(super) active: ActiveSet,
    pub(super) num_losses: usize,
    /// Name of each mean and what its sum is divided by.
    pub(super) means: Vec<(String, f64)>,
    /// Loss, losses before they are weighted, sums of the means, gradient norm.
    pub(super) values: HostCopy,
    /// On a GPU: the end of backward, and of the last gradient sum.
    pub(super) tail: Option<(Event, Event)>,
}

impl InFlight {
    /// Waits for the values.
    pub(super) fn settle(self, ranks: &Ranks) -> Result<StepOutcome, TrainError> {
        let _stage = ranks.enter(Stage::Device);
        let values = self.values.wait()?;
        let mut outcome = self.outcome;
        if let Some((backward, summed)) = &self.tail {
            // Both lie before the values that have just arrived.
            outcome.tail_secs = backward.elapsed_ms(summed)? * 1e-3;
            outcome.comm_secs += outcome.tail_secs;
        }
        let (loss, rest) = values.split_first().unwrap_or((&f64::NAN, &[]));
        let (norm, sums) = rest.split_last().unwrap_or((&f64::NAN, &[]));
        (outcome.loss, outcome.grad_norm) = (*loss, *norm);
        let (losses, sums) = sums.split_at(self.num_losses.min(sums.len()));
        outcome.losses = losses.to_vec();
        outcome.means =
            self.means.into_iter().zip(sums).map(|((name, count), sum)| (name, sum / count)).collect();
        outcome.finite = loss.is_finite() && norm.is_finite();
        Ok(outcome)
    }
}
