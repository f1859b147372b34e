//! The data set of a run: opened, with something held out, the same on all ranks, and seen as views.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{DataConfig, DataKind, LabelSource, LabelUse};
use dtrain_data::{DataError, Dataset, LabelAccess, ViewSettings, Views};

use super::prepared::Purpose;
use crate::error::TrainError;

/// Opens the data. A method that needs no labels learns without them where no recording lies in the folder of a class.
pub(super) fn open_dataset(config: &RunConfig, root: &Path, purpose: Purpose) -> Result<Dataset, TrainError> {
    let mut dataset = open_labelled(config, root, purpose)?;
    // A method with a head for each label would learn to tell the files.
    if let Some(label) = config.data.recording_label().filter(|_| config.data.recording.is_none())
        && config.method.facts().labels != LabelUse::EveryLabel
    {
        dataset.label_files(label);
    }
    Ok(dataset)
}

fn open_labelled(config: &RunConfig, root: &Path, purpose: Purpose) -> Result<Dataset, TrainError> {
    let access = label_access(config, purpose);
    let opened = Dataset::open(&config.data, root, access);
    let flat = matches!(opened, Err(DataError::NoTargetValues { .. }))
        && config.data.labels.source == LabelSource::Folder
        && config.method.facts().labels == LabelUse::Unused;
    let mut data = config.data.clone();
    data.labels.folders.clear();
    // What else is wrong without labels would not be about the folders.
    match if flat { Dataset::open(&data, root, access).ok() } else { None } {
        Some(mut dataset) => {
            dataset.warnings.push(format!(
                "no recording of `{}` lies in the folder of a class: this run learns without labels, and no probe asks for \
                 one; `'data.labels.folders=[]'` says so",
                root.display()
            ));
            Ok(dataset)
        }
        None => Ok(opened?),
    }
}

/// Labels of all images are read beforehand where something other than a batch asks for them.
fn label_access(config: &RunConfig, purpose: Purpose) -> LabelAccess {
    match config.method.facts().labels {
        LabelUse::EveryLabel
            if purpose == Purpose::Train
                && !config.eval.embeddings
                && config.data.held_out_classes.is_empty()
                && config.data.pools.is_empty()
                && config.data.corrections.is_none() =>
        {
            LabelAccess::WithSamples
        }
        _ => LabelAccess::All,
    }
}

pub(crate) fn view_maker(config: &RunConfig, dataset: &Dataset) -> Result<Arc<dyn Views>, TrainError> {
    let facts = config.method.facts();
    view_maker_of(
        &config.data,
        config,
        dataset,
        (facts.views.num_specs(), facts.masks || config.eval.explanations),
    )
}

/// The same for other data than the run's, with `num_specs` kinds of views, and masks where those are asked for.
pub(super) fn view_maker_of(
    data: &DataConfig,
    config: &RunConfig,
    dataset: &Dataset,
    (num_specs, masks): (usize, bool),
) -> Result<Arc<dyn Views>, TrainError> {
    let settings = ViewSettings { data, augment: &config.augment, seed: config.seed, num_specs, masks };
    Ok(Arc::clone(&dataset.source).views(&settings)?)
}

/// Recordings are held out by the settings, images by their files.
pub(super) fn check_held_out(
    config: &RunConfig,
    dataset: &Dataset,
    purpose: Purpose,
) -> Result<(), TrainError> {
    let asked = purpose == Purpose::Train && config.eval.every_epochs > 0;
    if !asked || !dataset.val.is_empty() || !dataset.test.is_empty() {
        return Ok(());
    }
    match config.data.kind {
        DataKind::Images => Err(TrainError::config(
            format!(
                "`{}` has no test part, and `data.images.val_fraction` holds nothing out",
                dataset.root.display()
            ),
            "`data.images.val_fraction=0.1`, or switch evaluation off: `eval.every_epochs=0`",
        )),
        DataKind::Sound => Err(nothing_held_out(config, dataset)),
    }
}

/// Fractions are taken of each class, and a class keeps one group to learn from.
fn nothing_held_out(config: &RunConfig, dataset: &Dataset) -> TrainError {
    let (split, target) = (&config.data.split, &config.data.target);
    let by = config.data.splits.get(split).and_then(|split| split.by.as_ref());
    let by = by.or(config.data.recording.as_ref());
    let reason = match dataset.label(target) {
        Some(label) => {
            let pairs: BTreeSet<(u32, u32)> = label
                .of_sample
                .iter()
                .zip(&dataset.recordings)
                .filter_map(|(class, recording)| Some(((*class)?, *recording)))
                .collect();
            let num_recordings = |class: u32| pairs.range((class, 0)..=(class, u32::MAX)).count();
            let classes = 0..label.classes.len() as u32;
            let alone = classes.filter(|class| num_recordings(*class) == 1).count();
            format!("{alone} of {} classes of `{target}` have one recording", label.classes.len())
        }
        None => format!("there are {} recordings", dataset.num_samples()),
    };
    let column = by.and_then(|by| dataset.label(by));
    let example = match column {
        Some(column) => column.classes.last().cloned(),
        None => dataset.num_samples().checked_sub(1).and_then(|last| {
            let place = dataset.source.place_of(last as u32);
            place.map(|place| place.file).or_else(|| dataset.name_of(last as u32))
        }),
    };
    TrainError::config(
        format!("split `{split}` holds nothing out: {reason}"),
        format!(
            "list what to hold out, such as `'data.splits.{split}.test=[\"{}\"]'`, or switch evaluation off: \
             `eval.every_epochs=0`",
            example.unwrap_or_default()
        ),
    )
}

pub(super) fn same_data_everywhere(collective: &dyn Collective, fingerprint: u64) -> Result<(), TrainError> {
    let all = collective.all_gather_usize(fingerprint as usize)?;
    match all.iter().position(|&other| Some(&other) != all.first()) {
        None => Ok(()),
        Some(rank) => Err(TrainError::config(
            format!("rank {rank} sees other data than rank 0 (names, sizes or labels differ)"),
            "give all machines the same files in `data.root`, or a shared file system",
        )),
    }
}
