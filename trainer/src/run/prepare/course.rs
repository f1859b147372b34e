//! What schedule and phases are computed for, and what becomes of it when a run goes on with another length.

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{MadeFor, ScheduleKind, ScheduleLength};

use crate::coordinator::Course;
use crate::error::TrainError;

/// Optimizer steps of the run.
pub(super) fn total_steps(config: &RunConfig, steps_per_epoch: u64) -> u64 {
    steps_of(&length_of(config), steps_per_epoch)
}

fn steps_of(length: &MadeFor, steps_per_epoch: u64) -> u64 {
    let by_epochs = length.max_epochs.map(|epochs| epochs.saturating_mul(steps_per_epoch));
    match (by_epochs, length.max_steps) {
        (Some(a), Some(b)) => a.min(b),
        (Some(n), None) | (None, Some(n)) => n,
        (None, None) => 0,
    }
}

/// The length of a run, from its first step on.
fn length_of(config: &RunConfig) -> MadeFor {
    let trainer = &config.trainer;
    MadeFor { from_step: 0, max_epochs: trainer.max_epochs, max_steps: trainer.max_steps }
}

fn is_same_length(a: &MadeFor, b: &MadeFor) -> bool {
    (a.max_epochs, a.max_steps) == (b.max_epochs, b.max_steps)
}

/// What schedule and phases of a run are computed for.
///
/// # Errors
/// The numbers of steps of the phases do not fit a length.
pub(crate) fn plan(config: &RunConfig, steps_per_epoch: u64) -> Result<Course, TrainError> {
    let made_for = &config.schedule.made_for;
    let (first, later) = match made_for.split_first() {
        Some((first, later)) => (*first, later),
        None => (length_of(config), &[][..]),
    };
    let later: Vec<(u64, u64)> =
        later.iter().map(|length| (length.from_step, steps_of(length, steps_per_epoch))).collect();
    Course::new(&config.phases, steps_of(&first, steps_per_epoch), &later).map_err(|error| {
        let hint = match made_for.is_empty() {
            true => error.hint(),
            false => "`schedule.length=keep` keeps the phases that the run has, and the last one goes on",
        };
        TrainError::config(error, hint)
    })
}

/// Why the steps that were done would have been others in a run of another length; `None`: they would not.
pub(crate) fn bound_to_length(config: &RunConfig) -> Option<&'static str> {
    let phases = &config.phases;
    if config.schedule.kind == ScheduleKind::Cosine {
        Some("its learning rate falls along a cosine that ends with the run")
    } else if config.schedule.kind == ScheduleKind::Linear {
        Some("its learning rate falls along a line that ends with the run")
    } else if config.follows_length().is_some() {
        Some("what its method or its optimizer changes over the run is spread over its length")
    } else if !phases.enabled {
        None
    } else if phases.list.iter().any(|phase| phase.steps.is_none()) {
        Some("its phases share the steps of the run")
    } else {
        Some("the steps of its phases add up to those of the run")
    }
}

/// What the schedule of the run `stored` is made for when it goes on after `step` steps with the length and the word of
/// `now`. A word that has been followed already changes nothing, so that the same command may be given again.
pub(crate) fn made_for(stored: &RunConfig, now: &RunConfig, step: u64) -> Vec<MadeFor> {
    let before = &stored.schedule.made_for;
    let (was, is) = (length_of(stored), length_of(now));
    if bound_to_length(now).is_none() {
        return before.clone();
    }
    match now.schedule.length {
        // Without a step that was done, nothing holds the run to a length.
        None if step == 0 && !is_same_length(&was, &is) => Vec::new(),
        None => before.clone(),
        Some(ScheduleLength::Keep) if before.is_empty() && !is_same_length(&was, &is) => vec![was],
        Some(ScheduleLength::Keep) => before.clone(),
        Some(ScheduleLength::New) => {
            let mut lengths = if before.is_empty() { vec![was] } else { before.clone() };
            if lengths.last().is_some_and(|last| is_same_length(last, &is)) {
                return before.clone();
            }
            // Decisions about steps that are to be done again give way.
            lengths.retain(|length| length.from_step < step);
            if lengths.last().is_none_or(|last| !is_same_length(last, &is)) {
                lengths.push(MadeFor { from_step: if lengths.is_empty() { 0 } else { step }, ..is });
            }
            match &lengths[..] {
                [only] if is_same_length(only, &is) => Vec::new(),
                _ => lengths,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::{ComposeOptions, compose};

    use super::*;

    fn config(words: &[&str]) -> RunConfig {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        compose(&words, &ComposeOptions::default()).unwrap().config
    }

    /// The run that goes on after `step` steps with more words.
    fn went_on(stored: &RunConfig, step: u64, max_epochs: u64, word: Option<ScheduleLength>) -> RunConfig {
        let mut now = stored.clone();
        now.trainer.max_epochs = Some(max_epochs);
        now.schedule.length = word;
        now.schedule.made_for = made_for(stored, &now, step);
        now.schedule.length = None;
        now
    }

    fn lengths(config: &RunConfig) -> Vec<(u64, u64)> {
        let spans = config.schedule.made_for.iter();
        spans.map(|span| (span.from_step, span.max_epochs.unwrap())).collect()
    }

    const KEEP: Option<ScheduleLength> = Some(ScheduleLength::Keep);
    const NEW: Option<ScheduleLength> = Some(ScheduleLength::New);

    #[test]
    fn keep_holds_to_the_length_of_then_and_new_takes_another_from_here() {
        let begun = config(&["trainer.max_epochs=20"]);
        let kept = went_on(&begun, 100, 40, KEEP);
        assert_eq!(lengths(&kept), [(0, 20)]);
        let renewed = went_on(&begun, 100, 40, NEW);
        assert_eq!(lengths(&renewed), [(0, 20), (100, 40)]);
        // Later starts need no word, and a repeated one changes nothing.
        for word in [None, KEEP, NEW] {
            assert_eq!(lengths(&went_on(&renewed, 150, 40, word)), [(0, 20), (100, 40)], "{word:?}");
        }
        assert_eq!(lengths(&went_on(&kept, 150, 40, None)), [(0, 20)]);
        assert_eq!(lengths(&went_on(&kept, 150, 60, KEEP)), [(0, 20)]);
        assert_eq!(lengths(&went_on(&kept, 150, 40, NEW)), [(0, 20), (150, 40)], "a change of mind");
        assert_eq!(lengths(&went_on(&renewed, 300, 60, NEW)), [(0, 20), (100, 40), (300, 60)]);
        assert_eq!(lengths(&went_on(&renewed, 300, 60, KEEP)), [(0, 20), (100, 40)]);
    }

    #[test]
    fn a_decision_about_steps_that_are_done_again_gives_way() {
        let renewed = went_on(&config(&["trainer.max_epochs=20"]), 100, 40, NEW);
        // The checkpoint of step 100 is gone.
        assert_eq!(lengths(&went_on(&renewed, 80, 60, NEW)), [(0, 20), (80, 60)]);
        assert_eq!(lengths(&went_on(&renewed, 80, 20, NEW)), [], "as it was in the beginning");
        assert_eq!(lengths(&went_on(&renewed, 0, 60, None)), [], "it begins again");
        assert_eq!(lengths(&went_on(&renewed, 0, 40, None)), [(0, 20), (100, 40)], "the same once more");
    }

    #[test]
    fn what_does_not_depend_on_the_length_needs_no_word_and_keeps_none() {
        for schedule in ["schedule=constant", "schedule=step"] {
            let begun = config(&[schedule, "trainer.max_epochs=20"]);
            assert_eq!(bound_to_length(&begun), None);
            for word in [None, KEEP, NEW] {
                assert_eq!(lengths(&went_on(&begun, 100, 40, word)), []);
            }
        }
        let staged = config(&["experiment=supervised_finetune_fsdd", "schedule=constant"]);
        assert_eq!(bound_to_length(&staged), Some("its phases share the steps of the run"));
        let mut fixed = staged;
        fixed.phases.list.iter_mut().for_each(|phase| phase.steps = Some(5));
        assert_eq!(bound_to_length(&fixed), Some("the steps of its phases add up to those of the run"));
    }

    #[test]
    fn lengths_become_steps() {
        let length = |max_epochs, max_steps| MadeFor { from_step: 0, max_epochs, max_steps };
        assert_eq!(steps_of(&length(Some(3), None), 7), 21);
        assert_eq!(steps_of(&length(Some(3), Some(5)), 7), 5);
        assert_eq!(steps_of(&length(None, Some(5)), 7), 5);
        let course = plan(&went_on(&config(&["trainer.max_epochs=20"]), 100, 40, NEW), 10).unwrap();
        let totals = [99, 100].map(|step| course.at(step).total_steps);
        assert_eq!(totals, [200, 400]);
    }

    #[test]
    fn phases_of_fixed_steps_are_told_to_be_kept() {
        let mut begun = config(&["experiment=supervised_finetune_fsdd", "trainer.max_epochs=1"]);
        begun.phases.list.iter_mut().for_each(|phase| phase.steps = Some(5));
        assert!(plan(&begun, 10).is_ok());
        let refused = plan(&went_on(&begun, 8, 2, NEW), 10).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the phases' `steps` add up to 10, and 10 steps of the run are in no phase"
        );
        assert!(refused.hint().unwrap().starts_with("`schedule.length=keep`"));
        assert!(plan(&went_on(&begun, 8, 2, KEEP), 10).is_ok());
    }
}
