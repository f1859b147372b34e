//! Trials that are added to a plan: those that it does not have yet.

use std::collections::HashSet;

use super::make::check_names;
use super::plan::{Plan, Trial};
use crate::exit::Exit;
use crate::failure::Failure;

/// `plan` with the trials of `more` that are new, behind its own, and how many these are.
///
/// # Errors
/// The two compare their trials differently, or have other stages of the same name.
pub(crate) fn extended(plan: &Plan, more: &Plan) -> Result<(Plan, usize), Failure> {
    let refuse = |message: String| {
        Err(Failure::agreed(
            Exit::Usage,
            message,
            Some("begin a sweep of its own in another folder with `--dir`".into()),
        ))
    };
    let (old, new) = (&plan.header, &more.header);
    if (&old.optimize, old.direction) != (&new.optimize, new.direction) {
        let judged =
            |header: &super::plan::Header| format!("`{}` ({})", header.optimize, header.direction.as_str());
        return refuse(format!(
            "the sweep compares its trials by {}, and these by {}",
            judged(old),
            judged(new)
        ));
    }
    let mut whole = plan.clone();
    let mut known: HashSet<(usize, Vec<&str>)> =
        plan.trials.iter().map(|trial| (trial.stage, sorted(trial))).collect();
    let mut added = 0;
    for trial in &more.trials {
        let Some(stage) = more.stage_of(trial) else { continue };
        let index = match whole.stage_index(&stage.name) {
            Some(index) if whole.header.stages.get(index) != Some(stage) => {
                return refuse(format!(
                    "stage `{}` takes other settings, or stops its trials otherwise",
                    stage.name
                ));
            }
            Some(index) => index,
            None => {
                whole.header.stages.push(stage.clone());
                whole.header.stages.len() - 1
            }
        };
        if !known.insert((index, sorted(trial))) {
            continue;
        }
        let number = whole.trials_of(index).count() + 1;
        let id = format!("{}-{number:04}", stage.name);
        let numbered = trial.id.strip_prefix(&format!("{}-", stage.name)).unwrap_or_default();
        // One that is called by its number has another one here.
        let name = match trial.name.strip_suffix(numbered) {
            Some(before) if before.is_empty() || trial.name == trial.id => format!("{before}{number:04}"),
            _ => trial.name.clone(),
        };
        whole.trials.push(Trial { id, stage: index, name, ..trial.clone() });
        added += 1;
    }
    check_names(&whole.trials)?;
    Ok((whole, added))
}

fn sorted(trial: &Trial) -> Vec<&str> {
    let mut words: Vec<&str> = trial.settings.iter().map(String::as_str).collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::super::plan::examples;
    use super::*;

    #[test]
    fn only_what_is_new_is_added() {
        let plan = examples::plan(&["1", "2"]);
        let mut more = examples::plan(&["2", "3", "4"]);
        for trial in &mut more.trials {
            trial.id = trial.id.replace("t-", "trials-");
        }
        let (whole, added) = extended(&plan, &more).unwrap();
        assert_eq!(added, 2);
        assert!(plan.grew_into(&whole));
        let names: Vec<_> =
            whole.trials.iter().map(|trial| (trial.name.as_str(), trial.values[0].1.as_str())).collect();
        assert_eq!(names, [("0001", "1"), ("0002", "2"), ("0003", "3"), ("0004", "4")]);
        assert_eq!(extended(&whole, &more).unwrap().1, 0);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let plan = examples::plan(&["1"]);
        let mut more = examples::plan(&["2"]);
        more.header.optimize = "val/loss".into();
        assert!(extended(&plan, &more).unwrap_err().message.contains("and these by `val/loss`"));
        let mut more = examples::plan(&["2"]);
        more.header.stages[0].reduction = Some(4);
        assert!(extended(&plan, &more).unwrap_err().message.contains("stops its trials otherwise"));
    }
}
