//! Optimizers as a few operations on flat buffers. Only the active parameters move; neighbours that are treated alike
//! are one operation.

mod adamw;
mod lars;
mod sgd;

use dtrain_configs::schema::OptimizerConfig;
use tch::{TchError, Tensor};

use super::flat::{ActiveSet, Flat};
use crate::error::TrainError;
use crate::model::parameters::Role;

pub use adamw::Adamw;
pub use lars::Lars;
pub use sgd::Sgd;

/// Turns gradients into weights.
pub trait Optimizer: Send {
    /// Moves the active parameters of `flat` by its gradients. All others keep weights, moments and step counts.
    ///
    /// # Errors
    /// When memory runs out.
    fn step(&mut self, flat: &Flat, active: &ActiveSet, lr: f64) -> Result<(), TchError>;

    /// The moments per parameter, named `MOMENT.PARAMETER`, in the parameters' shapes. They are views: what is written
    /// into them is the optimizer's state.
    fn tensors(&self, flat: &Flat) -> Vec<(String, Tensor)>;

    /// Steps that each parameter has taken, in the order of [`Flat::segments`]; empty where the update does not depend
    /// on it.
    fn steps(&self) -> &[u64] {
        &[]
    }

    /// Restores what [`Optimizer::steps`] gave; the number of entries has been checked.
    fn set_steps(&mut self, _steps: &[u64]) {}

    /// Restores what [`Optimizer::tensors`] and [`Optimizer::steps`] gave, bit for bit. Nothing changes if it fails.
    ///
    /// # Errors
    /// When a number, shape or type differs.
    fn restore(&mut self, flat: &Flat, tensors: &[Tensor], steps: &[u64]) -> Result<(), TrainError> {
        let targets = self.tensors(flat);
        let hint = "use the model, method, optimizer and precision of the run that wrote the checkpoint";
        if targets.len() != tensors.len() || self.steps().len() != steps.len() {
            let message = format!(
                "the optimizer's saved state has {} tensors and {} step counts, this run's has {} and {}",
                tensors.len(),
                steps.len(),
                targets.len(),
                self.steps().len()
            );
            return Err(TrainError::config(message, hint));
        }
        for ((name, target), saved) in targets.iter().zip(tensors) {
            if target.size() != saved.size() || target.kind() != saved.kind() {
                let message = format!(
                    "the saved `{name}` is {:?} {:?}, this run's is {:?} {:?}",
                    saved.kind(),
                    saved.size(),
                    target.kind(),
                    target.size()
                );
                return Err(TrainError::config(message, hint));
            }
        }
        tch::no_grad(|| {
            for ((_, mut target), saved) in targets.into_iter().zip(tensors) {
                target.copy_(saved);
            }
        });
        self.set_steps(steps);
        Ok(())
    }
}

/// The optimizer that the configuration names, with empty moments.
pub fn build(config: &OptimizerConfig, flat: &Flat) -> Box<dyn Optimizer> {
    match config {
        OptimizerConfig::Sgd(config) => Box::new(Sgd::new(config.clone(), flat)),
        OptimizerConfig::Adamw(config) => Box::new(Adamw::new(config.clone(), flat)),
        OptimizerConfig::Lars(config) => Box::new(Lars::new(config.clone(), flat)),
    }
}

/// Whether weight decay applies.
fn decays(role: Role, decay_bias_and_norm: bool) -> bool {
    decay_bias_and_norm || role == Role::Weight
}

/// `moment`'s part of each parameter, under its name.
fn moment_views<'a>(
    flat: &'a Flat,
    name: &'a str,
    moment: &'a Tensor,
) -> impl Iterator<Item = (String, Tensor)> + 'a {
    flat.segments().iter().map(move |segment| (format!("{name}.{}", segment.name), segment.view_of(moment)))
}

#[cfg(test)]
mod tests;
