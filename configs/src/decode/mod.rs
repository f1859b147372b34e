//! Tree to [`RunConfig`], with every problem found in one go: keys first, then values, each with its place. A value
//! that cannot be read is noted and left out, so that its default stands in while the rest is checked.

mod de;
pub(crate) mod keys;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use self::de::{Mismatch, Reader};
use crate::error::Problem;
use crate::moved::{habit_hint, value_hint};
use crate::node::{Entry, Map, Node, Value};
use crate::reference::{TAGGED_SECTIONS, reference, tag_names};
use crate::scalar::Scalar;
use crate::schema::tagged::ReadSection;
use crate::schema::{MethodConfig, NetworkConfig, OptimizerConfig, RunConfig};
use crate::serialize::to_node;
use crate::source::printable;
use crate::suggest::{choice_hint, listed};

/// After this many unreadable values of a section the search ends.
const MAX_PROBLEMS: usize = 100;

/// What a tree became.
pub(crate) struct Decoded {
    /// Typed settings, with defaults where a value was missing or could not be read.
    pub config: RunConfig,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Dotted keys that could not be read; their values in `config` are not the user's.
    pub broken: Vec<String>,
}

/// Reads a composed tree.
pub(crate) fn decode(mut tree: Node) -> Decoded {
    let mut problems = Vec::new();
    let mut broken = Vec::new();
    drop_empty_sections(&mut tree);
    for section in TAGGED_SECTIONS {
        if let Some(problem) = bad_tag(&tree, section) {
            problems.push(problem);
            broken.push(section.to_owned());
            tree.remove(&[section]);
        }
    }
    let [method, optimizer, model] =
        TAGGED_SECTIONS.map(|section| tag(&tree, section).unwrap_or_default().to_owned());
    let known = reference(|section| match section {
        "method" => &method,
        "optimizer" => &optimizer,
        _ => &model,
    });
    keys::check(&mut tree, &known, &mut problems, &mut broken);

    let mut values = Values { problems, broken };
    let method_node = take_section(&mut tree, "method");
    let optimizer_node = take_section(&mut tree, "optimizer");
    let network = NetworkConfig::named(&model).unwrap_or_default();
    let network_node = take_network(&mut tree, &network);
    let mut config: RunConfig = values.read(tree, "");
    config.method = MethodConfig::named(&method).unwrap_or_default().read(&mut Section {
        values: &mut values,
        tree: method_node,
        name: "method",
    });
    config.optimizer = OptimizerConfig::named(&optimizer).unwrap_or_default().read(&mut Section {
        values: &mut values,
        tree: optimizer_node,
        name: "optimizer",
    });
    config.model.network =
        network.read(&mut Section { values: &mut values, tree: network_node, name: "model" });
    Decoded { config, problems: values.problems, broken: values.broken }
}

/// The name in a tagged section.
pub(crate) fn tag<'a>(tree: &'a Node, section: &str) -> Option<&'a str> {
    tree.get(&[section, "name"]).and_then(Node::as_text)
}

/// A section whose keys are all commented out reads as `null`; it means the defaults.
fn drop_empty_sections(tree: &mut Node) {
    let known = reference(|_| "");
    if let Value::Map(map) = &mut tree.value {
        let is_section = |entry: &Entry| known.get(&[&entry.key]).is_some_and(|node| node.as_map().is_some());
        map.entries.retain(|entry| !(entry.node.is_null() && is_section(entry)));
    }
}

fn bad_tag(tree: &Node, section: &str) -> Option<Problem> {
    let node = tree.get(&[section])?;
    let Some(map) = node.as_map() else {
        let problem = Problem::new(format!("`{section}` must be a section, not {}", node.describe()));
        return Some(problem.at(node.place.as_ref()));
    };
    let name = map.get("name")?;
    let names = tag_names(section);
    let typed = name.as_text().unwrap_or_default();
    if names.contains(&typed) {
        return None;
    }
    Some(
        Problem::new(format!("`{section}.name` must name one of the {section}s, not {}", name.describe()))
            .at(name.place.as_ref())
            .hint(choice_hint(typed, names)),
    )
}

/// A tagged section without its name.
fn take_section(tree: &mut Node, section: &str) -> Node {
    let mut node =
        tree.remove(&[section]).map_or_else(|| Node::map(Map::default(), None), |entry| entry.node);
    node.remove(&["name"]);
    node
}

/// What only `network` has of the model's settings, without its name; the rest stays.
fn take_network(tree: &mut Node, network: &NetworkConfig) -> Node {
    let own = to_node(network);
    let mut taken = Map::default();
    for key in own.as_map().into_iter().flat_map(Map::keys) {
        taken.entries.extend(tree.remove(&["model", key]).filter(|_| key != "name"));
    }
    Node::map(taken, None)
}

struct Values {
    problems: Vec<Problem>,
    broken: Vec<String>,
}

/// A tagged section whose type its name has told.
struct Section<'a> {
    values: &'a mut Values,
    tree: Node,
    name: &'static str,
}

impl ReadSection for Section<'_> {
    fn read<T: DeserializeOwned + Default>(&mut self) -> T {
        self.values.read(self.tree.clone(), self.name)
    }
}

impl Values {
    /// Reads a section; what cannot be read is noted and taken out until the rest can.
    fn read<T: DeserializeOwned + Default>(&mut self, mut tree: Node, section: &str) -> T {
        for _ in 0..MAX_PROBLEMS {
            let error = match serde_path_to_error::deserialize(Reader(&tree)) {
                Ok(value) => return value,
                Err(error) => error,
            };
            let mut path: Vec<String> = Vec::new();
            let mut index = None;
            for segment in error.path() {
                match segment {
                    Segment::Map { key } => path.push(key.clone()),
                    Segment::Seq { index: at } => {
                        index = Some(*at);
                        break;
                    }
                    _ => break,
                }
            }
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let key = [section].into_iter().filter(|s| !s.is_empty()).chain(path.iter().copied());
            let key = key.collect::<Vec<_>>().join(".");
            let node = tree.get(&path).map(|node| match (&node.value, index) {
                (Value::List(items), Some(index)) => items.get(index).unwrap_or(node),
                _ => node,
            });
            let element = index.map_or(String::new(), |index| format!("[{index}]"));
            let accepts = |text: &str| {
                let mut tried = tree.clone();
                tried.set(&path, Node::scalar(Scalar::plain(text), None), None);
                match serde_path_to_error::deserialize::<_, T>(Reader(&tried)) {
                    Ok(_) => true,
                    Err(other) => other.path().to_string() != error.path().to_string(),
                }
            };
            let habit = node.and_then(Node::as_text).and_then(|text| habit_hint(text, accepts));
            let problem = mismatch(&format!("{key}{element}"), node, error.inner());
            self.problems.push(problem.maybe_hint(habit));
            self.broken.push(key);
            if tree.remove(&path).is_none() {
                break;
            }
        }
        T::default()
    }
}

fn mismatch(key: &str, node: Option<&Node>, error: &Mismatch) -> Problem {
    let got = node.map_or("nothing".into(), Node::describe);
    let place = node.and_then(|node| node.place.as_ref());
    let typed = node.and_then(Node::as_text).unwrap_or_default();
    let scalar = node.and_then(Node::as_scalar);
    match error {
        Mismatch::Choice(choices) => Problem::new(format!("`{key}` has no choice {got}"))
            .at(place)
            .hint(value_hint(key, typed).unwrap_or_else(|| choice_hint(typed, choices.iter().copied()))),
        Mismatch::Key(unknown, known) => {
            // Of a value that may be a section, the path ends with the key itself.
            let owner =
                key.strip_suffix(unknown.as_str()).and_then(|key| key.strip_suffix('.')).unwrap_or(key);
            Problem::new(format!("`{owner}` has no `{}`", printable(unknown, 60)))
                .at(place)
                .hint(choice_hint(unknown, known.iter().copied()))
        }
        Mismatch::Other(message) => Problem::new(format!("`{key}` {message}")).at(place),
        Mismatch::Wanted(wanted) => {
            let wanted = friendly(wanted);
            let problem = Problem::new(format!("`{key}` must be {wanted}, not {got}")).at(place);
            match scalar {
                Some(scalar) if scalar.has_leading_zero() => {
                    let digits = typed.trim_start_matches(['+', '-']).trim_start_matches('0');
                    let digits = if digits.is_empty() { "0" } else { digits };
                    problem.hint(format!("numbers do not start with a zero: write `{digits}`"))
                }
                Some(scalar) if scalar.quoted && wanted.contains("number") => {
                    problem.hint("leave the quotes out if it is a number")
                }
                _ => problem,
            }
        }
    }
}

/// serde's names of types in the words of a user.
fn friendly(wanted: &str) -> String {
    match wanted {
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "usize" | "u64" => "a whole number of at least 0".into(),
        "f64" => "a number".into(),
        "a boolean" => listed(["true", "false"]).replace(" and ", " or "),
        "a string" => "a word".into(),
        "path string" => "a path".into(),
        "a sequence" => "a list such as `[a, b]`".into(),
        "an array of length 2" => "a list of two numbers such as `[0, 1]`".into(),
        "a map" => "a section".into(),
        other if other.starts_with("struct ") => "a section".into(),
        other => other.into(),
    }
}
