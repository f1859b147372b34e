//! The labels that probes ask for.

use dtrain_configs::schema::DataConfig;
use dtrain_configs::{Origins, RunConfig};
use dtrain_data::{Dataset, LabelColumn};

use crate::error::TrainError;
use crate::eval::part_named;

pub(super) fn probe_labels<'a>(config: &RunConfig, dataset: &'a Dataset) -> Vec<&'a LabelColumn> {
    labels_asked(&config.data, &config.eval.probes, dataset)
}

/// Those of `data`: the target, the others of `probes`, the recording, as far as there are such.
pub(super) fn labels_asked<'a>(
    data: &DataConfig,
    probes: &[String],
    dataset: &'a Dataset,
) -> Vec<&'a LabelColumn> {
    let mut names: Vec<&str> = vec![&data.target];
    for name in probes.iter().map(String::as_str).chain(data.recording_label()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().filter_map(|name| dataset.label(name)).collect()
}

/// Refuses parts that there are not. Leaves out the probes that the data cannot answer and that an experiment brought along for its own data; says so in
/// `notes`.
pub(super) fn fit_probes(
    config: &mut RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    notes: &mut Vec<String>,
) -> Result<(), TrainError> {
    for part in &config.eval.parts {
        part_named(dataset, part, ("`eval.parts`", &config.data.split))?;
    }
    for part in &config.eval.during {
        part_named(dataset, part, ("`eval.during`", &config.data.split))?;
    }
    check_neighbours(config, origins, dataset)?;
    let known: Vec<&str> = dataset.labels.iter().map(|label| label.name.as_str()).collect();
    let unknown: Vec<String> =
        config.eval.probes.iter().filter(|name| dataset.label(name).is_none()).cloned().collect();
    for name in unknown {
        let problem = format!("`eval.probes` names `{name}`, which is not a label of `{}`", dataset.name);
        let labels = match known.is_empty() {
            true => "it has no labels".to_owned(),
            false => format!("its labels are {}", known.join(", ")),
        };
        if origins.is_asked("eval.probes") {
            let snippet = origins.snippet("eval.probes");
            return Err(TrainError::config(format!("{problem}{snippet}"), labels));
        }
        if config.eval.embeddings {
            notes.push(format!("{problem}: it is left out; {labels}"));
        }
        config.eval.probes.retain(|probe| *probe != name);
    }
    Ok(())
}

/// More neighbours than there are to choose from: a default or a recipe takes all there are, but who asks for a number means
/// it.
fn check_neighbours(config: &RunConfig, origins: &Origins, dataset: &Dataset) -> Result<(), TrainError> {
    let label = dataset.label(&config.data.target).filter(|_| config.eval.embeddings);
    let (Some(label), true) = (label, origins.is_asked("eval.knn.k")) else { return Ok(()) };
    let has_label = |id: &&u32| label.of_sample.get(**id as usize).copied().flatten().is_some();
    let samples = dataset.train.iter().filter(has_label).count();
    match config.eval.knn.k.values().iter().find(|&&k| k > samples) {
        None => Ok(()),
        Some(k) => Err(TrainError::config(
            format!(
                "`eval.knn.k` has {k} neighbours vote, but the train part has {samples} samples with `{}`{}",
                label.name,
                origins.snippet("eval.knn.k")
            ),
            format!("give at most {samples}"),
        )),
    }
}
