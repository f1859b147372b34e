//! What the data and the settings say about heads, checked before the first step.

use dtrain_configs::schema::{DataKind, HeadsConfig};
use dtrain_configs::{Origins, RunConfig, choice_hint, shell_word};
use dtrain_data::{Dataset, LabelColumn};

use crate::error::TrainError;
use crate::method::{HeadTask, Task};

/// What the data ask of a network whose views have `shape`.
pub(super) fn task(config: &RunConfig, dataset: &Dataset, shape: [usize; 3]) -> Task {
    let head = |label: &LabelColumn| HeadTask {
        name: label.name.clone(),
        num_classes: label.classes.len() as i64,
        values: label.values.clone(),
        unused: without_samples(label, &dataset.train),
    };
    Task {
        input: shape.map(|size| size as i64).into(),
        target: dataset.label(&config.data.target).map(head).unwrap_or_default(),
        heads: dataset.labels.iter().map(head).collect(),
    }
}

/// Classes of which no sample is in the training part; none where classes are read together with samples.
fn without_samples(label: &LabelColumn, train: &[u32]) -> Vec<i64> {
    if label.of_sample.is_empty() {
        return Vec::new();
    }
    let counts = label.counts(train);
    (0..).zip(counts).filter(|(_, count)| *count == 0).map(|(class, _)| class).collect()
}

/// Leaves out the heads that the data lack and that an experiment brought along for its own; says so in `notes`.
///
/// # Errors
/// A head that the user asked for and the data lack, or none that is trained.
pub(super) fn fit(
    config: &mut RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    notes: &mut Vec<String>,
) -> Result<(), TrainError> {
    let Some(method) = config.method.heads_mut() else { return Ok(()) };
    let names: Vec<&str> = dataset.labels.iter().map(|label| label.name.as_str()).collect();
    let unknown: Vec<String> =
        method.heads.keys().filter(|name| !names.contains(&name.as_str())).cloned().collect();
    for name in unknown {
        let key = format!("method.heads.{name}");
        let hint = choice_hint(&name, names.iter().copied());
        let problem = format!("`{key}`: `{}` has no label `{name}`", dataset.name);
        if origins.is_asked(&key) {
            return Err(TrainError::config(format!("{problem}{}", origins.snippet(&key)), hint));
        }
        notes.push(format!("{problem}, so there is no such head; {hint}"));
        method.heads.remove(&name);
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

/// Heads of a single class, which are always right and teach nothing, and heads with hardly a sample for each class, which
/// can only be learned by heart.
pub(crate) fn warnings(config: &RunConfig, dataset: &Dataset) -> Vec<String> {
    let Some(method) = config.method.heads() else { return Vec::new() };
    let alone =
        dataset.labels.iter().filter(|label| label.classes.len() < 2 && weight_of(method, label) > 0.0);
    let warning = |label: &LabelColumn| {
        let name = &label.name;
        format!(
            "`{name}` has a single class, so its head is always right and lifts the mean accuracy; \
             `+method.heads.{name}.weight=0` leaves it out"
        )
    };
    let is_id = |label: &&LabelColumn| {
        label.is_like_an_id() && weight_of(method, label) > 0.0 && label.name != config.data.target
    };
    let id_warning = |label: &LabelColumn| {
        let (name, num_samples) = (&label.name, label.of_sample.iter().flatten().count());
        let others = dataset.labels.iter().filter(|label| !label.is_like_an_id());
        let others: Vec<&str> = others.map(|label| label.name.as_str()).collect();
        let remedy = match config.data.kind {
            DataKind::Sound => {
                format!("`{}`", shell_word(&format!("data.labels.columns=[{}]", others.join(", "))))
            }
            DataKind::Images => format!("`+method.heads.{name}.weight=0`"),
        };
        format!(
            "`{name}` has {} classes for {num_samples} samples, as a name of samples has, and is trained as a head; \
             {remedy} leaves it out",
            label.classes.len()
        )
    };
    alone.map(warning).chain(dataset.labels.iter().filter(is_id).map(id_warning)).collect()
}

fn weight_of(method: &HeadsConfig, label: &LabelColumn) -> f64 {
    method.settings(&label.name, !label.values.is_empty()).weight
}
