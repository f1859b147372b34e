//! What is allowed but worth knowing before training.

use std::collections::BTreeMap;

use dtrain_configs::schema::DataConfig;

use super::super::error::{NUM_LISTED, listed, shortened};
use super::{Dataset, SkippedFile};

/// All warnings about an opened data set.
pub(super) fn find_warnings(dataset: &Dataset, config: &DataConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if !dataset.skipped.is_empty() {
        warnings.push(format!(
            "unreadable recordings are skipped ({}): {}; `data.max_bad_files=0` refuses to start instead",
            dataset.skipped.len(),
            listed(dataset.skipped.iter().take(NUM_LISTED).map(described), dataset.skipped.len())
        ));
    }
    if let Some(target) = dataset.label(&config.target) {
        let in_train = target.counts(&dataset.train);
        for (part, ids) in [("val", &dataset.val), ("test", &dataset.test)] {
            let unseen: Vec<&str> = target
                .counts(ids)
                .iter()
                .zip(&in_train)
                .zip(&target.classes)
                .filter(|((here, there), _)| **here > 0 && **there == 0)
                .map(|(_, class)| class.as_str())
                .collect();
            if !unseen.is_empty() {
                warnings.push(format!(
                    "classes of `{}` occur in {part} but not in train, so no model can know them: {}; \
                     change `data.splits.{}` or leave their recordings out",
                    target.name,
                    shortened(unseen.iter().take(NUM_LISTED), unseen.len()),
                    config.split
                ));
            }
        }
    }
    let torn = num_torn_recordings(dataset);
    if torn > 0 {
        warnings.push(format!(
            "recordings have clips both in train and in val or test ({torn} of them), so that recognizing a recording \
             looks like recognizing a class; split by recording (`data.splits.{}.by={}`)",
            config.split,
            config.recording.as_deref().unwrap_or("null")
        ));
    }
    let rate = config.audio.sample_rate;
    let num_low = dataset.samples().iter().filter(|sample| sample.sample_rate < rate).count();
    if 2 * num_low > dataset.samples().len() {
        let highest =
            dataset.samples().iter().map(|sample| sample.sample_rate).max().unwrap_or(rate).min(rate);
        warnings.push(format!(
            "{num_low} of {} recordings have a lower rate than `data.audio.sample_rate` = {rate} and leave the \
             upper bands empty; consider `data.audio.sample_rate={highest}`",
            dataset.samples().len()
        ));
    }
    warnings
}

/// Recordings that are both learned from and chosen by or reported on.
fn num_torn_recordings(dataset: &Dataset) -> usize {
    let parts_of = |ids: &[u32], bit: u8, seen: &mut BTreeMap<u32, u8>| {
        for recording in ids.iter().filter_map(|&id| dataset.recordings.get(id as usize)) {
            *seen.entry(*recording).or_default() |= bit;
        }
    };
    let mut seen = BTreeMap::new();
    parts_of(&dataset.train, 1, &mut seen);
    parts_of(&dataset.val, 2, &mut seen);
    parts_of(&dataset.test, 2, &mut seen);
    seen.values().filter(|&&bits| bits == 3).count()
}

/// Path and reason.
pub(super) fn described(file: &SkippedFile) -> String {
    format!("`{}` ({})", file.path, file.reason)
}

#[cfg(test)]
mod tests {
    use super::super::LabelAccess;
    use super::super::recordings::tests::{birds, split_by};
    use super::*;
    use dtrain_configs::schema::SplitConfig;

    #[test]
    fn classes_outside_train_torn_recordings_and_low_rates_are_warned_of() {
        let (dir, config) = birds();
        let splits = |by: &str, test: &str| {
            split_by(SplitConfig { by: Some(by.into()), test: vec![test.into()], ..SplitConfig::default() })
        };
        let warnings = |config: &DataConfig| {
            Dataset::open(config, dir.path(), LabelAccess::All).unwrap().warnings.join("\n")
        };
        let text = warnings(&DataConfig { splits: splits("species", "rook"), ..config.clone() });
        assert!(text.starts_with("classes of `species` occur in test but not in train"), "{text}");
        let text = warnings(&DataConfig { splits: splits("clip", "0"), ..config.clone() });
        assert!(
            text.starts_with("recordings have clips both in train and in val or test (12 of them)"),
            "{text}"
        );
        let mut high = config;
        high.audio.sample_rate = 32_000;
        assert!(warnings(&high).contains("consider `data.audio.sample_rate=16000`"));
    }
}
