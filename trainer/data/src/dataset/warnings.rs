//! What is allowed but worth knowing before training.

use std::collections::BTreeMap;

use dtrain_configs::schema::DataConfig;

use super::{Dataset, Recordings, SkippedFile};
use crate::scan::Family;
use crate::texts::{NUM_LISTED, listed, shortened};

/// All warnings about an opened data set.
pub(super) fn find_warnings(
    dataset: &Dataset,
    Recordings(samples): &Recordings,
    config: &DataConfig,
) -> Vec<String> {
    let mut warnings = of_parts(dataset, config, Family::Recordings);
    let rate = config.audio.sample_rate;
    let num_low = samples.iter().filter(|sample| sample.sample_rate < rate).count();
    if 2 * num_low > samples.len() {
        let highest = samples.iter().map(|sample| sample.sample_rate).max().unwrap_or(rate).min(rate);
        warnings.push(format!(
            "{num_low} of {} recordings have a lower rate than `data.audio.sample_rate` = {rate} and leave the \
             upper bands empty; consider `data.audio.sample_rate={highest}`",
            samples.len()
        ));
    }
    warnings
}

/// Warnings about files and parts, whatever the files hold.
pub(super) fn of_parts(dataset: &Dataset, config: &DataConfig, family: Family) -> Vec<String> {
    let mut warnings = Vec::new();
    if !dataset.skipped.is_empty() {
        let advice = frequent_advice(&dataset.skipped).map_or(String::new(), |advice| format!("{advice}; "));
        warnings.push(format!(
            "unreadable {} are skipped ({}): {}; {advice}`data.max_bad_files=0` refuses to start instead",
            family.noun(),
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
    warnings.extend(share_warnings(dataset, config));
    let torn = num_torn_recordings(dataset);
    if torn > 0 {
        warnings.push(format!(
            "recordings have clips both in train and in val or test ({torn} of them), so that recognizing a recording \
             looks like recognizing a class; split by recording (`data.splits.{}.by={}`)",
            config.split,
            config.recording.as_deref().unwrap_or("null")
        ));
    }
    warnings
}

/// Groups stay whole, and a part that wants a share gets one of each class: with few groups that is far from what was
/// asked for.
fn share_warnings(dataset: &Dataset, config: &DataConfig) -> Vec<String> {
    let Some(split) = config.splits.get(&config.split) else { return Vec::new() };
    let all = dataset.train.len() + dataset.val.len() + dataset.test.len();
    let parts = [
        ("val", &dataset.val, split.val_fraction, &split.val),
        ("test", &dataset.test, split.test_fraction, &split.test),
    ];
    let mut warnings = Vec::new();
    for (part, ids, asked, list) in parts {
        let got = ids.len() as f64 / all.max(1) as f64;
        let is_far = (got - asked).abs() > 0.05 && (got > 2.0 * asked || 2.0 * got < asked);
        if !list.is_empty() || asked == 0.0 || !is_far {
            continue;
        }
        let by = split.by.as_ref().or(config.recording.as_ref());
        let why = match by.and_then(|by| dataset.label(by)) {
            Some(by) => {
                let held: usize = by.counts(ids).iter().filter(|count| **count > 0).count();
                format!("{held} of {} values of `{}`, which stay whole", by.classes.len(), by.name)
            }
            None => "a class gives at least one recording and keeps one".to_owned(),
        };
        warnings.push(format!(
            "`data.splits.{0}.{part}_fraction` = {asked} holds {1:.1} % of the recordings out for {part} ({why}); list what \
             to hold out in `data.splits.{0}.{part}`, or set the fraction to what it can be",
            config.split,
            100.0 * got,
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

/// What to do about most of the files; the first of several that are as frequent.
pub(super) fn frequent_advice(skipped: &[SkippedFile]) -> Option<String> {
    let advice = || skipped.iter().filter_map(|file| file.advice.as_ref());
    let count = |wanted: &String| advice().filter(|advice| *advice == wanted).count();
    // The later one of equals is taken, so from the end.
    let distinct: BTreeMap<usize, &String> = advice().map(|advice| (count(advice), advice)).rev().collect();
    distinct.into_values().next_back().cloned()
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
        // Two clips of each recording: half of all, where a hundredth was asked for.
        let by_clip = SplitConfig {
            by: Some("clip".into()),
            val_fraction: 0.01,
            test_fraction: 0.0,
            ..SplitConfig::default()
        };
        let text = warnings(&DataConfig { splits: split_by(by_clip.clone()), ..config.clone() });
        assert!(
            text.contains("`data.splits.default.val_fraction` = 0.01 holds 50.0 % of the recordings"),
            "{text}"
        );
        assert!(text.contains("values of `clip`, which stay whole"), "{text}");
        let about_what_was_asked = SplitConfig { val_fraction: 0.34, ..by_clip };
        let text = warnings(&DataConfig { splits: split_by(about_what_was_asked), ..config.clone() });
        assert!(!text.contains("val_fraction"), "{text}");
        let mut high = config;
        high.audio.sample_rate = 32_000;
        assert!(warnings(&high).contains("consider `data.audio.sample_rate=16000`"));
    }
}
