//! What a setting does, all else equal: trials that differ in it alone are compared in pairs, so that what the other settings
//! and the seed do to both of them cancels.

use std::collections::{BTreeMap, HashMap};

use super::groups::Measured;
use super::student::{half_width, mean};

/// What a value of a setting changes against the first one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effect {
    /// The setting.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The value that it is compared with: the first of the plan.
    pub against: String,
    /// Pairs of trials that are alike but for this.
    pub pairs: usize,
    /// Mean difference of the metric.
    pub difference: f64,
    /// Half of its 95 % interval (Student); `None` of a single pair.
    pub half_width: Option<f64>,
}

/// Most values of a setting that are told apart: of a search every trial has its own.
const MAX_VALUES: usize = 12;

/// Of all settings but the seed, in the order of the plan.
pub(crate) fn effects(trials: &[Measured<'_>], keys: &[String]) -> Vec<Effect> {
    keys.iter().filter(|key| *key != "seed").flat_map(|key| of_setting(trials, key)).collect()
}

fn of_setting(trials: &[Measured<'_>], key: &str) -> Vec<Effect> {
    /// Stage and values of all other settings.
    type Rest<'a> = (usize, BTreeMap<&'a str, &'a str>);
    // What each trial measured, by its value of the setting.
    let mut alike: HashMap<Rest<'_>, HashMap<&str, f64>> = HashMap::new();
    let mut values: Vec<&str> = Vec::new();
    for (trial, measured) in trials {
        let Some(value) = trial.value(key) else { continue };
        if !values.contains(&value) {
            values.push(value);
        }
        let rest = trial.values.iter().filter(|(other, _)| other != key);
        let rest = rest.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        alike.entry((trial.stage, rest)).or_default().insert(value, *measured);
    }
    let Some((first, others)) = values.split_first() else { return Vec::new() };
    if others.len() >= MAX_VALUES {
        return Vec::new();
    }
    let effect = |value: &&str| {
        let mut differences: Vec<f64> =
            alike.values().filter_map(|by_value| Some(by_value.get(value)? - by_value.get(first)?)).collect();
        differences.retain(|difference| difference.is_finite());
        differences.sort_by(f64::total_cmp);
        (!differences.is_empty()).then(|| Effect {
            key: key.to_owned(),
            value: (*value).to_owned(),
            against: (*first).to_owned(),
            pairs: differences.len(),
            difference: mean(&differences),
            half_width: half_width(&differences),
        })
    };
    others.iter().filter_map(effect).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::examples;
    use super::*;

    /// A seed that is good for all and a setting that adds 0.1: unpaired, the seeds would hide it.
    #[test]
    fn what_others_do_cancels() {
        let mut plan = examples::plan(&["a", "a", "a", "b", "b", "b", "c"]);
        let seeds = ["1", "2", "3", "1", "2", "3", "9"];
        for (trial, seed) in plan.trials.iter_mut().zip(seeds) {
            trial.values.push(("seed".into(), seed.into()));
        }
        let values = [0.1, 0.5, 0.9, 0.2, 0.6, 1.0, 0.3];
        let trials: Vec<_> = plan.trials.iter().zip(values).collect();
        let found = effects(&trials, &["x".into(), "seed".into()]);
        let [effect] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((effect.value.as_str(), effect.against.as_str(), effect.pairs), ("b", "a", 3));
        assert!((effect.difference - 0.1).abs() < 1e-12);
        assert!(effect.half_width.unwrap() < 1e-9);
    }
}
