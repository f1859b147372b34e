//! From a stage to its trials: every group of `runs` with every point of the search and every value of the lists. The last
//! axis changes fastest. Settings whose condition does not hold are left out, and what is the same then is there once.

use std::collections::HashSet;

use super::sequence::point;
use super::{Axis, Stage, Values};

/// What one trial has of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Combination {
    /// Keys and values, in the order of the stage.
    pub values: Vec<(String, String)>,
}

impl Combination {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// As words of a command line.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|(key, value)| format!("{key}={value}"))
    }
}

impl Stage {
    /// Every trial, in the order in which they begin.
    pub fn combinations(&self) -> Vec<Combination> {
        let mut found: Vec<Combination> = match self.runs.as_slice() {
            [] => vec![Combination::default()],
            runs => runs.iter().map(|values| Combination { values: values.clone() }).collect(),
        };
        if let Some(search) = self.search {
            let drawn: Vec<&Axis> = self.axes.iter().filter(|axis| axis.values.is_range()).collect();
            let points = (0..search.trials as u64).map(|index| point(index, drawn.len(), search.seed));
            let points: Vec<Vec<(String, String)>> = points.map(|point| named(&drawn, &point)).collect();
            found = crossed(&found, &points);
        }
        for axis in &self.axes {
            if let Values::List(values) = &axis.values {
                let values: Vec<_> =
                    values.iter().map(|value| vec![(axis.key.clone(), value.clone())]).collect();
                found = crossed(&found, &values);
            }
        }
        let mut seen = HashSet::new();
        for combination in &mut found {
            self.apply_conditions(combination);
        }
        found.retain(|combination| seen.insert(combination.clone()));
        found
    }

    /// How many combinations there are before conditions; `None`: more than can be counted.
    pub fn most(&self) -> Option<usize> {
        let lists = self.axes.iter().map(|axis| match &axis.values {
            Values::List(values) => values.len(),
            _ => 1,
        });
        let points = self.search.map_or(1, |search| search.trials);
        lists.chain([points, self.runs.len().max(1)]).try_fold(1_usize, usize::checked_mul)
    }

    /// Whether trials differ in this setting.
    pub fn varies(&self, key: &str) -> bool {
        let in_runs = self.runs.iter().flatten().any(|(known, _)| known == key);
        in_runs || self.axes.iter().any(|axis| axis.key == key)
    }

    fn apply_conditions(&self, combination: &mut Combination) {
        // A setting that is left out may be what another one depends on.
        for _ in 0..self.conditions.len() {
            for condition in &self.conditions {
                let holds = combination
                    .get(&condition.on)
                    .is_some_and(|value| condition.values.iter().any(|v| v == value));
                if !holds {
                    combination.values.retain(|(key, _)| *key != condition.key);
                }
            }
        }
    }
}

fn named(axes: &[&Axis], point: &[f64]) -> Vec<(String, String)> {
    axes.iter().zip(point).map(|(axis, place)| (axis.key.clone(), axis.values.at(*place))).collect()
}

fn crossed(found: &[Combination], more: &[Vec<(String, String)>]) -> Vec<Combination> {
    let both = |before: &Combination, behind: &Vec<(String, String)>| {
        let values = before.values.iter().chain(behind).cloned().collect();
        Combination { values }
    };
    found.iter().flat_map(|before| more.iter().map(move |behind| both(before, behind))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, Search};
    use super::*;

    fn axis(key: &str, text: &str) -> Axis {
        let values = Values::parse(text).unwrap().unwrap_or_else(|| Values::List(vec![text.to_owned()]));
        Axis { key: key.into(), values }
    }

    fn texts(stage: &Stage) -> Vec<String> {
        stage.combinations().iter().map(|found| found.words().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn the_last_axis_changes_fastest() {
        let stage = Stage { axes: vec![axis("a", "1,2"), axis("seed", "range(2)")], ..Stage::default() };
        assert_eq!(texts(&stage), ["a=1 seed=0", "a=1 seed=1", "a=2 seed=0", "a=2 seed=1"]);
        assert_eq!(stage.most(), Some(4));
    }

    #[test]
    fn a_setting_without_its_condition_is_left_out_and_repeats_are_dropped() {
        let stage = Stage {
            axes: vec![axis("loss", "balanced,imbalanced"), axis("lambda", "1,5")],
            conditions: vec![Condition {
                key: "lambda".into(),
                on: "loss".into(),
                values: vec!["balanced".into()],
            }],
            ..Stage::default()
        };
        assert_eq!(texts(&stage), ["loss=balanced lambda=1", "loss=balanced lambda=5", "loss=imbalanced"]);
    }

    #[test]
    fn groups_and_points_are_crossed_with_lists() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let stage = Stage {
            runs: vec![vec![pair("w", "1"), pair("v", "2")], vec![pair("w", "3")]],
            axes: vec![axis("lr", "log_uniform(1e-4,1)"), axis("seed", "1,2")],
            search: Some(Search { trials: 3, seed: 0 }),
            ..Stage::default()
        };
        let found = stage.combinations();
        assert_eq!(found.len(), 12);
        assert_eq!(found[0].get("v"), Some("2"));
        assert_eq!(found[0].get("lr"), found[1].get("lr"));
        assert_eq!(found[0].get("lr"), found[6].get("lr"), "the same points for each group");
        assert_ne!(found[0].get("lr"), found[2].get("lr"));
        assert!(stage.varies("v") && stage.varies("lr") && !stage.varies("x"));
    }
}
