//! What a stage hands on: the settings of its best trials, by the mean over seeds.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::ending::Ending;
use super::folder::{SweepDir, write_atomic};
use super::plan::{Plan, Trial};

/// The best settings of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chosen {
    /// The metric.
    pub metric: String,
    /// Its mean over the trials; absent where a stage has one combination and does not measure it.
    pub mean: Option<f64>,
    /// The trials that have these settings.
    pub trials: Vec<String>,
    /// The settings, without the seed.
    pub values: Vec<(String, String)>,
}

impl Chosen {
    /// What stage `stage` of the plan hands on. It is chosen once, when all its trials are settled: trials that are added to it
    /// later change no trial of another stage.
    ///
    /// # Errors
    /// No trial has a value, or the file cannot be written.
    pub fn of(plan: &Plan, stage: usize, dir: &SweepDir) -> Result<Self, String> {
        let name = plan.header.stages.get(stage).map(|stage| stage.name.clone()).unwrap_or_default();
        let path = dir.chosen(&name);
        if let Some(chosen) = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            return Ok(chosen);
        }
        let metric = &plan.header.optimize;
        let value = |trial: &Trial| {
            let ending = Ending::read(&dir.run(&trial.name)).filter(Ending::is_over)?;
            ending.metrics.get(metric).copied()
        };
        let trials: Vec<(&Trial, Option<f64>)> =
            plan.trials_of(stage).map(|trial| (trial, value(trial))).collect();
        let Some(chosen) = best(plan, &trials).or_else(|| only(plan, stage, dir)) else {
            return Err(format!("no trial of stage `{name}` has ended with a value of `{metric}`"));
        };
        let json = serde_json::to_vec_pretty(&chosen).map_err(|error| error.to_string())?;
        write_atomic(&path, &json).map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok(chosen)
    }

    /// The value of a setting; `None`: the best trials do not have it.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// What a stage hands on that has nothing to choose from, such as one that trains without labels: the first of its trials that
/// has ended.
fn only(plan: &Plan, stage: usize, dir: &SweepDir) -> Option<Chosen> {
    let mut ended = plan
        .trials_of(stage)
        .filter(|trial| Ending::read(&dir.run(&trial.name)).is_some_and(|ending| ending.is_over()));
    let first = ended.next()?;
    let is_alone = plan.trials_of(stage).all(|trial| trial.group() == first.group());
    is_alone.then(|| Chosen {
        metric: plan.header.optimize.clone(),
        mean: None,
        trials: vec![first.id.clone()],
        values: first.group().into_iter().cloned().collect(),
    })
}

/// The group of trials, alike but for the seed, whose mean is best. A group of which a trial has no value comes behind all
/// that are whole.
fn best(plan: &Plan, trials: &[(&Trial, Option<f64>)]) -> Option<Chosen> {
    type Group<'a> = Vec<(&'a Trial, Option<f64>)>;
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: HashMap<Vec<&(String, String)>, usize> = HashMap::new();
    for (trial, value) in trials {
        let index = *known.entry(trial.group()).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(index) {
            group.push((trial, value.filter(|value| !value.is_nan())));
        }
    }
    let mut best: Option<(bool, f64, &Group<'_>)> = None;
    for group in &groups {
        let values: Vec<f64> = group.iter().filter_map(|(_, value)| *value).collect();
        if values.is_empty() {
            continue;
        }
        let is_whole = values.len() == group.len();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let is_better = best.is_none_or(|(whole, old, _)| match (is_whole, whole) {
            (true, false) => true,
            (false, true) => false,
            _ => plan.header.direction.is_better(mean, old),
        });
        if is_better {
            best = Some((is_whole, mean, group));
        }
    }
    let (_, mean, group) = best?;
    let (first, _) = group.first()?;
    Some(Chosen {
        metric: plan.header.optimize.clone(),
        mean: Some(mean),
        trials: group.iter().map(|(trial, _)| trial.id.clone()).collect(),
        values: first.group().into_iter().cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::plan::examples;
    use super::*;

    #[test]
    fn the_best_mean_over_seeds_is_taken_and_gaps_come_last() {
        let mut plan = examples::plan(&["1", "2", "1", "2", "3"]);
        for (trial, seed) in plan.trials.iter_mut().zip(["1", "1", "2", "2", "1"]) {
            trial.values.push(("seed".into(), seed.into()));
        }
        let choose = |values: [Option<f64>; 5]| {
            let trials: Vec<_> = plan.trials.iter().zip(values).collect();
            best(&plan, &trials)
                .map(|chosen| (chosen.values[0].1.clone(), chosen.mean.unwrap(), chosen.trials.len()))
        };
        let some = |values: [f64; 5]| choose(values.map(Some));
        assert_eq!(some([0.5, 0.4, 0.5, 0.9, 0.2]), Some(("2".into(), 0.65, 2)));
        assert_eq!(some([0.5, 0.4, 0.5, f64::NAN, 0.2]), Some(("1".into(), 0.5, 2)));
        assert_eq!(choose([Some(0.1), Some(0.9), Some(0.1), None, None]), Some(("1".into(), 0.1, 2)));
        assert_eq!(choose([None; 5]), None);
    }
}
