//! What a method is told about the samples of a batch.

use std::ops::Range;

use dtrain_configs::schema::PoolConfig;
use dtrain_data::columns::{NONE, of_label};
use dtrain_data::{Columns, Dataset, Values};
use tch::TchError;

use super::HeadTask;
use crate::batch::Batch;

/// Number of each sample in the data set.
const SAMPLE: &str = "sample";
/// Position of each sample in the global batch.
const POSITION: &str = "position";
/// Class of each sample for the target.
const CLASS: &str = "class";
/// Recording that each sample was cut from.
const RECORDING: &str = "recording";
/// What each sample begins in.
const TIMELINE: &str = "timeline";
/// Which of the pools each sample is of.
const POOL: &str = "pool";
/// Where each sample begins.
const BEGIN: &str = "begin";

/// What a method may know about the rows of a batch. Rows are view-major: row `v * n + i` is view `v` of sample `i`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    /// A row for each sample; [`NONE`] where something is not known of it.
    pub columns: Columns,
    /// Samples of the global batch.
    pub global_samples: u64,
}

/// Labels that decide what is learned and which pairs take part.
#[derive(Debug, Clone, Copy)]
pub struct TargetColumns<'a> {
    /// `data.target`.
    pub target: &'a str,
    /// The label that names the recording, which need not be learned.
    pub recording: Option<&'a str>,
    /// Samples that have places of their own in a batch.
    pub pools: &'a [PoolConfig],
}

impl Targets {
    /// The samples of these numbers in the data set, of which nothing else is known: no class, no recording, no beginning, and as their
    /// positions in the global batch those that they have here.
    ///
    /// # Errors
    /// None.
    pub fn new(sample_ids: Vec<i64>, global_samples: u64) -> Result<Self, TchError> {
        let num_samples = sample_ids.len();
        let none = || vec![NONE; num_samples];
        let targets = Self { columns: Columns::new(num_samples), global_samples };
        let targets = targets.with(SAMPLE, sample_ids)?.with(CLASS, none())?.with(RECORDING, none())?;
        let targets = targets.with_pools(none())?;
        targets.with_begins(none(), none())?.with_positions(0)
    }

    /// What the data say of the samples that are present in `batch`, with the labels of `heads`. Where the samples
    /// stand in the global batch is the caller's to add.
    ///
    /// # Errors
    /// None for a batch as the loader made it.
    pub fn of<'a>(
        dataset: &Dataset,
        batch: &Batch,
        columns: TargetColumns<'a>,
        heads: &'a [HeadTask],
    ) -> Result<Self, TchError> {
        let recording = columns.recording.unwrap_or_default();
        let mut labels = dataset.classes_named(batch, [columns.target, recording].into_iter());
        let (classes, mut recordings) = (labels.remove(0), labels.remove(0));
        if columns.recording.is_some() && dataset.label(recording).is_none() {
            let number = |id: u32| dataset.recordings.get(id as usize).map_or(NONE, |&number| number.into());
            recordings = batch.kept_ids().map(number).collect();
        }
        let begin = |id: u32| dataset.begins.get(id as usize).copied().flatten();
        let begins = || batch.kept_ids().map(begin);
        let timelines = begins().map(|begin| begin.map_or(NONE, |begin| begin.timeline.into())).collect();
        let micros = begins().map(|begin| begin.map_or(NONE, |begin| begin.micros)).collect();
        let pools = pools(dataset, batch, columns.pools);
        let labels = dataset.classes_named(batch, heads.iter().map(|head| head.name.as_str()));
        Self::new(batch.kept_ids().map(i64::from).collect(), 0)?
            .with_classes(classes)?
            .with_recordings(recordings)?
            .with_begins(timelines, micros)?
            .with_pools(pools)?
            .with_labels(heads, labels)
    }

    /// The same with a column of whole numbers, one for each sample.
    ///
    /// # Errors
    /// It has another number of rows.
    pub fn with(mut self, name: &str, values: Vec<i64>) -> Result<Self, TchError> {
        let put = self.columns.put(name, 1, Values::I64(values));
        put.map_err(|error| TchError::Shape(error.to_string()))?;
        Ok(self)
    }

    /// The same with positions in the global batch from `first` on.
    ///
    /// # Errors
    /// None.
    pub fn with_positions(self, first: i64) -> Result<Self, TchError> {
        let positions = (first..).take(self.columns.num_rows()).collect();
        self.with(POSITION, positions)
    }

    /// The same with these positions in the global batch.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn at(self, positions: Vec<i64>) -> Result<Self, TchError> {
        self.with(POSITION, positions)
    }

    /// The same with the class of each sample for the target; [`NONE`] without a label.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn with_classes(self, classes: Vec<i64>) -> Result<Self, TchError> {
        self.with(CLASS, classes)
    }

    /// The same with the recording that each sample was cut from; [`NONE`] if unknown.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn with_recordings(self, recordings: Vec<i64>) -> Result<Self, TchError> {
        self.with(RECORDING, recordings)
    }

    /// The same with where each sample begins, in microseconds, and in what: those of one number share their time. [`NONE`] if
    /// unknown.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn with_begins(self, timelines: Vec<i64>, micros: Vec<i64>) -> Result<Self, TchError> {
        self.with(TIMELINE, timelines)?.with(BEGIN, micros)
    }

    /// The same with the number of the pool that each sample is of; [`NONE`] of the rest.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn with_pools(self, pools: Vec<i64>) -> Result<Self, TchError> {
        self.with(POOL, pools)
    }

    /// The same with the class of each sample for each of `heads`, `[head][sample]`; [`NONE`] without a label.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn with_labels(self, heads: &[HeadTask], labels: Vec<Vec<i64>>) -> Result<Self, TchError> {
        let each = heads.iter().zip(labels);
        each.into_iter()
            .try_fold(self, |targets, (head, classes)| targets.with(&of_label(&head.name), classes))
    }

    /// The same for samples of a global batch of this size.
    #[must_use]
    pub fn among(self, global_samples: u64) -> Self {
        Self { global_samples, ..self }
    }

    /// Samples.
    pub fn num_samples(&self) -> usize {
        self.columns.num_rows()
    }

    /// Number of each sample in the data set.
    pub fn sample_ids(&self) -> &[i64] {
        self.column(SAMPLE)
    }

    /// Position of each sample in the global batch.
    pub fn positions(&self) -> &[i64] {
        self.column(POSITION)
    }

    /// Target class of each sample; [`NONE`] without a label.
    pub fn classes(&self) -> &[i64] {
        self.column(CLASS)
    }

    /// Samples whose target class is known.
    pub fn num_labelled(&self) -> u64 {
        self.columns.count(CLASS)
    }

    /// Recording that each sample was cut from; [`NONE`] if unknown.
    pub fn recordings(&self) -> &[i64] {
        self.column(RECORDING)
    }

    /// What each sample begins in; [`NONE`] if unknown.
    pub fn timelines(&self) -> &[i64] {
        self.column(TIMELINE)
    }

    /// Where each sample begins, in microseconds; [`NONE`] if unknown.
    pub fn begins(&self) -> &[i64] {
        self.column(BEGIN)
    }

    /// Number of the pool of `data.pools` that each sample is of; [`NONE`] of the rest.
    pub fn pools(&self) -> &[i64] {
        self.column(POOL)
    }

    /// Class of each sample for a head; [`NONE`] without a label.
    pub fn label(&self, head: &HeadTask) -> &[i64] {
        self.column(&of_label(&head.name))
    }

    /// The samples `range` of a batch that stays the same.
    #[must_use]
    pub fn narrow(&self, range: &Range<usize>) -> Self {
        Self { columns: self.columns.narrow(range), global_samples: self.global_samples }
    }

    /// The samples at these places, in their order, of a batch that stays the same.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let columns = self.columns.select(places.iter().copied());
        Self { columns, global_samples: self.global_samples }
    }

    fn column(&self, name: &str) -> &[i64] {
        self.columns.i64(name).unwrap_or_default()
    }
}

/// Of each sample of a batch the first of `pools` that it is of.
fn pools(dataset: &Dataset, batch: &Batch, pools: &[PoolConfig]) -> Vec<i64> {
    let mut of_samples = vec![NONE; batch.kept.len()];
    let labels = dataset.classes_named(batch, pools.iter().map(|pool| pool.label.as_str()));
    for ((number, pool), classes) in (0..).zip(pools).zip(labels) {
        let names = dataset.label(&pool.label).map_or(&[][..], |label| &label.classes);
        let is_of_it = |class: i64| {
            let name = usize::try_from(class).ok().and_then(|class| names.get(class));
            name.is_some_and(|name| pool.values.contains(name))
        };
        for (own, class) in of_samples.iter_mut().zip(classes) {
            if *own == NONE && is_of_it(class) {
                *own = number;
            }
        }
    }
    of_samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_follows_its_samples() {
        let head = HeadTask { name: "note".into(), ..HeadTask::default() };
        let heads = std::slice::from_ref(&head);
        let targets = Targets::new(vec![20, 21, 22], 9).unwrap();
        assert_eq!((targets.classes(), targets.recordings()), ([NONE; 3].as_slice(), [NONE; 3].as_slice()));
        let targets = targets.with_positions(4).unwrap().with_classes(vec![1, NONE, 0]).unwrap();
        let targets = targets.with_labels(heads, vec![vec![5, 6, 7]]).unwrap();
        assert_eq!((targets.num_samples(), targets.num_labelled()), (3, 2));
        let some = targets.select(&[2, 0]);
        assert_eq!((some.sample_ids(), some.positions()), ([22, 20].as_slice(), [6, 4].as_slice()));
        assert_eq!((some.classes(), some.label(&head)), ([0, 1].as_slice(), [7, 5].as_slice()));
        let part = targets.narrow(&(1..3));
        assert_eq!((part.sample_ids(), part.positions()), ([21, 22].as_slice(), [5, 6].as_slice()));
        assert_eq!((part.classes(), part.label(&head)), ([NONE, 0].as_slice(), [6, 7].as_slice()));
        assert_eq!(part.global_samples, 9);
        assert_eq!((some.global_samples, some.among(2).global_samples), (9, 2));
        assert!(targets.with_classes(vec![1]).is_err());
    }
}
