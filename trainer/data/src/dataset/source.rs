//! What a data set is read from: one trait, so that a further kind of data is an implementation and a line in
//! [`Dataset::open`](super::Dataset::open).

use std::fmt;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;

use crate::views::{ViewError, ViewSettings, Views};

/// Samples by their numbers, all parts together.
pub trait Source: fmt::Debug + Send + Sync {
    /// Samples of all parts; their numbers count from 0.
    fn num_samples(&self) -> usize;

    /// Samples at the end that are copies of others, which a user has corrected.
    fn num_copies(&self) -> usize {
        0
    }

    /// What a sample is called, the same on every machine; `None` beyond the last.
    fn name_of(&self, id: u32) -> Option<String>;

    /// Bytes that a sample is stored in; `None` where it cannot be read.
    fn size_of(&self, id: u32) -> Option<u64>;

    /// Hash of these bytes; `None` where they cannot be read.
    fn hash_of(&self, id: u32) -> Option<u128>;

    /// Where in its file a sample lies; `None` where a file is one sample, or where places have no time.
    fn place_of(&self, _id: u32) -> Option<Place> {
        None
    }

    /// What one sample is: the heading of a column of names.
    fn noun(&self) -> &'static str;

    /// What is said of the source to people.
    fn words(&self, data: &DataConfig) -> SourceWords;

    /// Makes views of the samples, by their numbers.
    ///
    /// # Errors
    /// Settings that do not fit the samples. No sample is read.
    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError>;
}

/// A sample that was cut from a longer recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// What the file is called.
    pub file: String,
    /// Where in it the sample begins.
    pub begin_secs: f64,
    /// How long it is.
    pub length_secs: f64,
}

/// What is said of a source to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceWords {
    /// What the parts come from.
    pub parts: String,
    /// What a view is made of.
    pub views: String,
}
