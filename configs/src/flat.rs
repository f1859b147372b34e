//! Settings as a list: every value by its dotted key.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::origins::Origins;
use crate::schema::{MethodConfig, ModelConfig, OptimizerConfig, Role, RunConfig};

/// Every setting by its dotted key, with absolute paths: what runs are compared by.
pub fn flat_settings(config: &RunConfig) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    let mut config = config.clone();
    config.make_paths_absolute();
    if let Ok(tree) = serde_json::to_value(&config) {
        flatten(tree, String::new(), &mut values);
    }
    values
}

/// What somebody decided: settings that `origins` says were asked for, and those whose value is not the program's default,
/// such as an experiment's. Not where things lie, and not what each start says anew.
pub fn told_settings(config: &RunConfig, origins: &Origins) -> BTreeMap<String, Value> {
    let defaults = flat_settings(&RunConfig {
        method: MethodConfig::named(config.method.name()).unwrap_or_default(),
        optimizer: OptimizerConfig::named(config.optimizer.name()).unwrap_or_default(),
        model: ModelConfig::named(config.model.name()).unwrap_or_default(),
        ..RunConfig::default()
    });
    let names = ["method.name", "optimizer.name", "model.name"];
    let mut told = flat_settings(config);
    told.retain(|key, value| {
        let is_place = matches!(Role::of(key), Role::Start | Role::Location) && key != "init_from";
        let is_decided =
            origins.is_asked(key) || names.contains(&key.as_str()) || defaults.get(key) != Some(value);
        !is_place && is_decided
    });
    told
}

fn flatten(tree: Value, path: String, values: &mut BTreeMap<String, Value>) {
    match tree {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(value, path, values);
            }
        }
        other => {
            values.insert(path, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ComposeOptions, compose};

    #[test]
    fn what_was_typed_and_what_an_experiment_brings_is_told_and_nothing_else() {
        let words = ["experiment=supervised_fsdd", "seed=0", "data.root=fsdd", "trainer.batch_size=32"]
            .map(str::to_owned);
        let composition = compose(&words, &ComposeOptions::default()).unwrap();
        let told = told_settings(&composition.config, &composition.origins);
        for key in ["seed", "trainer.batch_size", "method.name", "optimizer.name", "model.name", "experiment"]
        {
            assert!(told.contains_key(key), "{key} is missing: {told:?}");
        }
        assert_eq!(told["trainer.batch_size"], 32);
        for key in ["data.root", "run.root", "trainer.threads", "checkpoint.keep_last", "optimizer.beta1"] {
            assert!(!told.contains_key(key), "{key} was told by nobody: {told:?}");
        }
        assert!(
            2 * told.len() < flat_settings(&composition.config).len(),
            "most settings are nobody's: {told:?}"
        );
    }
}
