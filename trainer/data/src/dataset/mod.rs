//! A data set, opened: every sample with its labels, its part, and a number that any machine gives it alike.

mod assign;
mod by_file;
mod checks;
mod cut;
#[cfg(test)]
mod cut_tests;
mod file_warnings;
mod files;
mod image_files;
mod images;
mod label_warnings;
mod recording;
mod recordings;
mod source;
mod timeline;
mod warnings;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtrain_configs::schema::{DataConfig, DataKind};

use crate::batch::Batch;
use crate::columns::NONE;
use crate::error::DataError;
pub use crate::labels::LabelColumn;
use crate::sampler::Pool;
pub use recording::{Recordings, Sample};
pub use source::{Place, Source, SourceWords};

/// Samples with labels, split into parts. Recordings are numbered by relative path, images as their files have them: ids
/// do not depend on the file system, the labels or the split.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// As configured.
    pub name: String,
    /// Folder with the data.
    pub root: PathBuf,
    /// The samples themselves.
    pub source: Arc<dyn Source>,
    /// All labels.
    pub labels: Vec<LabelColumn>,
    /// Columns of the table that `data.labels.columns` leaves out. Nothing learns or probes them; an audit asks for them.
    pub set_aside: Vec<LabelColumn>,
    /// Number of the recording that each sample was cut from; each file has its own where `data.recording` is `null` or
    /// the sample lacks that label.
    pub recordings: Vec<u32>,
    /// Where each sample begins in its recording; empty where the data do not say.
    pub begins: Vec<Option<Begin>>,
    /// Sample ids to learn from, ascending.
    pub train: Vec<u32>,
    /// Sample ids to choose by, ascending.
    pub val: Vec<u32>,
    /// Sample ids to report on, ascending.
    pub test: Vec<u32>,
    /// Parts that the data bring under names of their own, such as anomalous sounds to test with, in their order.
    pub own_parts: Vec<OwnPart>,
    /// Which samples are anomalies, as the split says; empty where it says nothing of them.
    pub anomalies: Vec<bool>,
    /// Recordings that could not be read.
    pub skipped: Vec<SkippedFile>,
    /// Things worth knowing before training, each with what fixes it.
    pub warnings: Vec<String>,
    /// Hash of the sorted names, sizes and labels; ranks and resumed runs compare it.
    pub fingerprint: u64,
}

/// A part beside train, val and test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPart {
    /// None of the three others'.
    pub name: String,
    /// Sample ids, ascending. They may be in other parts too.
    pub ids: Vec<u32>,
}

/// Where a sample begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// In what: samples of one number share their time. That is the recording where `data.offset` says where a file begins in it,
    /// else the file.
    pub timeline: u32,
    /// How far in it, in microseconds.
    pub micros: i64,
}

/// Which labels of images are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelAccess {
    /// Those of all samples, before the first batch: reads all of them.
    All,
    /// Those of a batch, together with its images.
    WithSamples,
}

/// A recording that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFile {
    /// Below the root, with `/` between folders.
    pub path: String,
    /// Why.
    pub reason: String,
    /// What to do about it and its like.
    pub advice: Option<String>,
}

impl SkippedFile {
    /// A file whose name is not Unicode, as far as it can be printed.
    fn unprintable(path: String) -> Self {
        Self {
            path,
            reason: "its name is not Unicode".into(),
            advice: Some("rename in UTF-8, for instance with `convmv`".into()),
        }
    }
}

impl Dataset {
    /// Opens the data set below `root` (`data.root`, or where the generated stand-in lies). Only headers are read, and
    /// with [`LabelAccess::All`] the labels of images.
    ///
    /// `data.target` must name a label, unless the recordings have none at all (`data.labels.folders=[]`).
    ///
    /// # Errors
    /// Anything that would make a run fail or mislead later; see [`DataError`].
    pub fn open(config: &DataConfig, root: &Path, access: LabelAccess) -> Result<Self, DataError> {
        match config.kind {
            DataKind::Sound => recordings::open(config, root),
            DataKind::Images if config.images.size.is_some() => image_files::open(config, root),
            DataKind::Images => images::open(config, root, access),
        }
    }

    /// Samples of all parts.
    pub fn num_samples(&self) -> usize {
        self.source.num_samples()
    }

    /// Samples at the end that are copies of others, which a user has corrected.
    pub fn num_copies(&self) -> usize {
        self.source.num_copies()
    }

    /// What a sample is called: its path below the root, or part and position of an image.
    pub fn name_of(&self, id: u32) -> Option<String> {
        self.source.name_of(id)
    }

    /// Every part with its sample ids: train, val, test, then the data's own.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &[u32])> {
        let own = self.own_parts.iter().map(|part| (part.name.as_str(), part.ids.as_slice()));
        let three: [(&str, &[u32]); 3] = [("train", &self.train), ("val", &self.val), ("test", &self.test)];
        three.into_iter().chain(own)
    }

    /// The sample ids of the part of this name, ascending; they may be none.
    pub fn part(&self, name: &str) -> Option<&[u32]> {
        self.parts().find_map(|(known, ids)| (known == name).then_some(ids))
    }

    /// Class of each sample that is present in a batch, for each label; -1 where a sample has none.
    pub fn classes_of<B: Deref<Target = [f32]>>(&self, batch: &Batch<B>) -> Vec<Vec<i64>> {
        let of_label = |label: &LabelColumn| -> Vec<i64> {
            if let Some(classes) = batch.labels.i64(&label.name) {
                return classes.to_vec();
            }
            let class = |id| label.of_sample.get(id as usize).copied().flatten().map_or(NONE, i64::from);
            batch.kept_ids().map(class).collect()
        };
        self.labels.iter().map(of_label).collect()
    }

    /// As [`Dataset::classes_of`], for the labels of these names; -1 throughout where the data have no such label.
    pub fn classes_named<'a, B: Deref<Target = [f32]>>(
        &self,
        batch: &Batch<B>,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<Vec<i64>> {
        let all = self.classes_of(batch);
        let of_label = |name: &str| {
            let at = self.labels.iter().position(|label| label.name == name);
            let classes = at.and_then(|at| all.get(at));
            classes.cloned().unwrap_or_else(|| vec![NONE; batch.kept.len()])
        };
        names.map(of_label).collect()
    }

    /// The label of this name.
    pub fn label(&self, name: &str) -> Option<&LabelColumn> {
        self.labels.iter().find(|column| column.name == name)
    }

    /// Adds a label that names the file of each sample, unless there is one of that name, or files are not cut into samples.
    pub fn label_files(&mut self, name: &str) {
        if self.label(name).is_some() {
            return;
        }
        let mut classes = Vec::new();
        let mut of_sample = Vec::new();
        for (id, &recording) in (0u32..).zip(&self.recordings) {
            let Some(place) = self.source.place_of(id) else { return };
            // Files are numbered in the order in which their samples come.
            if recording as usize == classes.len() {
                classes.push(place.file);
            }
            of_sample.push(Some(recording));
        }
        self.labels.push(LabelColumn { name: name.to_owned(), classes, values: Vec::new(), of_sample });
    }

    /// What a sampler draws the train part from; `label` gives the classes where a sampler needs them.
    pub fn train_pool(&self, label: Option<&str>) -> Pool<'_> {
        Pool {
            part: "train",
            ids: &self.train,
            classes: label.and_then(|name| self.label(name)).map_or(&[], |column| &column.of_sample),
            recordings: &self.recordings,
        }
    }
}
