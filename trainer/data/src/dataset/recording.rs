//! Recordings as what a data set is read from.

use std::path::PathBuf;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;

use super::source::{Source, SourceWords};
use crate::views::{SoundViews, ViewError, ViewSettings, Views};

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it is; absolute if the root is.
    pub path: PathBuf,
    /// The same below the root, with `/` between folders.
    pub relative: String,
    /// Sample frames.
    pub num_frames: u64,
    /// In Hz.
    pub sample_rate: u32,
}

/// All readable recordings, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recordings(pub Vec<Sample>);

impl Source for Recordings {
    fn num_samples(&self) -> usize {
        self.0.len()
    }

    /// Its path below the root.
    fn name_of(&self, id: u32) -> Option<String> {
        Some(self.0.get(id as usize)?.relative.clone())
    }

    fn noun(&self) -> &'static str {
        "file"
    }

    fn words(&self, data: &DataConfig) -> SourceWords {
        let audio = &data.audio;
        SourceWords {
            parts: format!("split `{}`", data.split),
            views: format!("{} s at {} Hz", audio.clip_secs, audio.sample_rate),
        }
    }

    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError> {
        let ViewSettings { data, augment, seed } = *settings;
        let paths = self.0.iter().map(|sample| sample.path.clone()).collect();
        Ok(Arc::new(SoundViews::new(paths, &data.audio, &data.features, augment, seed, data.cache_bytes)?))
    }
}
