//! Trials that differ by the seed alone, as one.

use dtrain_configs::schema::MonitorMode;

use super::super::plan::Trial;
use super::super::table::order;
use super::student::{deviation, mean};

/// A measured trial.
pub(crate) type Measured<'a> = (&'a Trial, f64);

/// Trials with the same settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// Without the seed.
    pub values: Vec<(String, String)>,
    /// Names of the trials.
    pub trials: Vec<String>,
    /// Of the metric.
    pub mean: f64,
    /// Over seeds; `None` of one.
    pub deviation: Option<f64>,
}

/// All groups, the best first.
pub(crate) fn groups(trials: &[Measured<'_>], mode: MonitorMode) -> Vec<Group> {
    type Values<'a> = Vec<&'a (String, String)>;
    let mut found: Vec<(Values<'_>, Vec<Measured<'_>>)> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for &(trial, value) in trials {
        let index = *at.entry((trial.stage, trial.group())).or_insert_with(|| {
            found.push((trial.group(), Vec::new()));
            found.len() - 1
        });
        if let Some((_, members)) = found.get_mut(index) {
            members.push((trial, value));
        }
    }
    let mut groups: Vec<Group> = found
        .into_iter()
        .map(|(values, members)| {
            let numbers: Vec<f64> = members.iter().map(|(_, value)| *value).collect();
            Group {
                values: values.into_iter().cloned().collect(),
                trials: members.iter().map(|(trial, _)| trial.name.clone()).collect(),
                mean: mean(&numbers),
                deviation: deviation(&numbers),
            }
        })
        .collect();
    groups.sort_by(|a, b| order(mode, Some(a.mean), Some(b.mean)));
    groups
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::examples;
    use super::*;

    #[test]
    fn seeds_are_averaged_and_what_is_no_number_comes_last() {
        let mut plan = examples::plan(&["1", "2", "1", "3"]);
        for (trial, seed) in plan.trials.iter_mut().zip(["1", "1", "2", "1"]) {
            trial.values.push(("seed".into(), seed.into()));
        }
        let values = [0.5, 0.4, 0.7, f64::NAN];
        let trials: Vec<_> = plan.trials.iter().zip(values).collect();
        let groups = groups(&trials, MonitorMode::Max);
        assert_eq!(
            groups.iter().map(|group| group.values[0].1.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3"]
        );
        assert!((groups[0].mean - 0.6).abs() < 1e-12 && groups[1].deviation.is_none());
    }
}
