//! What comes of a step: sums on the device first, numbers on the host once they have arrived.

use dtrain_comm::Stage;
use tch::{Device, Kind, Tensor};

use crate::engine::flat::ActiveSet;
use crate::engine::ranks::Ranks;
use crate::error::TrainError;
use crate::method::PairKeys;
use crate::torch_extra::{Event, HostCopy};

/// What a step did; the same on all ranks except for the times.
#[derive(Debug, Clone, Default)]
pub struct StepOutcome {
    /// Zero-based number of the step.
    pub step: u64,
    /// Loss of the global batch.
    pub loss: f64,
    /// Value of each of the method's losses before it is weighed; empty where there is only one.
    pub losses: Vec<f64>,
    /// Named means over the global batch.
    pub means: Vec<(String, f64)>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// False: loss or gradient was not finite and no weight moved.
    pub finite: bool,
    /// Anchors of the pair loss that had a positive; `None` for other losses.
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

/// A step whose sums are still on the device.
pub(in crate::engine) struct InFlight {
    pub(super) outcome: StepOutcome,
    pub(super) active: ActiveSet,
    pub(super) num_losses: usize,
    pub(super) names: Vec<String>,
    pub(super) global_samples: f64,
    /// Loss, losses before they are weighed, sums of the means, gradient norm.
    pub(super) values: HostCopy,
    /// On a GPU: the end of backward, and of the last gradient sum.
    pub(super) tail: Option<(Event, Event)>,
}

/// Sums that a rank contributes to a step.
pub(super) struct LocalSums {
    /// 0-dimensional, f64.
    pub(super) loss: Tensor,
    /// As [`StepOutcome::losses`], 0-dimensional, f64.
    pub(super) losses: Vec<Tensor>,
    pub(super) means: Vec<(String, Tensor)>,
    pub(super) anchors: Option<u64>,
    /// For the method's memory queue, if it has one.
    pub(super) rows: Option<PairRows>,
}

/// Projections of all ranks and what they are.
pub(super) struct PairRows {
    pub(super) rows: Tensor,
    pub(super) keys: PairKeys,
}

impl LocalSums {
    pub(super) fn zero(device: Device) -> Self {
        Self {
            loss: Tensor::zeros([0i64; 0], (Kind::Double, device)),
            losses: Vec::new(),
            means: Vec::new(),
            anchors: None,
            rows: None,
        }
    }
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
            self.names.into_iter().zip(sums).map(|(name, sum)| (name, sum / self.global_samples)).collect();
        outcome.finite = loss.is_finite() && norm.is_finite();
        Ok(outcome)
    }
}
