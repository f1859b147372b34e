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

/// What an update needs besides gradients.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Learning rate.
    pub lr: f64,
    /// The elements that this rank moves.
    pub shard: &'a Shard,
    /// For sums over the shards of all ranks.
    pub ranks: &'a Ranks,
    /// 0-dimensional, f32, on the device: 1 where the step must change nothing, which the host does not know yet. `None`:
    /// the step counts.
    pub skip: Option<&'a Tensor>,
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
        OptimizerConfig::Sgd(config) => Box::new(Sgd::new(config.clone(), flat, shard)?),
        OptimizerConfig::Adam(config) => Box::new(Adam::new(config, flat, shard)?),
        OptimizerConfig::Adamw(config) => Box::new(Adam::decoupled(config, flat, shard)?),
        OptimizerConfig::Lars(config) => Box::new(Lars::new(config.clone(), flat, shard)?),
    })
}

/// Whether weight decay applies.
fn decays(role: Role, decay_bias_and_norm: bool) -> bool {
    decay_bias_and_norm || role == Role::Weight
}

#[cfg(test)]
mod tests;
