//! Settings to YAML: `config.yaml` of a run, and the composed tree with the origin of each value.

use crate::node::{Node, Value};
use crate::scalar::Scalar;
use crate::schema::RunConfig;
use crate::serialize::to_node;

/// Column in which the origins start, where the values leave room.
const ORIGIN_COLUMN: usize = 44;

/// Every key of a configuration in the order of the schema. [`crate::load`] reads it back to the same configuration.
pub fn to_yaml(config: &RunConfig) -> String {
    to_node(config).map_or_else(String::new, |tree| block(&tree, &|_| None))
}

/// As [`to_yaml`], with a comment that says where each value was written; `tree` holds the places.
pub(crate) fn with_origins(config: &RunConfig, tree: &Node) -> String {
    let origin = |path: &[&str]| {
        let place = tree.get(path).and_then(|node| node.place.as_ref());
        Some(place.map_or_else(|| "default".into(), |place| place.brief()))
    };
    to_node(config).map_or_else(String::new, |values| block(&values, &origin))
}

/// On one line.
pub(crate) fn flow(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.to_yaml(),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let pairs = map.entries.iter().map(|entry| format!("{}: {}", key(&entry.key), flow(&entry.node)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn key(text: &str) -> String {
    Scalar::quoted(text).to_yaml()
}

fn block(tree: &Node, origin: &dyn Fn(&[&str]) -> Option<String>) -> String {
    fn walk(node: &Node, path: &mut Vec<String>, origin: &dyn Fn(&[&str]) -> Option<String>, text: &mut String) {
        let Some(map) = node.as_map() else { return };
        for entry in &map.entries {
            let indent = "  ".repeat(path.len());
            path.push(entry.key.clone());
            let is_section = entry.node.as_map().is_some_and(|map| !map.entries.is_empty());
            if is_section {
                text.push_str(&format!("{indent}{}:\n", key(&entry.key)));
                walk(&entry.node, path, origin, text);
            } else {
                let line = format!("{indent}{}: {}", key(&entry.key), flow(&entry.node));
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
