//! The tree under construction: choices, layers, and the last step to typed settings.

use std::sync::Arc;

use crate::builtin::{Library, section_groups};
use crate::checks::Conflict;
use crate::decode::{decode, tag};
use crate::error::{ConfigErrors, Problem};
use crate::literal::settle;
use crate::node::{Map, Node, Value, split_key};
use crate::origins::Origins;
use crate::overrides::Override;
use crate::read::read;
use crate::reference::{NAMED_BY_FILES, TAGGED_SECTIONS, reference, tag_names};
use crate::renamed::rename;
use crate::schema::RunConfig;
use crate::source::{Place, Source, printable};
use crate::suggest::choice_hint;
use crate::validate::validate;

/// A choice of a group's file.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub group: String,
    /// None: the program's defaults.
    pub name: Option<String>,
    pub place: Option<Place>,
}

/// The last choice of a group.
pub(crate) fn find_choice(choices: &[Choice], group: &str) -> Option<Choice> {
    choices.iter().rev().find(|choice| choice.group == group).cloned()
}

/// The tree under construction, and what went wrong so far.
pub(crate) struct Composer {
    pub overrides: Vec<Override>,
    pub tree: Node,
    pub problems: Vec<Problem>,
    /// Sections that could not be composed: nothing more is said about them.
    pub broken: Vec<String>,
    /// See [`Origins::new`].
    pub own_files_ask: bool,
}

impl Composer {
    /// Takes the overrides apart.
    pub fn new(overrides: &[String]) -> Self {
        let mut composer = Self {
            overrides: Vec::new(),
            tree: Node::map(Map::default(), None),
            problems: Vec::new(),
            broken: Vec::new(),
            own_files_ask: false,
        };
        for (index, text) in overrides.iter().enumerate() {
            match Override::parse(index + 1, text) {
                Ok(parsed) => composer.overrides.push(parsed),
                Err(problem) => composer.problems.push(problem),
            }
        }
        composer
    }

    /// The last choice of a group on the command line.
    pub fn chosen(&self, group: &str) -> Option<Choice> {
        let choices = self.overrides.iter().rev().filter_map(|over| {
            let (of, name) = over.choice()?;
            let place = over.value.place.clone();
            (of == group).then(|| Choice { group: of.into(), name: name.map(str::to_owned), place })
        });
        choices.into_iter().next()
    }

    /// A file as a section.
    pub fn file(&mut self, source: Result<Arc<Source>, Problem>) -> Option<Map> {
        let read = source.and_then(|source| match read(&source)? {
            Node { value: Value::Map(map), .. } => Ok(map),
            node if node.is_null() => Ok(Map::default()),
            node => Err(not_a_section(&source.kind.to_string(), &node)),
        });
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Takes `defaults` out of a file and reads it as choices.
    pub fn defaults(&mut self, file: &mut Map, with_experiment: bool) -> Vec<Choice> {
        let Some(entry) = file.remove("defaults") else { return Vec::new() };
        let Value::Map(map) = entry.node.value else {
            if !entry.node.is_null() {
                self.problems.push(
                    Problem::new(format!("`defaults` must be a section, not {}", entry.node.describe()))
                        .at(entry.node.place.as_ref())
                        .hint(hint_of_list(&entry.node)),
                );
            }
            return Vec::new();
        };
        let mut choices = Vec::new();
        for entry in map.entries {
            let known: Vec<&str> = section_groups().chain(with_experiment.then_some("experiment")).collect();
            if !known.contains(&entry.key.as_str()) {
                let problem = Problem::new(format!("`{}` is not a group", printable(&entry.key, 60)));
                let hint = match (entry.key.as_str(), entry.node.as_text()) {
                    ("experiment", Some(name)) => {
                        let name = printable(name, 60);
                        format!(
                            "write `base: {name}` outside of `defaults`: an experiment is based on another one by that line"
                        )
                    }
                    _ => choice_hint(&entry.key, known.iter().copied()),
                };
                self.problems.push(problem.at(entry.key_place.as_ref()).hint(hint));
            } else if entry.node.as_scalar().is_none() {
                let problem = Problem::new(format!("`defaults.{}` must be a name", entry.key));
                self.problems.push(
                    problem
                        .at(entry.node.place.as_ref())
                        .hint(format!("values go into a section `{}` beside `defaults`", entry.key)),
                );
            } else {
                let name = entry.node.as_text().map(str::to_owned);
                choices.push(Choice { group: entry.key, name, place: entry.node.place });
            }
        }
        choices
    }

    /// Puts a group's file into the tree.
    pub fn group(&mut self, library: &Library, group: &str, name: &str, place: Option<&Place>) {
        match self.file(library.find(group, name, place)) {
            Some(map) => {
                self.tree.set(&[group], Node::map(map, place.cloned()), place.cloned());
                rename(&mut self.tree);
            }
            None => self.broken.push(group.to_owned()),
        }
    }

    /// Lays the values of a file over the tree.
    pub fn layer(&mut self, file: Map) {
        let mut file = Node::map(without_empty_sections(file), None);
        rename(&mut file);
        self.keeping_tags(|tree| tree.merge(file));
    }

    /// Runs a change of the tree that may name a tagged section anew. Where names are those of files that is noted as a problem;
    /// elsewhere the values that only the one before has go.
    pub fn keeping_tags(&mut self, change: impl FnOnce(&mut Node)) {
        let before = self.tree.clone();
        change(&mut self.tree);
        for section in TAGGED_SECTIONS {
            let (Some(old), Some(new)) = (tag(&before, section), tag(&self.tree, section)) else { continue };
            let new = new.to_owned();
            if old == new || !tag_names(section).contains(&new.as_str()) || self.is_broken(section) {
                continue;
            }
            if NAMED_BY_FILES.contains(&section) {
                self.refuse_name(section, old, &new);
            } else {
                drop_values(&mut self.tree, section, &before, &new);
            }
        }
    }

    fn refuse_name(&mut self, section: &str, before: &str, after: &str) {
        let place = self.tree.get(&[section, "name"]).and_then(|node| node.place.clone());
        self.problems.push(
            Problem::new(format!(
                "`{section}.name` is `{before}` by its group and cannot become `{after}` here"
            ))
            .at(place.as_ref())
            .hint(format!("choose the group: `{section}={after}`, or `{section}: {after}` under `defaults`")),
        );
        self.broken.push(section.to_owned());
    }

    /// Whether nothing more is said about the section of that key.
    pub fn is_broken(&self, key: &str) -> bool {
        let section = key.split('.').next().unwrap_or(key);
        self.broken.iter().any(|broken| broken == section)
    }

    /// `~/`, `${...}` and `None`. What cannot stay is taken out.
    fn settle_literals(&mut self) {
        let (as_composed, mut misread) = (self.tree.clone(), Vec::new());
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let takes = |key: &str, value: Node| takes(&as_composed, key, value);
        self.problems.append(&mut settle(&mut self.tree, home.as_deref(), takes, &mut misread));
        for key in misread {
            self.tree.remove(&split_key(&key));
            self.broken.push(key);
        }
    }

    /// Types and checks.
    pub fn finish(mut self) -> Result<(RunConfig, Origins), ConfigErrors> {
        for section in &self.broken {
            self.tree.remove(&[section]);
        }
        self.settle_literals();
        let mut decoded = decode(self.tree.clone());
        self.problems.append(&mut decoded.problems);
        self.broken.append(&mut decoded.broken);
        decoded.config.take_groups_of_method();
        let origins = Origins::new(self.tree.clone(), self.own_files_ask);
        for conflict in validate(&decoded.config) {
            let related = |key: &str, broken: &String| {
                key == broken
                    || key.starts_with(&format!("{broken}."))
                    || broken.starts_with(&format!("{key}."))
            };
            let unread =
                conflict.keys.iter().any(|key| self.broken.iter().any(|broken| related(key, broken)));
            if !unread {
                self.problems.extend(located(conflict, &self.tree, &origins));
            }
        }
        if self.problems.is_empty() {
            Ok((decoded.config, origins))
        } else {
            Err(ConfigErrors::new(self.problems))
        }
    }
}

/// Takes out of a section what `name` does not have and what stood there `before` as it stands now.
fn drop_values(tree: &mut Node, section: &str, before: &Node, name: &str) {
    let known = reference(|_| name);
    for key in before.get(&[section]).and_then(Node::as_map).into_iter().flat_map(Map::keys) {
        let path = [section, key];
        if known.get(&path).is_none() && before.get(&path) == tree.get(&path) {
            tree.remove(&path);
        }
    }
}

/// What is written instead of Hydra's list, whose bare words are experiments.
fn hint_of_list(defaults: &Node) -> String {
    let Value::List(items) = &defaults.value else {
        return "write one `group: name` a line".to_owned();
    };
    let base = items.iter().filter_map(Node::as_text).find(|name| *name != "_self_");
    let base = base.map_or_else(String::new, |name| {
        let name = name.trim_start_matches("experiment/").trim_start_matches('/');
        format!(", and `base: {}` outside of `defaults`", printable(name, 60))
    });
    format!("write one `group: name` a line, without `- override /`{base}")
}

/// Whether `value` can be read for `key` of a composed tree.
fn takes(tree: &Node, key: &str, value: Node) -> bool {
    let mut tree = tree.clone();
    tree.set(&split_key(key), value, None);
    !decode(tree).broken.iter().any(|broken| broken == key)
}

/// A conflict with the places of its values.
fn located(conflict: Conflict, tree: &Node, origins: &Origins) -> Option<Problem> {
    let place = |key: &str| tree.get(&split_key(key)).and_then(|node| node.place.as_ref());
    let first = conflict.keys.first()?;
    if conflict.only_if_asked && !origins.is_asked(first) {
        return None;
    }
    let mut problem = Problem::new(conflict.message).maybe_hint(conflict.hint);
    for key in &conflict.keys {
        problem = problem.at(place(key));
    }
    if problem.places.is_empty() {
        // All of them are defaults: the choice of the section is the nearest that the user did.
        problem = problem.at(place(first.split('.').next().unwrap_or(first)));
    }
    Some(problem)
}

/// A file or a tree that is something else than a section.
pub(crate) fn not_a_section(name: &str, node: &Node) -> Problem {
    Problem::new(format!("{name} must hold `key: value` lines, not {}", node.describe()))
        .at(node.place.as_ref())
}

/// Sections whose keys are all commented out read as `null` and say nothing.
pub(crate) fn without_empty_sections(mut values: Map) -> Map {
    let known = reference(|_| "");
    let is_section = |key: &str| known.get(&[key]).is_some_and(|node| node.as_map().is_some());
    values.entries.retain(|entry| !(entry.node.is_null() && is_section(&entry.key)));
    values
}
