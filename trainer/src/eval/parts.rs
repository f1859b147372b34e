//! Which parts of the data are evaluated.

use dtrain_configs::choice_hint;
use dtrain_data::Dataset;

use crate::error::TrainError;

/// The part of the classes that are held out of training. The few-shot probe asks about it; other probes do so where somebody
/// names it.
pub const HELD_OUT: &str = "held_out";

/// A part by its name and its sample ids.
pub type Part<'a> = (&'a str, &'a [u32]);

/// The part that evaluations during training look at, and that `val/...` is measured on: val, or test where there is no val.
pub fn validation_part(dataset: &Dataset) -> Option<Part<'_>> {
    [("val", dataset.val.as_slice()), ("test", dataset.test.as_slice())]
        .into_iter()
        .find(|(_, ids)| !ids.is_empty())
}

/// Whether the test part is what `val/...` is measured on, for want of a validation part.
pub fn test_stands_in(dataset: &Dataset) -> bool {
    dataset.val.is_empty() && !dataset.test.is_empty()
}

/// Parts that the end of a run and `dtrain eval` report on: those that are asked for, or where none is, val, test and the data's
/// own, as far as they have samples.
pub fn final_parts<'a>(dataset: &'a Dataset, asked: &[String]) -> Vec<Part<'a>> {
    let has_samples = |(_, ids): &Part<'_>| !ids.is_empty();
    if asked.is_empty() {
        let is_reported = |(name, _): &Part<'_>| !["train", HELD_OUT].contains(name);
        return dataset.parts().filter(is_reported).filter(has_samples).collect();
    }
    let mut parts: Vec<Part<'a>> = Vec::new();
    for wanted in asked {
        let known = dataset.parts().find(|(name, _)| name == wanted).filter(has_samples);
        parts.extend(known.filter(|(name, _)| parts.iter().all(|(before, _)| before != name)));
    }
    parts
}

/// The parts of an evaluation during training: the validation part, then those that are asked for besides.
pub fn parts_during<'a>(dataset: &'a Dataset, asked: &[String]) -> Vec<Part<'a>> {
    let first = validation_part(dataset);
    let Some((first_name, _)) = first else { return Vec::new() };
    let is_further = |(name, _): &Part<'_>| *name != first_name;
    let further = if asked.is_empty() { Vec::new() } else { final_parts(dataset, asked) };
    first.into_iter().chain(further.into_iter().filter(is_further)).collect()
}

/// The parts of the end of a run: those to report on, behind the one that monitors go by.
pub fn parts_at_end<'a>(dataset: &'a Dataset, asked: &[String]) -> Vec<Part<'a>> {
    let first = validation_part(dataset);
    let others = final_parts(dataset, asked);
    let others = others.into_iter().filter(|(name, _)| first.is_none_or(|(first, _)| first != *name));
    first.into_iter().chain(others).collect()
}

/// The samples of the part that somebody asks for by `key`, an option or a setting; `split` is where the parts come from.
///
/// # Errors
/// A part that there is not, or that has no samples, with those that have.
pub fn part_named<'a>(
    dataset: &'a Dataset,
    name: &str,
    (key, split): (&str, &str),
) -> Result<&'a [u32], TrainError> {
    let filled: Vec<&str> =
        dataset.parts().filter(|(_, ids)| !ids.is_empty()).map(|(name, _)| name).collect();
    match dataset.part(name) {
        Some([]) => Err(TrainError::config(
            format!("the {name} part of `data.split` = {split} is empty"),
            format!("choose another {key}; those with samples are {}", filled.join(", ")),
        )),
        Some(ids) => Ok(ids),
        None => Err(TrainError::config(
            format!("{key} is `{name}`, which is not a part of `{}`", dataset.name),
            choice_hint(name, filled.iter().copied()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::DataConfig;
    use dtrain_data::synth;
    use dtrain_data::{LabelAccess, OwnPart};

    use super::*;

    /// Generated digits whose parts are replaced.
    fn dataset(dir: &std::path::Path) -> Dataset {
        let sounds = dir.join("sounds");
        synth::ensure(synth::RecordingSetKind::SpokenDigits, 0, 0.02, &sounds).unwrap();
        let mut dataset = Dataset::open(&DataConfig::default(), &sounds, LabelAccess::All).unwrap();
        (dataset.train, dataset.val, dataset.test) = (vec![0, 1], vec![2], vec![3, 4]);
        let own = |name: &str, ids: &[u32]| OwnPart { name: name.into(), ids: ids.to_vec() };
        dataset.own_parts = vec![own("test_noisy", &[5, 6]), own("test_clean", &[])];
        dataset
    }

    fn names<'a>(parts: &[Part<'a>]) -> Vec<&'a str> {
        parts.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn own_parts_are_evaluated_and_can_be_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let mut dataset = dataset(dir.path());
        let asked = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&final_parts(&dataset, &[])), ["val", "test", "test_noisy"]);
        assert_eq!(names(&final_parts(&dataset, &asked(&["test_noisy", "test_noisy"]))), ["test_noisy"]);
        assert_eq!(names(&parts_at_end(&dataset, &asked(&["test_noisy"]))), ["val", "test_noisy"]);
        assert_eq!(names(&parts_at_end(&dataset, &[])), ["val", "test", "test_noisy"]);
        assert!(!test_stands_in(&dataset));
        dataset.val.clear();
        assert_eq!(names(&parts_at_end(&dataset, &asked(&["test_noisy"]))), ["test", "test_noisy"]);
        assert!(test_stands_in(&dataset));
        dataset.test.clear();
        assert_eq!(validation_part(&dataset), None);
        assert!(!test_stands_in(&dataset));
    }

    #[test]
    fn an_unknown_or_empty_part_is_answered_with_those_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path());
        let refused = |name: &str| part_named(&dataset, name, ("`--part`", "take")).unwrap_err().to_string();
        assert_eq!(part_named(&dataset, "test_noisy", ("`--part`", "take")).unwrap(), [5, 6]);
        let unknown = refused("test_nosy");
        assert!(unknown.contains("`--part` is `test_nosy`, which is not a part of"), "{unknown}");
        assert!(refused("test_clean").contains("the test_clean part of `data.split` = take is empty"));
    }
}
