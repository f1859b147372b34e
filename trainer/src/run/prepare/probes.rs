//! The labels that probes ask for.

use dtrain_configs::{Origins, RunConfig};
use dtrain_data::{Dataset, LabelColumn};

use crate::error::TrainError;

pub(super) fn probe_labels<'a>(config: &RunConfig, dataset: &'a Dataset) -> Vec<&'a LabelColumn> {
    let recording = config.data.recording.iter();
    let mut names: Vec<&String> = vec![&config.data.target];
    for name in config.eval.probes.iter().chain(recording) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().filter_map(|name| dataset.label(name)).collect()
}

/// Leaves out the probes that the data cannot answer and that an experiment brought along for its own data; says so in
/// `notes`.
pub(super) fn fit_probes(
    config: &mut RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    notes: &mut Vec<String>,
) -> Result<(), TrainError> {
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
