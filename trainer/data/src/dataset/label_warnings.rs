//! Labels of recordings that look like something else: parts, missing values, names of files.

use std::collections::BTreeMap;

use dtrain_configs::schema::{DataConfig, LabelSource};
use unicode_normalization::UnicodeNormalization;

use super::{Dataset, Recordings, Sample};
use crate::labels::{LabelColumn, settings_for_a_table};
use crate::scan::Family;
use crate::texts::{NUM_LISTED, setting, shortened};

/// Words that stand for a missing value elsewhere, in small letters.
const MISSING: [&str; 12] =
    ["na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "-", "--", "?", "missing"];
/// Names of parts, in small letters.
const PARTS: [&str; 11] = [
    "train",
    "training",
    "test",
    "testing",
    "val",
    "valid",
    "validation",
    "dev",
    "eval",
    "evaluation",
    "unlabeled",
];
/// Files that Google's Speech Commands brings for mixing.
const NOISE_FOLDER: &str = "_background_noise_";

/// All warnings about the labels of an opened data set of recordings.
pub(super) fn label_warnings(
    dataset: &Dataset,
    Recordings(samples): &Recordings,
    config: &DataConfig,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(target) = dataset.label(&config.target) {
        warnings.extend(
            parts_as_classes(dataset, samples, target, config)
                .or_else(|| one_class(dataset, samples, target, config)),
        );
        warnings.extend(hardly_a_sample(target));
        warnings.extend(unlabelled(target));
        warnings.extend(noise_as_class(target, config));
    }
    for label in &dataset.labels {
        warnings.extend(missing_values(label, config));
        warnings.extend(same_words(label));
    }
    warnings
}

fn is_part(class: &str) -> bool {
    let class = class.to_lowercase();
    let number = class.strip_prefix("fold").map(|number| number.trim_start_matches(['_', '-', ' ']));
    PARTS.contains(&class.as_str()) || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn parts_as_classes(
    dataset: &Dataset,
    samples: &[Sample],
    target: &LabelColumn,
    config: &DataConfig,
) -> Option<String> {
    if target.classes.len() < 2 || !target.classes.iter().all(|class| is_part(class)) {
        return None;
    }
    let (name, split) = (&target.name, &config.split);
    let classes = shortened(target.classes.iter().take(NUM_LISTED), target.classes.len());
    let is_deep = |relative: &str| relative.matches('/').count() > config.labels.folders.len();
    let below =
        config.labels.source == LabelSource::Folder && samples.iter().any(|sample| is_deep(&sample.relative));
    let remedy = if below {
        let folders: Vec<&str> = config
            .labels
            .folders
            .iter()
            .flat_map(
                |folder| if folder == name { vec!["part", name.as_str()] } else { vec![folder.as_str()] },
            )
            .collect();
        let is_test = |class: &&String| !class.to_lowercase().starts_with("train");
        let test = target.classes.iter().find(|class| class.to_lowercase().starts_with("test"));
        let test = test.or_else(|| target.classes.iter().rfind(is_test));
        let (folders, test) = (folders.join(", "), test.map_or("test", String::as_str));
        format!(
            "the class is one folder further down: {} `data.splits.{split}.by=part` {}",
            setting("data.labels.folders", &format!("[{folders}]")),
            setting(&format!("data.splits.{split}.test"), &format!("[{test}]"))
        )
    } else {
        settings_for_a_table(&dataset.root, Family::Recordings).unwrap_or_else(|| {
            "take the class from a table (`data.labels.source=csv`) or from the names of the files \
             (`data.labels.source=filename`)"
                .into()
        })
    };
    Some(format!("the classes of `{name}` are {classes}, which look like parts of a data set; {remedy}"))
}

fn one_class(
    dataset: &Dataset,
    samples: &[Sample],
    target: &LabelColumn,
    config: &DataConfig,
) -> Option<String> {
    let [class] = target.classes.as_slice() else { return None };
    let name = &target.name;
    let is_below = |relative: &str| {
        let inside = relative.strip_prefix(class.as_str()).and_then(|rest| rest.strip_prefix('/'));
        inside.is_some_and(|inside| inside.contains('/'))
    };
    let one_off = config.labels.source == LabelSource::Folder
        && config.labels.folders.first() == Some(name)
        && samples.iter().all(|sample| is_below(&sample.relative));
    let remedy = if one_off {
        let root = dataset.root.join(class);
        format!("its folders may be the classes: {}", setting("data.root", &root.to_string_lossy()))
    } else if let Some(settings) = settings_for_a_table(&dataset.root, Family::Recordings) {
        settings
    } else {
        "add recordings of other classes, or choose another label with `data.target=`".into()
    };
    Some(format!("the target `{name}` has one class, `{class}`, so there is nothing to tell apart; {remedy}"))
}

fn hardly_a_sample(target: &LabelColumn) -> Option<String> {
    let num_samples = target.of_sample.iter().flatten().count();
    target.is_like_an_id().then(|| {
        format!(
            "the target `{}` has {} classes for {num_samples} recordings, as a name of recordings has; choose another \
             label with `data.target=` if it is one",
            target.name,
            target.classes.len()
        )
    })
}

fn unlabelled(target: &LabelColumn) -> Option<String> {
    let num_samples = target.of_sample.len();
    let num_without = target.of_sample.iter().filter(|class| class.is_none()).count();
    (num_without > 0).then(|| {
        format!(
            "{num_without} of {num_samples} recordings have no `{}` and are left out of whatever learns or probes it; \
             fill it in, or remove them",
            target.name
        )
    })
}

fn noise_as_class(target: &LabelColumn, config: &DataConfig) -> Option<String> {
    target.classes.iter().any(|class| class == NOISE_FOLDER).then(|| {
        format!(
            "`{NOISE_FOLDER}` is a class of `{}`; in Speech Commands it holds noise for mixing: {}",
            target.name,
            match config.labels.source {
                LabelSource::Csv => "remove its rows".to_owned(),
                LabelSource::Folder | LabelSource::Filename => {
                    setting("data.labels.leave_out", &format!("[{NOISE_FOLDER}]"))
                }
            }
        )
    })
}

fn missing_values(label: &LabelColumn, config: &DataConfig) -> Option<String> {
    let is_missing = |class: &&String| MISSING.contains(&class.to_lowercase().as_str());
    let words: Vec<&String> = label.classes.iter().filter(is_missing).collect();
    let all: Vec<u32> = (0u32..).take(label.of_sample.len()).collect();
    let counts = label.counts(&all);
    let num_samples: usize =
        label.classes.iter().zip(counts).filter(|(class, _)| is_missing(class)).map(|(_, count)| count).sum();
    let remedy = match config.labels.source {
        LabelSource::Csv => "leave the cells empty if no value is meant",
        LabelSource::Folder => "move its recordings away if no value is meant",
        LabelSource::Filename => "let the pattern match nothing there if no value is meant",
    };
    (!words.is_empty()).then(|| {
        format!(
            "{} is taken as a class of `{}` ({num_samples} recordings); {remedy}",
            shortened(words.iter().take(NUM_LISTED), words.len()),
            label.name
        )
    })
}

/// Classes that differ in capital letters or in the Unicode form of accents only.
fn same_words(label: &LabelColumn) -> Option<String> {
    let mut by_form: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for class in &label.classes {
        by_form.entry(class.nfc().collect::<String>().to_lowercase()).or_default().push(class);
    }
    let same: Vec<&Vec<&String>> = by_form.values().filter(|classes| classes.len() > 1).collect();
    let classes = same.first()?;
    let more =
        if same.len() > 1 { format!(", and {} more such words", same.len() - 1) } else { String::new() };
    Some(format!(
        "classes of `{}` differ in capital letters or in the Unicode form of accents only: {}{more}; write one word the \
         same way everywhere",
        label.name,
        shortened(classes.iter().take(NUM_LISTED), classes.len())
    ))
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{LabelsConfig, SplitConfig};

    use super::super::LabelAccess;
    use super::super::recordings::tests::{birds, split_by};
    use super::*;

    /// Warnings about the recordings of [`birds`] with `label` of each of the 24, in the order of their names.
    fn warnings(label: impl Fn(usize) -> &'static str) -> String {
        let (dir, config) = birds();
        let mut table = "file,kind\n".to_owned();
        for (number, (species, clip)) in ["koel", "rook", "wren"]
            .iter()
            .flat_map(|species| (0..8).map(move |clip| (species, clip)))
            .enumerate()
        {
            let name = format!("{species}/{species}{}_{}.wav", clip / 2, clip % 2);
            table.push_str(&format!("{name},{}\n", label(number)));
        }
        fs_err::write(dir.path().join("labels.csv"), table).unwrap();
        let labels = LabelsConfig { source: LabelSource::Csv, ..LabelsConfig::default() };
        let splits = split_by(SplitConfig::default());
        let config = DataConfig { target: "kind".into(), recording: None, labels, splits, ..config };
        let dataset = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap();
        dataset.warnings.join("\n")
    }

    #[test]
    fn what_looks_like_something_else_than_classes_is_told() {
        let two = |number: usize| if number.is_multiple_of(2) { "a" } else { "b" };
        assert_eq!(warnings(two), "");
        let one = warnings(|_| "a");
        assert!(one.starts_with("the target `kind` has one class, `a`"), "{one}");
        let parts = warnings(|number| if number < 20 { "Train" } else { "test" });
        assert!(
            parts.starts_with("the classes of `kind` are `Train`, `test`, which look like parts"),
            "{parts}"
        );
        let folds = warnings(|number| ["fold1", "fold2", "fold_3"][number % 3]);
        assert!(folds.contains("look like parts"), "{folds}");
        let some = warnings(|number| if number < 3 { "" } else { two(number) });
        assert!(some.starts_with("3 of 24 recordings have no `kind`"), "{some}");
    }

    #[test]
    fn words_for_missing_values_and_of_several_forms_are_told() {
        let missing = warnings(|number| match number {
            0 | 1 => "NA",
            2 => "nan",
            other if other.is_multiple_of(2) => "a",
            _ => "b",
        });
        let expected = "`NA`, `nan` is taken as a class of `kind` (3 recordings); leave the cells empty";
        assert!(missing.starts_with(expected), "{missing}");
        let forms = warnings(|number| ["Rook", "rook", "caf\u{e9}", "cafe\u{301}", "wren"][number % 5]);
        assert!(forms.contains("Unicode form of accents only: "), "{forms}");
        assert!(forms.contains(", and 1 more such words"), "{forms}");
    }

    #[test]
    fn a_name_of_recordings_is_no_class() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
        let ids = warnings(|number| names[number % names.len()]);
        assert!(ids.starts_with("the target `kind` has 14 classes for 24 recordings"), "{ids}");
        let noise = warnings(|number| if number < 4 { NOISE_FOLDER } else { ["yes", "no"][number % 2] });
        assert!(noise.starts_with("`_background_noise_` is a class of `kind`"), "{noise}");
    }
}
