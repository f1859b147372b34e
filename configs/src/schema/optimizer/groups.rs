//! Groups of parameters that are trained in another way than the rest, as the parameter groups of a PyTorch optimizer.

use serde::{Deserialize, Serialize};

use super::super::{Position, Scheduled, Span};
use crate::checks::Checks;

/// Most groups; more are a mistake.
const MAX_GROUPS: usize = 64;

/// Parameters that are trained in another way than the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// What messages call it, and its learning rate among the metrics: `opt/lr/NAME`.
    pub name: String,
    /// Its parameters: dotted beginnings of names such as `predictor` or `backbone.layer1`, in which `*` stands for any
    /// characters. A parameter belongs to the first group that names it.
    pub parameters: Vec<String>,
    /// Learning rate in place of `optimizer.lr`, scaled by the batch as that one; `null` = that one.
    pub lr: Option<f64>,
    /// Factor on the learning rate; a schedule is one over the run.
    pub lr_scale: Scheduled,
    /// What moves the learning rate.
    pub schedule: GroupSchedule,
    /// In place of `optimizer.weight_decay`; `null` = that one.
    pub weight_decay: Option<Scheduled>,
    /// In place of `optimizer.momentum`, or of `optimizer.beta1`; `null` = that one.
    pub momentum: Option<Scheduled>,
    /// Frozen from the beginning of the run to here: weights, moments and running statistics stay.
    pub freeze_until: Option<Span>,
    /// Frozen from here to the end of the run.
    pub freeze_from: Option<Span>,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            parameters: Vec::new(),
            lr: None,
            lr_scale: Scheduled::Constant(1.0),
            schedule: GroupSchedule::Shared,
            weight_decay: None,
            momentum: None,
            freeze_until: None,
            freeze_from: None,
        }
    }
}

/// What moves the learning rate of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupSchedule {
    /// The schedule of the run, warm-up included.
    #[default]
    Shared,
    /// Nothing: it has its peak from the first step to the last.
    Constant,
}

impl GroupConfig {
    /// Whether its learning rate is another than that of the rest.
    pub fn has_own_lr(&self) -> bool {
        let is_scaled = self.lr_scale.constant() != Some(1.0);
        self.lr.is_some() || is_scaled || self.schedule != GroupSchedule::Shared
    }

    /// Its schedules, by the keys that name them.
    pub fn scheduled(&self) -> impl Iterator<Item = (&'static str, Scheduled)> {
        [("lr_scale", Some(self.lr_scale)), ("weight_decay", self.weight_decay), ("momentum", self.momentum)]
            .into_iter()
            .filter_map(|(key, schedule)| schedule.map(|schedule| (key, schedule)))
    }

    /// When it stays as it is, by the keys that name it.
    pub fn freezes(&self) -> impl Iterator<Item = (&'static str, Span)> {
        [("freeze_until", self.freeze_until), ("freeze_from", self.freeze_from)]
            .into_iter()
            .filter_map(|(key, span)| span.map(|span| (key, span)))
    }

    /// Shortens the time in which it is frozen to a third of the run at each end, for runs that are cut down to a few steps.
    pub fn freeze_in_part(&mut self) {
        self.freeze_until = self.freeze_until.map(|_| Span::Fraction(1.0 / 3.0));
        self.freeze_from = self.freeze_from.map(|_| Span::Fraction(2.0 / 3.0));
    }

    /// Whether it stays as it is in a step, whatever phases say.
    pub fn is_frozen(&self, at: Position) -> bool {
        let step = at.step as f64;
        self.freeze_until.is_some_and(|until| step < until.steps(at))
            || self.freeze_from.is_some_and(|from| step >= from.steps(at))
    }

    fn check(&self, checks: &mut Checks) {
        let name = &self.name;
        let keys = ["optimizer.groups"];
        checks.require(
            !name.trim().is_empty(),
            keys,
            || "a group of `optimizer.groups` has no `name`".into(),
            "messages and metrics call it by its name",
        );
        checks.require(
            !name.contains('/'),
            keys,
            || format!("a group of `optimizer.groups` cannot be called `{name}`"),
            "its name is the last part of the metric `opt/lr/NAME`",
        );
        checks.require(
            !self.parameters.is_empty() && self.parameters.iter().all(|pattern| !pattern.trim().is_empty()),
            keys,
            || format!("group `{name}` of `optimizer.groups` names no `parameters`"),
            "give beginnings of parameter names such as `parameters: [predictor]`",
        );
        let mut within = |key: &str, values: [f64; 2], holds: fn(f64) -> bool, range: &str| {
            let Some(value) = values.into_iter().find(|value| !value.is_finite() || !holds(*value)) else {
                return;
            };
            let message = || format!("`{key}` of group `{name}` must be {range}, not {value}");
            checks.require(false, keys, message, None);
        };
        within("lr", [self.lr.unwrap_or(1.0); 2], |value| value > 0.0, "above 0 and finite");
        within("lr_scale", self.lr_scale.ends(), |value| value >= 0.0, "at least 0 and finite");
        let decay = self.weight_decay.unwrap_or_default();
        within("weight_decay", decay.ends(), |value| value >= 0.0, "at least 0 and finite");
        let momentum = self.momentum.unwrap_or_default();
        within("momentum", momentum.ends(), |value| (0.0..1.0).contains(&value), "at least 0 and below 1");
    }
}

/// Settings of groups that cannot work, alone or together.
pub(super) fn check(groups: &[GroupConfig], checks: &mut Checks) {
    for (index, group) in groups.iter().enumerate() {
        group.check(checks);
        let is_first = !groups.iter().take(index).any(|earlier| earlier.name == group.name);
        checks.require(
            is_first,
            ["optimizer.groups"],
            || format!("`optimizer.groups` has two groups `{}`", group.name),
            "give each a name of its own; one group may list several beginnings of names",
        );
    }
    checks.require(
        groups.len() <= MAX_GROUPS,
        ["optimizer.groups"],
        || format!("`optimizer.groups` has {} groups, more than {MAX_GROUPS}", groups.len()),
        None,
    );
}
