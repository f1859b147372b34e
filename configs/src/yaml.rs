//! Settings to YAML: `config.yaml` of a run, and the composed tree with the origin of each value.

use crate::node::{Node, yaml_key};
use crate::origins::Origins;
use crate::schema::RunConfig;
use crate::serialize::to_node;
use crate::source::Place;

/// Column in which the origins start, where the values leave room.
const ORIGIN_COLUMN: usize = 44;

/// Every key of a configuration in the order of the schema. [`crate::load`] reads it back to the same configuration.
pub fn to_yaml(config: &RunConfig) -> String {
    block(&to_node(config), &|_| None)
}

/// As [`to_yaml`], with a comment that says where each value was written.
pub(crate) fn with_origins(config: &RunConfig, origins: &Origins) -> String {
    let origin = |path: &[&str]| {
        let place = origins.place_of(path);
        Some(place.map_or_else(|| "default".into(), Place::brief))
    };
    block(&to_node(config), &origin)
}

fn block(tree: &Node, origin: &dyn Fn(&[&str]) -> Option<String>) -> String {
    fn walk(
        node: &Node,
        path: &mut Vec<String>,
        origin: &dyn Fn(&[&str]) -> Option<String>,
        text: &mut String,
    ) {
        let Some(map) = node.as_map() else { return };
        for entry in &map.entries {
            let indent = "  ".repeat(path.len());
            path.push(entry.key.clone());
            let is_section = entry.node.as_map().is_some_and(|map| !map.entries.is_empty());
            if is_section {
                text.push_str(&format!("{indent}{}:\n", yaml_key(&entry.key)));
                walk(&entry.node, path, origin, text);
            } else {
                let line = format!("{indent}{}: {}", yaml_key(&entry.key), entry.node.flow());
                let parts: Vec<&str> = path.iter().map(String::as_str).collect();
                match origin(&parts) {
                    Some(origin) => text.push_str(&format!("{line:<ORIGIN_COLUMN$}  # {origin}\n")),
                    None => text.push_str(&format!("{line}\n")),
                }
            }
            path.pop();
        }
    }
    let mut text = String::new();
    walk(tree, &mut Vec::new(), origin, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decode::decode;
    use crate::read::read;
    use crate::schema::{Auto, MethodConfig, OptimizerConfig, SplitConfig};
    use crate::source::{Source, SourceKind};
    use proptest::prelude::*;

    fn read_back(text: &str) -> RunConfig {
        let source = Arc::new(Source { kind: SourceKind::File("config.yaml".into()), text: text.into() });
        let decoded = decode(read(&source).unwrap());
        assert_eq!(decoded.problems, [], "{text}");
        decoded.config
    }

    #[test]
    fn every_method_and_optimizer_reads_back() {
        for method in MethodConfig::all() {
            for optimizer in OptimizerConfig::all() {
                let config = RunConfig { method: method.clone(), optimizer, ..RunConfig::default() };
                assert_eq!(read_back(&to_yaml(&config)), config);
            }
        }
    }

    proptest! {
        #[test]
        fn any_configuration_reads_back(
            words in proptest::collection::vec(any::<String>(), 6),
            tricky in prop::sample::select(vec!["null", "010", "1e5", "yes", "", " ", "a: b", "- x", "#", "\u{0}", "'", "~", "é\n"]),
            numbers in proptest::collection::vec(any::<f64>().prop_filter("a number", |x| !x.is_nan()), 4),
            counts in proptest::collection::vec(any::<u64>(), 3),
            option: Option<u64>,
        ) {
            let mut config = RunConfig {
                experiment: Some(words[0].clone()),
                tags: vec![words[1].clone(), tricky.to_owned()],
                seed: counts[0],
                ..RunConfig::default()
            };
            config.run.dir = Some(words[2].clone().into());
            config.data.labels.pattern = tricky.to_owned();
            config.data.labels.folders = Vec::new();
            // A key of more than 1024 characters is no YAML key.
            let split = SplitConfig { by: Some(words[4].clone()), val_fraction: numbers[0], ..SplitConfig::default() };
            config.data.splits.insert(words[3].chars().take(100).collect(), split.clone());
            config.data.splits.insert(tricky.to_owned(), split);
            config.data.features.f_max = Some(numbers[1]);
            config.augment.gain_db = Some([numbers[2], numbers[3]]);
            config.trainer.max_steps = option;
            config.trainer.threads = if counts[1] > 0 { Auto::Value(counts[1] as usize) } else { Auto::Auto };
            config.trainer.sync_bn = Auto::Value(counts[2] % 2 == 0);
            prop_assert_eq!(read_back(&to_yaml(&config)), config);
        }
    }
}
