//! What the data and the settings say about heads, checked before the first step.

use dtrain_configs::schema::{MethodConfig, MultiheadConfig};
use dtrain_configs::{RunConfig, choice_hint};

use super::prepare::Prepared;
use crate::data::{Dataset, LabelColumn};
use crate::error::TrainError;
use crate::method::{HeadTask, Task};

impl Prepared {
    /// What the data ask of a network.
    pub fn task(&self) -> Task {
        task(&self.config, &self.dataset, self.maker.shape())
    }
}

/// What the data ask of a network whose views have `shape`.
pub(super) fn task(config: &RunConfig, dataset: &Dataset, shape: [usize; 3]) -> Task {
    let num_classes = |label: &LabelColumn| label.classes.len() as i64;
    let head = |label: &LabelColumn| HeadTask {
        name: label.name.clone(),
        num_classes: num_classes(label),
        values: label.values.clone(),
    };
    let [in_channels, ..] = shape;
    Task {
        in_channels: in_channels as i64,
        num_classes: dataset.label(&config.data.target).map_or(0, num_classes),
        heads: dataset.labels.iter().map(head).collect(),
    }
}

/// # Errors
/// A head that the data lack, none that is trained, a label with nothing to tell apart.
pub(super) fn check(config: &RunConfig, dataset: &Dataset) -> Result<(), TrainError> {
    let MethodConfig::Multihead(method) = &config.method else { return Ok(()) };
    let names: Vec<&str> = dataset.labels.iter().map(|label| label.name.as_str()).collect();
    if let Some(unknown) = method.heads.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(TrainError::config(
            format!("`method.heads.{unknown}`: `{}` has no label `{unknown}`", dataset.name),
            choice_hint(unknown, names.iter().copied()),
        ));
    }
    let weight = |label: &LabelColumn| weight_of(method, label);
    if dataset.labels.iter().all(|label| weight(label) == 0.0) {
        return Err(TrainError::config(
            "every head has weight 0, so nothing is trained",
            "give one of `method.heads.NAME.weight` a value above 0",
        ));
    }
    Ok(())
}

/// Heads of a single class, which are always right and teach nothing.
pub(super) fn warnings(config: &RunConfig, dataset: &Dataset) -> Vec<String> {
    let MethodConfig::Multihead(method) = &config.method else { return Vec::new() };
    let alone =
        dataset.labels.iter().filter(|label| label.classes.len() < 2 && weight_of(method, label) > 0.0);
    let warning = |label: &LabelColumn| {
        let name = &label.name;
        format!(
            "`{name}` has a single class, so its head is always right and lifts the mean accuracy; \
             `+method.heads.{name}.weight=0` leaves it out"
        )
    };
    alone.map(warning).collect()
}

fn weight_of(method: &MultiheadConfig, label: &LabelColumn) -> f64 {
    method.settings(&label.name, !label.values.is_empty()).weight
}
