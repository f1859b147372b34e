//! What a phase changes in the step: what is frozen, how losses are weighted, the learning rate. The coordinator names the
//! phase of each step; everything else follows from the settings, alike on all ranks.

use dtrain_configs::schema::{PhaseConfig, PhaseSchedule};

use super::{Engine, EngineSettings, schedule};
use crate::coordinator::Course;
use crate::error::TrainError;
use crate::method::Method;

/// What the engine has made of the phase that it is in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Current {
    index: u32,
    /// Factor on each of the method's losses.
    loss_weights: Vec<f64>,
}

impl Engine {
    /// Freezes and weights as the phase of a step says. Moments of what is frozen stay, and are used again when it is set
    /// free.
    pub(super) fn enter_phase(&mut self, index: u32) -> Result<(), TrainError> {
        if self.phase.as_ref().is_some_and(|current| current.index == index) {
            return Ok(());
        }
        let Some(phase) = self.settings.course.phase(index) else {
            return Err(TrainError::internal(format!("there is no phase {index}")));
        };
        self.reducer.set_frozen(&self.parameters.freeze(&phase.freeze));
        let loss_weights = loss_weights(phase, &*self.method);
        self.phase = Some(Current { index, loss_weights });
        Ok(())
    }

    /// Learning rate of a step.
    pub fn lr_at(&self, step: u64) -> f64 {
        self.settings.lr_on(&self.settings.course, step)
    }

    /// Factor on each of the method's losses in the phase of the last step.
    pub(super) fn loss_weights(&self) -> &[f64] {
        self.phase.as_ref().map_or(&[], |current| &current.loss_weights)
    }
}

impl EngineSettings {
    /// Learning rate of a step on a course, which may be another one than the run's.
    pub fn lr_on(&self, course: &Course, step: u64) -> f64 {
        let leg = course.at(step);
        let rate = |step, total_steps| {
            schedule::lr_at(
                step,
                total_steps,
                self.steps_per_epoch,
                &self.schedule,
                self.optimizer.lr(),
                self.global_batch,
            )
        };
        match leg.phases.get(leg.phases.index_of(step)) {
            None => rate(step, leg.total_steps),
            Some(phase) => {
                phase.config.lr_scale
                    * match phase.config.schedule {
                        PhaseSchedule::Continue => rate(step, leg.total_steps),
                        PhaseSchedule::Restart => rate(
                            step.saturating_sub(phase.steps.start),
                            phase.steps.end.saturating_sub(phase.steps.start),
                        ),
                    }
            }
        }
    }
}

/// Factor on each named loss: the method's own times the phase's.
pub fn loss_weights(phase: &PhaseConfig, method: &dyn Method) -> Vec<f64> {
    let of_phase = |name: &String| phase.losses.get(name).copied().unwrap_or(1.0);
    let names = method.loss_names();
    names.iter().zip(method.loss_weights()).map(|(name, own)| own * of_phase(name)).collect()
}
