//! Keys that do not exist, and what was probably meant.

use crate::error::Problem;
use crate::moved;
use crate::node::{Node, Value, split_key};
use crate::reference::{TAGGED_SECTIONS, is_open, leaves, open_entry, reference, tag_names};
use crate::source::{Place, printable};
use crate::suggest::{closest, listed};

/// Notes and takes out every key of `tree` that `known` does not have.
pub(crate) fn check(tree: &mut Node, known: &Node, problems: &mut Vec<Problem>, broken: &mut Vec<String>) {
    let mut unknown = Vec::new();
    prune(tree, known, "", &mut unknown);
    let in_force = &*tree;
    for Unknown { key, place, value } in unknown {
        // Of a section that another trainer has, each key is named: they go to different places.
        let leaves = leaves(&value).into_iter().map(|(below, node)| match below.as_str() {
            "" => (key.clone(), node),
            below => (format!("{key}.{below}"), node),
        });
        let moved: Vec<Problem> = leaves
            .filter_map(|(leaf, node)| {
                let hint = moved::key_hint(&leaf, node, |_, _| true)?;
                let place = if leaf == key { place.as_ref() } else { node.place.as_ref() };
                Some(not_a_setting(&leaf).at(place).hint(hint))
            })
            .collect();
        if moved.is_empty() {
            problems.push(unknown_key(&key, known, in_force).at(place.as_ref()));
        }
        problems.extend(moved);
        broken.push(key);
    }
}

/// A key that was taken out.
struct Unknown {
    key: String,
    place: Option<Place>,
    value: Node,
}

fn prune(node: &mut Node, known: &Node, section: &str, unknown: &mut Vec<Unknown>) {
    let (Value::Map(map), Some(known_map)) = (&mut node.value, known.as_map()) else { return };
    let entry_of_open = is_open(section).then(|| open_entry(section));
    map.entries.retain_mut(|entry| {
        let dot = if section.is_empty() { "" } else { "." };
        let key = format!("{section}{dot}{}", entry.key);
        match entry_of_open.as_ref().or_else(|| known_map.get(&entry.key)) {
            Some(below) => {
                prune(&mut entry.node, below, &key, unknown);
                true
            }
            None => {
                let place = entry.key_place.clone().or_else(|| entry.node.place.clone());
                unknown.push(Unknown { key, place, value: std::mem::replace(&mut entry.node, Node::null()) });
                false
            }
        }
    });
}

/// The problem of a key that does not exist.
pub(crate) fn not_a_setting(key: &str) -> Problem {
    Problem::new(format!("`{}` is not a setting", printable(key, 80)))
}

/// The problem of a key that does not exist, with the best guess at what was meant and the value that this has in the
/// composed tree `in_force`.
pub(crate) fn unknown_key(key: &str, known: &Node, in_force: &Node) -> Problem {
    let did_you_mean = |keys: &[String]| did_you_mean(keys, known, in_force);
    let problem = not_a_setting(key);
    let path = split_key(key);
    let Some((last, parents)) = path.split_last() else { return problem };
    if let Some((word, _)) = last.split_once(':') {
        return problem.hint(format!("put a space after the colon: `{word}: value`"));
    }

    if let Some((group, _)) = key.split_once('@') {
        return problem.hint(format!("a group has one place, its section: `{group}=NAME`"));
    }
    if key.contains('/') {
        let dotted = key.replace('/', ".");
        return problem.hint(match known.get(&split_key(&dotted)) {
            Some(_) => format!("parts of a name are parted by dots: `{dotted}`"),
            None => "there are no groups within groups: `GROUP=NAME` chooses a file of a group, `SECTION.KEY=VALUE` sets a value"
                .to_owned(),
        });
    }

    // A neighbour in the same section.
    let section = known.get(parents).and_then(Node::as_map);
    if let Some(found) = section.and_then(|map| closest(last, map.keys())) {
        let found = [parents, &[found]].concat().join(".");
        return problem.hint(did_you_mean(&[found]));
    }
    if let Some(hint) = key_of_other_name(&path, known) {
        return problem.hint(hint);
    }
    // The same key in another section.
    let all = leaves(known);
    let same: Vec<String> = all
        .iter()
        .filter(|(other, _)| other.rsplit('.').next() == Some(last))
        .map(|(other, _)| other.clone())
        .collect();
    if !same.is_empty() && same.len() <= 3 {
        return problem.hint(did_you_mean(&same));
    }
    // A section that is spelled wrong.
    if let Some(found) = closest(key, all.iter().map(|(other, _)| other.as_str())) {
        return problem.hint(did_you_mean(&[found.to_owned()]));
    }
    let lasts = all.iter().filter_map(|(other, _)| other.rsplit('.').next());
    if let Some(found) = closest(last, lasts) {
        let found: Vec<String> = all
            .iter()
            .filter(|(other, _)| other.rsplit('.').next() == Some(found))
            .map(|(other, _)| other.clone())
            .take(3)
            .collect();
        return problem.hint(did_you_mean(&found));
    }
    match (section, parents.is_empty()) {
        (Some(map), true) => problem.hint(format!("the sections are {}", listed(map.keys()))),
        (Some(map), false) => problem.hint(format!("`{}` has {}", parents.join("."), listed(map.keys()))),
        (None, _) => problem,
    }
}

/// A key that another method, optimizer or model has.
fn key_of_other_name(path: &[&str], known: &Node) -> Option<String> {
    let section = TAGGED_SECTIONS.into_iter().find(|section| path.first() == Some(section))?;
    let chosen = known.get(&[section, "name"])?.as_text()?;
    let owners: Vec<&str> =
        tag_names(section).into_iter().filter(|name| reference(|_| *name).get(path).is_some()).collect();
    let key = path.join(".");
    (!owners.is_empty()).then(|| {
        format!("the {section} is `{chosen}`; `{key}` belongs to {}", listed(owners.iter().copied()))
    })
}

fn did_you_mean(keys: &[String], known: &Node, in_force: &Node) -> String {
    let with_value = |key: &String| {
        let path = split_key(key);
        let default = known.get(&path).filter(|node| node.as_map().is_none()).map(Node::brief);
        let now = in_force.get(&path).filter(|node| node.as_map().is_none()).map(Node::brief);
        match (default, now) {
            (Some(default), Some(now)) if now != default => format!("`{key}` (now {now}, default {default})"),
            (Some(default), _) => format!("`{key}` (default {default})"),
            (None, _) => format!("`{key}`"),
        }
    };
    format!("did you mean {}?", keys.iter().map(with_value).collect::<Vec<_>>().join(" or "))
}
