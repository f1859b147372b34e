//! What a phase changes in the step: what is frozen, how losses are weighted, the learning rate. The coordinator names the
//! phase of each step; everything else follows from the settings, alike on all ranks.

use dtrain_configs::schema::{PhaseConfig, Position, ScheduledValues};

use super::Engine;
use super::groups::group_of;
use crate::error::TrainError;
use crate::method::Method;
use crate::model::freeze::is_below;

/// What the engine has made of the phase that it is in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Current {
    index: u32,
    /// Which groups of the optimizer stay as they are.
    frozen_groups: Vec<bool>,
    /// Factor on each of the method's losses.
    loss_weights: Vec<f64>,
}

impl Engine {
    /// Freezes and weights as a step of the phase `index` and the groups of the optimizer say. Moments of what is frozen stay,
    /// and are used again when it is set free.
    pub(super) fn enter_phase(&mut self, index: u32, step: u64) -> Result<(), TrainError> {
        let settings = &self.settings;
        let Some(phase) = settings.course.phase(index) else {
            return Err(TrainError::internal(format!("there is no phase {index}")));
        };
        let frozen_groups = settings.frozen_groups(step);
        let is_new = |now: &Current| now.index != index || now.frozen_groups != frozen_groups;
        if self.phase.as_ref().is_none_or(is_new) {
            let groups = settings.optimizer.groups();
            let is_frozen = |name: &str| {
                let by_group = group_of(groups, name).and_then(|group| frozen_groups.get(group));
                is_below(name, &phase.freeze) || by_group == Some(&true)
            };
            self.reducer.set_frozen(&self.parameters.freeze_where(is_frozen));
        }
        let at = settings.position_in_phase(&settings.course, step);
        let loss_weights = loss_weights(phase, &*self.method, at);
        self.phase = Some(Current { index, frozen_groups, loss_weights });
        Ok(())
    }

    /// Learning rate of a step.
    pub fn lr_at(&self, step: u64) -> f64 {
        self.settings.lr_on(&self.settings.course, step)
    }

    /// What the method changes over the run, in a step.
    pub fn scheduled_values(&self, step: u64) -> ScheduledValues {
        self.settings.scheduled_values(step)
    }

    /// Factor on each of the method's losses in the phase of the last step.
    pub(super) fn loss_weights(&self) -> &[f64] {
        self.phase.as_ref().map_or(&[], |current| &current.loss_weights)
    }
}

/// Factor on each named loss: the method's own times the phase's, where schedules of the phase are at `at`.
pub fn loss_weights(phase: &PhaseConfig, method: &dyn Method, at: Position) -> Vec<f64> {
    let of_phase = |name: &String| phase.losses.get(name).map_or(1.0, |weight| weight.at(at));
    let names = method.loss_names();
    names.iter().zip(method.loss_weights()).map(|(name, own)| own * of_phase(name)).collect()
}
