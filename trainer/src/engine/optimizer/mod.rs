//! Optimizers as a few operations on flat buffers. Only the active parameters move; neighbours that are treated alike
//! are one operation.

mod adam;
mod lars;
mod sgd;

use dtrain_configs::schema::OptimizerConfig;
use tch::Tensor;

use super::flat::{ActiveSet, Flat};
use super::ranks::Ranks;
use super::shard::Shard;
use crate::error::TrainError;
use crate::model::parameters::Role;

pub use adam::Adam;
pub use lars::Lars;
pub use sgd::Sgd;

/// How parameters move in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay, of those that decay.
    pub weight_decay: f64,
    /// Share of the last update that goes into this one; of Adam, the decay of its first moment.
    pub momentum: f64,
}

/// What an update needs besides gradients.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Of what is in no group, then of each group.
    pub rates: &'a [Rates],
    /// For each of [`Flat::segments`] the place of its rates.
    pub places: &'a [usize],
    /// The elements that this rank moves.
    pub shard: &'a Shard,
    /// For sums over the shards of all ranks.
    pub ranks: &'a Ranks,
    /// 0-dimensional, f32, on the device: 1 where the step must change nothing, which the host does not know yet. `None`:
    /// the step counts.
    pub skip: Option<&'a Tensor>,
}

/// Parameters that one call moves: of one group those that decay, or those that do not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Call {
    place: usize,
    decays: bool,
    /// Without weight decay where nothing decays.
    rates: Rates,
}

impl Update<'_> {
    /// All that an update consists of.
    fn calls(&self) -> impl Iterator<Item = Call> {
        self.rates.iter().enumerate().flat_map(|(place, rates)| {
            [true, false].map(|decays| {
                let weight_decay = if decays { rates.weight_decay } else { 0.0 };
                Call { place, decays, rates: Rates { weight_decay, ..*rates } }
            })
        })
    }

    /// Place of the rates of parameter `index`.
    fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(0)
    }

    /// Whether parameter `index` is moved by a call.
    fn takes_part(&self, call: Call, index: usize, role: Role, decay_bias_and_norm: bool) -> bool {
        self.place(index) == call.place && decays(role, decay_bias_and_norm) == call.decays
    }
}

/// Turns gradients into weights.
pub trait Optimizer: Send {
    /// Moves this rank's elements of the active parameters by their gradients. All others keep weights, moments and step
    /// counts.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError>;

    /// Name and values of each moment, `[Shard::len]`. What is written into them is the optimizer's state.
    fn moments(&self) -> Vec<(&'static str, &Tensor)>;

    /// Steps that each parameter has taken, in the order of [`Flat::segments`]; empty where the update does not depend
    /// on it. With the moments the whole state of an optimizer, hence without a default.
    fn steps(&self) -> &[u64];

    /// Restores what [`Optimizer::steps`] gave; the number of entries has been checked.
    fn set_steps(&mut self, steps: &[u64]);

    /// Takes back the step count of a step that was skipped on the device.
    fn forget_step(&mut self, _active: &ActiveSet) {}
}

/// The optimizer that the configuration names, with empty moments.
///
/// # Errors
/// When memory runs out.
pub fn build(config: &OptimizerConfig, flat: &Flat, shard: &Shard) -> Result<Box<dyn Optimizer>, TrainError> {
    Ok(match config {
        OptimizerConfig::Sgd(config) => Box::new(Sgd::new(config, flat, shard)?),
        OptimizerConfig::Adam(config) => Box::new(Adam::new(config, flat, shard)?),
        OptimizerConfig::Adamw(config) => Box::new(Adam::decoupled(config, flat, shard)?),
        OptimizerConfig::Lars(config) => Box::new(Lars::new(config, flat, shard)?),
    })
}

/// Whether weight decay applies.
fn decays(role: Role, decay_bias_and_norm: bool) -> bool {
    decay_bias_and_norm || role == Role::Weight
}

#[cfg(test)]
mod tests;
