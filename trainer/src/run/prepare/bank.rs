//! A probe bank: further labelled data that evaluations ask about.

use std::sync::Arc;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::DataConfig;
use dtrain_data::{Dataset, LabelColumn, Views};

use super::probes::labels_asked;

/// A bank, ready to be probed.
pub(crate) struct Bank {
    /// As a part: `bank_NAME`.
    pub(crate) part: String,
    /// Its samples.
    pub(crate) dataset: Dataset,
    /// Makes the views that the network sees.
    pub(crate) maker: Arc<dyn Views>,
    /// What it is, with what it has in common with the run's data.
    pub(super) data: DataConfig,
}

impl Bank {
    /// The samples that are asked about: the bank's test part, or val where it has no test part.
    pub(crate) fn questions(&self) -> &[u32] {
        if self.dataset.test.is_empty() { &self.dataset.val } else { &self.dataset.test }
    }

    /// The labels that probes ask for, the target first.
    pub(crate) fn labels<'a>(&'a self, config: &RunConfig) -> Vec<&'a LabelColumn> {
        labels_asked(&self.data, &config.eval.probes, &self.dataset)
    }

    /// The label that is asked for first.
    pub(crate) fn target(&self) -> &str {
        &self.data.target
    }

    /// The label that names its recordings.
    pub(crate) fn recording(&self) -> Option<&str> {
        self.data.recording_label()
    }
}
