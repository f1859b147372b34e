//! Further labelled data that embeddings are probed on, and that nothing is trained on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DataConfig, GenerateConfig, LabelsConfig, RunConfig, SplitConfig};

/// A probe bank: where its data are, and what of `data` is different for it. Features, sample rate and length of a view are always
/// the run's, since the same network looks at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BankConfig {
    /// Folder with the bank's data; `null` uses `generate`.
    pub root: Option<PathBuf>,
    /// Generator of the bank's data, used when `root` is `null`.
    pub generate: Option<GenerateConfig>,
    /// Where its labels come from, in place of all of `data.labels`; `null` = as there.
    pub labels: Option<LabelsConfig>,
    /// The label that is asked for first; `null` = `data.target`.
    pub target: Option<String>,
    /// The label that names its recordings; `null` = `data.recording`, where the bank has it.
    pub recording: Option<String>,
    /// How it is split into the part that probes learn from and the one that they are judged on; `null` = as `data.split` says.
    pub split: Option<SplitConfig>,
    /// By what a sample of the bank is one of the training part, which is refused: `content` (the same bytes), `recording` (a recording of the
    /// same name).
    pub same_by: Vec<SameBy>,
}

/// What two data sets can have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameBy {
    /// Files, or images, of the same bytes.
    Content,
    /// Recordings of the same name.
    Recording,
}

impl Default for BankConfig {
    fn default() -> Self {
        Self {
            root: None,
            generate: None,
            labels: None,
            target: None,
            recording: None,
            split: None,
            same_by: vec![SameBy::Content, SameBy::Recording],
        }
    }
}

/// Name of the split that [`BankConfig::data`] puts in the place of the run's.
const OWN_SPLIT: &str = "bank";

impl BankConfig {
    /// The bank of this name as a data set of its own: `data` with what is different.
    pub fn data(&self, name: &str, data: &DataConfig) -> DataConfig {
        let mut own = data.clone();
        own.name = name.to_owned();
        own.root.clone_from(&self.root);
        own.generate.clone_from(&self.generate);
        own.held_out_classes.clear();
        if let Some(labels) = &self.labels {
            own.labels = labels.clone();
        }
        if let Some(target) = &self.target {
            own.target.clone_from(target);
        }
        if let Some(recording) = &self.recording {
            own.recording = Some(recording.clone());
        }
        if let Some(split) = &self.split {
            own.split = OWN_SPLIT.to_owned();
            own.splits = [(OWN_SPLIT.to_owned(), split.clone())].into();
        }
        own
    }
}

impl RunConfig {
    /// The probe banks by name, each as a data set.
    pub fn banks(&self) -> impl Iterator<Item = (&str, &BankConfig, DataConfig)> {
        self.eval.banks.iter().map(|(name, bank)| (name.as_str(), bank, bank.data(name, &self.data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bank_is_the_run_s_data_with_what_is_different() {
        let mut data = DataConfig { target: "species".into(), ..DataConfig::default() };
        data.audio.sample_rate = 8000;
        data.held_out_classes = vec!["wren".into()];
        let bank = BankConfig { root: Some("elsewhere".into()), ..BankConfig::default() };
        let own = bank.data("birds2", &data);
        assert_eq!((own.name.as_str(), own.root.as_deref()), ("birds2", Some("elsewhere".as_ref())));
        assert_eq!((own.target.as_str(), &own.audio, &own.splits), ("species", &data.audio, &data.splits));
        assert!(own.held_out_classes.is_empty());
        let split = SplitConfig { test_fraction: 0.5, ..SplitConfig::default() };
        let bank = BankConfig { target: Some("site".into()), split: Some(split.clone()), ..bank };
        let own = bank.data("birds2", &data);
        assert_eq!((own.target.as_str(), own.splits.get(&own.split)), ("site", Some(&split)));
    }
}
