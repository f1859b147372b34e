//! What is worth knowing before a method trains that rounds views to codes and asks heads about them: settings under which its
//! known failures are likely.

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Norm, Scheduled};
use dtrain_data::Dataset;

/// Below this many normalized samples batch norm's statistics are noise.
const LEAST_NORMALIZED: usize = 16;
/// Below this many validation samples a cross-entropy hangs on one or two of them.
const LEAST_VALIDATION: usize = 100;

/// For a run whose batches, or micro-batches, have `batch_size` samples.
pub(crate) fn warnings(config: &RunConfig, dataset: &Dataset, batch_size: usize) -> Vec<String> {
    let facts = config.method.facts();
    if !facts.codes {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let patches = facts.patches.max(1) as usize;
    let normalized = batch_size * patches;
    if config.model.norm == Norm::Batch && normalized < LEAST_NORMALIZED {
        warnings.push(format!(
            "batch norm normalizes {normalized} samples at a time ({batch_size} x {patches} patches), and needs \
             {LEAST_NORMALIZED} at least: raise `trainer.batch_size`, or `model.norm=group`"
        ));
    }
    let num_val = dataset.val.len();
    if (1..LEAST_VALIDATION).contains(&num_val) {
        warnings.push(format!(
            "the validation part has {num_val} samples, so that one or two of them move its losses: go by those of training, \
             or hold more out by `val_fraction`"
        ));
    }
    if let Some(target) = dataset.label(&config.data.target) {
        let counts = target.counts(&dataset.train);
        let unused: Vec<&str> = target
            .classes
            .iter()
            .zip(&counts)
            .filter(|(_, count)| **count == 0)
            .map(|(name, _)| name.as_str())
            .collect();
        if !unused.is_empty() {
            warnings.push(format!(
                "no training sample has {} = {}; `method.semantic_heads.unused_classes=leave_out` takes them out of the head",
                target.name,
                unused.join(", ")
            ));
        }
    }
    let waits = config.phases.enabled
        && config.phases.list.first().is_some_and(|first| first.losses.values().any(Scheduled::is_zero));
    if !waits {
        warnings.push(
            "heads are trained from the first step, while latents and codes still move; a first phase without them is in \
             `experiment=vqvae_synthetic`"
                .into(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{DataConfig, MethodConfig, PhaseConfig, PhasesConfig};
    use dtrain_data::LabelAccess;
    use dtrain_data::synth::{RecordingSetKind, generate};

    use super::*;

    #[test]
    fn each_failure_that_is_likely_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("machines");
        generate(RecordingSetKind::MachineSounds, 0, 0.001, &root).unwrap();
        let mut data = DataConfig { target: "machine_id".into(), ..DataConfig::default() };
        data.labels.source = dtrain_configs::schema::LabelSource::Filename;
        data.labels.pattern = r"id_(?P<machine_id>\d+)/".into();
        data.labels.numbered = vec!["machine_id".into()];
        data.splits.values_mut().for_each(|split| split.val_fraction = 0.2);
        let dataset = Dataset::open(&data, &root, LabelAccess::All).unwrap();
        let method = MethodConfig::named("vqvae").unwrap();
        let config = RunConfig { method, data, ..RunConfig::default() };
        let found = warnings(&config, &dataset, 2);
        assert_eq!(found.len(), 4, "{found:?}");
        for (warning, part) in found.iter().zip([
            "batch norm normalizes 8 samples at a time (2 x 4 patches)",
            "the validation part has 8 samples",
            "no training sample has machine_id = 1, 3, 5;",
            "heads are trained from the first step",
        ]) {
            assert!(warning.contains(part), "{warning}");
        }
        let first =
            PhaseConfig { losses: [("machine_id".to_owned(), 0.0.into())].into(), ..PhaseConfig::default() };
        let phases = PhasesConfig { enabled: true, list: vec![first], ..PhasesConfig::default() };
        assert_eq!(warnings(&RunConfig { phases, ..config.clone() }, &dataset, 4).len(), 2);
        let other = RunConfig { method: MethodConfig::named("supervised").unwrap(), ..config };
        assert!(warnings(&other, &dataset, 2).is_empty());
    }
}
