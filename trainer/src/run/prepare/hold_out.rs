//! Classes that neither training nor validation nor test sees, for the few-shot probe.

use std::collections::BTreeSet;

use dtrain_configs::{RunConfig, choice_hint};
use dtrain_data::{Dataset, OwnPart};

use crate::error::TrainError;
use crate::eval::HELD_OUT;

/// Moves the samples of `data.held_out_classes` into a part of their own.
///
/// # Errors
/// A class that there is not, classes that are too few or all there are, or of too few samples for an episode.
pub(super) fn hold_out_classes(dataset: &mut Dataset, config: &RunConfig) -> Result<(), TrainError> {
    let (names, target) = (&config.data.held_out_classes, &config.data.target);
    if names.is_empty() {
        return Ok(());
    }
    let Some(label) = dataset.label(target) else {
        return Err(TrainError::config(
            format!("`data.held_out_classes` names classes of `{target}`, which is not a label of the data"),
            "choose the label by `data.target`",
        ));
    };
    let mut classes = BTreeSet::new();
    for name in names {
        let Some(class) = label.classes.iter().position(|class| class == name) else {
            return Err(TrainError::config(
                format!("`data.held_out_classes` names `{name}`, which is not a class of `{target}`"),
                choice_hint(name, label.classes.iter().map(String::as_str)),
            ));
        };
        classes.insert(class as u32);
    }
    if classes.len() < 2 {
        return Err(TrainError::config(
            format!(
                "`data.held_out_classes` names one class of `{target}`, and telling one apart is no question"
            ),
            "hold out two classes or more",
        ));
    }
    let class_of = |id: &u32| label.of_sample.get(*id as usize).copied().flatten();
    let is_held = |id: &u32| class_of(id).is_some_and(|class| classes.contains(&class));
    let ids: Vec<u32> = dataset
        .parts()
        .flat_map(|(_, ids)| ids.iter().copied())
        .filter(is_held)
        .collect::<BTreeSet<u32>>()
        .into_iter()
        .collect();
    if config.eval.embeddings {
        let counts = label.counts(&ids);
        let most = config.eval.few_shot.shots.values().iter().copied().max().unwrap_or(0);
        for &class in &classes {
            let samples = counts.get(class as usize).copied().unwrap_or(0);
            if samples <= most {
                let name = label.classes.get(class as usize).map_or("", String::as_str);
                return Err(TrainError::config(
                    format!(
                        "`eval.few_shot.shots` is {most}, but the held-out class `{name}` has {samples} samples, of which one at \
                         least is asked about"
                    ),
                    format!(
                        "`eval.few_shot.shots={}` at most, or hold out other classes",
                        samples.saturating_sub(1)
                    ),
                ));
            }
        }
    }
    let keep = |part: &[u32]| part.iter().copied().filter(|id| !is_held(id)).collect::<Vec<u32>>();
    let (train, val, test) = (keep(&dataset.train), keep(&dataset.val), keep(&dataset.test));
    if train.is_empty() {
        return Err(TrainError::config(
            format!("`data.held_out_classes` leaves no class of `{target}` to train on"),
            "hold out fewer classes",
        ));
    }
    let own: Vec<Vec<u32>> = dataset.own_parts.iter().map(|part| keep(&part.ids)).collect();
    (dataset.train, dataset.val, dataset.test) = (train, val, test);
    dataset.own_parts.iter_mut().zip(own).for_each(|(part, ids)| part.ids = ids);
    dataset.own_parts.push(OwnPart { name: HELD_OUT.into(), ids });
    Ok(())
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::DataConfig;
    use dtrain_data::{LabelAccess, synth};

    use super::*;

    fn digits(dir: &std::path::Path) -> Dataset {
        synth::ensure(synth::RecordingSetKind::SpokenDigits, 0, 0.1, dir).unwrap();
        Dataset::open(&DataConfig { target: "digit".into(), ..fsdd() }, dir, LabelAccess::All).unwrap()
    }

    fn fsdd() -> DataConfig {
        let words = ["data=fsdd".to_owned()];
        dtrain_configs::compose(&words, &Default::default()).unwrap().config.data
    }

    fn config(classes: &[&str], shots: usize) -> RunConfig {
        let mut config = RunConfig { data: fsdd(), ..RunConfig::default() };
        config.data.target = "digit".into();
        config.data.held_out_classes = classes.iter().map(|&class| class.to_owned()).collect();
        config.eval.few_shot.shots = shots.into();
        config
    }

    #[test]
    fn held_out_classes_are_in_their_part_and_in_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut dataset = digits(dir.path());
        let before: usize = dataset.parts().map(|(_, ids)| ids.len()).sum();
        let unchanged = dataset.train.clone();
        hold_out_classes(&mut dataset, &config(&[], 1)).unwrap();
        assert_eq!((&dataset.train, dataset.own_parts.len()), (&unchanged, 0));
        hold_out_classes(&mut dataset, &config(&["3", "7"], 1)).unwrap();
        let label = dataset.label("digit").unwrap();
        let names = |ids: &[u32]| -> BTreeSet<String> {
            let class = |id: &u32| label.classes[label.of_sample[*id as usize].unwrap() as usize].clone();
            ids.iter().map(class).collect()
        };
        assert_eq!(names(dataset.part(HELD_OUT).unwrap()), ["3", "7"].map(str::to_owned).into());
        assert!(!names(&dataset.train).contains("3") && !names(&dataset.test).contains("7"));
        assert_eq!(dataset.parts().map(|(_, ids)| ids.len()).sum::<usize>(), before, "none is lost");
    }

    #[test]
    fn what_cannot_be_held_out_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = digits(dir.path());
        let all = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        for (classes, shots, message) in [
            (
                &["3", "seven"][..],
                1,
                "`data.held_out_classes` names `seven`, which is not a class of `digit`",
            ),
            (&["3"], 1, "names one class of `digit`"),
            (&["3", "7"], 10_000, "`eval.few_shot.shots` is 10000, but the held-out class `3` has "),
            (&all, 1, "leaves no class of `digit` to train on"),
        ] {
            let error = hold_out_classes(&mut dataset.clone(), &config(classes, shots)).unwrap_err();
            assert!(error.to_string().contains(message), "{error} lacks {message}");
        }
    }
}
