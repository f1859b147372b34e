//! Two states of the loop, key by key.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Part, RESUME_TOLERANCE, Strictness};
use crate::checkpoint::{STATE_FILE, Sections};
use crate::error::TrainError;
use crate::run::LoopState;

/// What no two runs share.
const TIMES: [&str; 2] = ["wall_secs", "metrics.perf/"];
/// What belongs to the number of ranks, and what `metrics.jsonl` is compared for already.
const OF_THE_WORLD: [&str; 4] = ["world_size", "resolved.", "metrics.", "coordinator.best"];

/// Compares two `state.bin`.
pub(super) fn compare(one: &[u8], other: &[u8], strictness: Strictness) -> Result<Part, TrainError> {
    let read = |bytes: &[u8]| -> Result<BTreeMap<String, Value>, TrainError> {
        let sections = Sections::parse(bytes)?;
        let tree = serde_json::to_value(LoopState::get(&sections)?).map_err(TrainError::internal)?;
        let mut flat = BTreeMap::new();
        flatten(tree, String::new(), &mut flat);
        // What the components of the engine keep is compared as it is stored.
        for (name, section) in sections.raw().filter(|(name, _)| !LoopState::SECTIONS.contains(name)) {
            flat.insert(name.to_owned(), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(section)).into());
        }
        flat.retain(|key, _| {
            let left_out = |keys: &[&str]| keys.iter().any(|prefix| key.starts_with(prefix));
            !left_out(&TIMES) && (strictness == Strictness::Bits || !left_out(&OF_THE_WORLD))
        });
        Ok(flat)
    };
    let (one, other) = (read(one)?, read(other)?);
    Ok(Part::new(STATE_FILE, format!("{} values", one.len()), differences(&one, &other, strictness)))
}

fn differences(
    one: &BTreeMap<String, Value>,
    other: &BTreeMap<String, Value>,
    strictness: Strictness,
) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let show = |value: Option<&Value>| value.map_or("not there".to_owned(), Value::to_string);
    keys.into_iter()
        .filter(|key| !are_equal(one.get(*key), other.get(*key), strictness))
        .map(|key| format!("`{key}` is {} and {}", show(one.get(key)), show(other.get(key))))
        .collect()
}

fn are_equal(one: Option<&Value>, other: Option<&Value>, strictness: Strictness) -> bool {
    if one == other {
        return true;
    }
    let float = |value: Option<&Value>| value.filter(|value| value.is_f64()).and_then(Value::as_f64);
    match (float(one), float(other)) {
        (Some(a), Some(b)) if strictness == Strictness::Samples => {
            (a - b).abs() <= RESUME_TOLERANCE * a.abs().max(b.abs())
        }
        _ => false,
    }
}

fn flatten(tree: Value, path: String, flat: &mut BTreeMap<String, Value>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match tree {
        Value::Object(map) => map.into_iter().for_each(|(key, value)| flatten(value, below(&key), flat)),
        Value::Array(items) => {
            flat.insert(below("length"), items.len().into());
            items.into_iter().enumerate().for_each(|(i, value)| flatten(value, below(&i.to_string()), flat));
        }
        value => {
            flat.insert(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(tree: Value) -> BTreeMap<String, Value> {
        let mut flat = BTreeMap::new();
        flatten(tree, String::new(), &mut flat);
        flat
    }

    #[test]
    fn keys_that_differ_are_named() {
        let one = flat(serde_json::json!({ "a": { "step": 3, "x": 1.0 }, "list": [1, 2], "none": null }));
        let mut changed = one.clone();
        assert!(differences(&one, &changed, Strictness::Bits).is_empty());
        changed.insert("a.x".into(), (1.0 + 1e-12).into());
        changed.insert("list.length".into(), 1.into());
        changed.remove("list.1");
        assert_eq!(
            differences(&one, &changed, Strictness::Bits),
            ["`a.x` is 1.0 and 1.000000000001", "`list.1` is 2 and not there", "`list.length` is 2 and 1"]
        );
        assert_eq!(differences(&one, &changed, Strictness::Samples).len(), 2);
    }
}
