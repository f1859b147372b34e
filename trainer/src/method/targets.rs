//! What a method is told about the samples of a batch.

use std::ops::Range;

use dtrain_data::Dataset;

use crate::batch::Batch;

/// What a method may know about the rows of a batch. Rows are view-major: row `v * n + i` is view `v` of sample `i`.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Number of each sample in the data set.
    pub sample_ids: Vec<i64>,
    /// Target class of each sample; -1 without a label.
    pub classes: Vec<i64>,
    /// Class of each sample for each of [`super::Method::heads`], `[head][sample]`; -1 without.
    pub labels: Vec<Vec<i64>>,
    /// Recording that each sample was cut from; -1 if unknown.
    pub recordings: Vec<i64>,
    /// Position of each sample in the global batch.
    pub positions: Vec<i64>,
    /// Samples of the global batch.
    pub global_samples: u64,
}

/// Labels that decide what is learned and which pairs take part.
#[derive(Debug, Clone, Copy)]
pub struct TargetColumns<'a> {
    /// `data.target`.
    pub target: &'a str,
    /// `data.recording`.
    pub recording: Option<&'a str>,
}

impl Targets {
    /// What the data say of the samples that are present in `batch`, with the labels named by `heads`. Where the samples
    /// stand in the global batch is the caller's to add.
    pub fn of<'a>(
        dataset: &Dataset,
        batch: &Batch,
        columns: TargetColumns<'a>,
        heads: impl Iterator<Item = &'a str>,
    ) -> Self {
        let recording = columns.recording.unwrap_or_default();
        let mut labels = dataset.classes_named(batch, [columns.target, recording].into_iter().chain(heads));
        let (classes, mut recordings) = (labels.remove(0), labels.remove(0));
        if columns.recording.is_some() && dataset.label(recording).is_none() {
            let number = |id: u32| dataset.recordings.get(id as usize).map_or(-1, |&number| number.into());
            recordings = batch.kept_ids().map(number).collect();
        }
        let sample_ids = batch.kept_ids().map(i64::from).collect();
        Self { sample_ids, classes, labels, recordings, ..Self::default() }
    }

    /// The samples `range` of a batch that stays the same.
    pub fn narrow(&self, range: &Range<usize>) -> Self {
        let part = |values: &[i64]| values.get(range.clone()).unwrap_or_default().to_vec();
        Self {
            sample_ids: part(&self.sample_ids),
            classes: part(&self.classes),
            labels: self.labels.iter().map(|classes| part(classes)).collect(),
            recordings: part(&self.recordings),
            positions: part(&self.positions),
            global_samples: self.global_samples,
        }
    }
}
