//! Stages of a run that differ in what is trained and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Scheduled;

/// Staged training. Switched off, the run is one stage that trains everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhasesConfig {
    /// Whether the run has stages.
    pub enabled: bool,
    /// Part of the run's steps that each phase of `list` takes. A phase with `steps` of its own takes those; the others
    /// share what is left in these proportions.
    pub fracs: Vec<f64>,
    /// The phases, in their order.
    pub list: Vec<PhaseConfig>,
}

impl Default for PhasesConfig {
    fn default() -> Self {
        Self { enabled: false, fracs: vec![0.2, 0.6, 0.2], list: Vec::new() }
    }
}

impl PhasesConfig {
    /// Gives every phase the same part, for runs that are cut down to a few steps.
    pub fn share_evenly(&mut self) {
        let share = 1.0 / self.list.len().max(1) as f64;
        self.fracs = vec![share; self.list.len()];
        self.list.iter_mut().for_each(|phase| phase.steps = None);
    }
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhaseConfig {
    /// What it is called in the banner and in messages.
    pub name: String,
    /// Optimizer steps, instead of a part of the run.
    pub steps: Option<u64>,
    /// What is not trained: dotted beginnings of parameter names such as `backbone` or `backbone.layer1`, in which `*` stands
    /// for any characters. It keeps its weights, moments and running statistics.
    pub freeze: Vec<String>,
    /// Factor on each named loss of the method; 0 switches it off. Losses that are not named keep their weight. A schedule is
    /// one over the run, or over the phase where `schedule` is `restart`.
    pub losses: BTreeMap<String, Scheduled>,
    /// Values of the method in this phase, by the name of the setting below `method`, in place of that one: what the method
    /// can change over the run, such as a teacher's `momentum`. A schedule as in `losses`.
    pub values: BTreeMap<String, Scheduled>,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Where in the schedules of the learning rate, and of what the phase itself sets, the phase begins.
    pub schedule: PhaseSchedule,
}

impl Default for PhaseConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            steps: None,
            freeze: Vec::new(),
            losses: BTreeMap::new(),
            values: BTreeMap::new(),
            lr_scale: 1.0,
            schedule: PhaseSchedule::Continue,
        }
    }
}

/// The learning rate's schedule within a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseSchedule {
    /// One schedule over the whole run.
    #[default]
    Continue,
    /// A schedule of its own, warm-up included, over the steps of the phase.
    Restart,
}
