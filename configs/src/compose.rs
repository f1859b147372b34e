//! From files and overrides to one configuration.
//!
//! Later layers win: defaults of the program, group files, values in `train.yaml`, values in the experiment, overrides.
//! Groups are chosen by `train.yaml`, then by the experiment's `defaults`, then by the command line.
//!
//! One departure from Hydra: values that an experiment gives to a section belong to the group that it chose. When the
//! command line chooses another one (`experiment=supcon_fsdd method=simclr`), they are left out, and the section
//! starts from that group's file; Hydra would put SupCon's settings into SimCLR.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::builtin::{Library, read_file, section_groups};
use crate::decode::{decode, keys::unknown_key, tag};
use crate::error::{ConfigErrors, Problem};
use crate::node::{Map, Node, Value, split_key};
use crate::overrides::{Operation, Override};
use crate::read::read;
use crate::reference::{TAGGED_SECTIONS, is_open, reference, tag_names};
use crate::scalar::Scalar;
use crate::schema::RunConfig;
use crate::source::{Place, Source, SourceKind, printable};
use crate::suggest::{choice_hint, listed};
use crate::validate::{Conflict, validate};
use crate::yaml;

/// What composition needs besides the overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComposeOptions {
    /// A folder with the layout of the program's own YAML files, whose files come first.
    pub config_dir: Option<PathBuf>,
}

/// A composed configuration and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Composition {
    /// The settings.
    pub config: RunConfig,
    /// Group and chosen file, in the order of the sections; experiment first.
    pub choices: Vec<(String, String)>,
    tree: Node,
}

impl Composition {
    /// The whole tree as YAML, with the origin of each value as a comment if asked.
    pub fn render(&self, with_origins: bool) -> String {
        if with_origins { yaml::with_origins(&self.config, &self.tree) } else { yaml::to_yaml(&self.config) }
    }

    /// Where a key such as `trainer.batch_size` was written; `None`: it has the program's default.
    pub fn origin(&self, key: &str) -> Option<String> {
        self.tree.get(&split_key(key))?.place.as_ref().map(Place::brief)
    }
}

/// Composes groups, experiment and overrides into one checked configuration.
///
/// # Errors
/// All problems at once: files, overrides, unknown keys, wrong types, settings that contradict each other.
pub fn compose(overrides: &[String], options: &ComposeOptions) -> Result<Composition, ConfigErrors> {
    let library = Library::open(options)?;
    let mut composer = Composer::new(overrides);
    let mut root = composer.file(library.root()).unwrap_or_default();
    let root_choices = composer.defaults(&mut root, true);

    // The experiment.
    let chosen = composer.chosen("experiment").or_else(|| find_choice(&root_choices, "experiment"));
    let mut experiment = Map::default();
    let mut choices = Vec::new();
    if let Some((name, place)) = chosen.and_then(|choice| choice.name.map(|name| (name, choice.place))) {
        match composer.file(library.find("experiment", &name, place.as_ref())) {
            Some(map) => experiment = map,
            None => composer.broken.extend(section_groups().map(str::to_owned)),
        }
        let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(&name).to_owned();
        composer.tree.set(&["experiment"], Node::scalar(Scalar::quoted(&stem), place), None);
        choices.push(("experiment".to_owned(), name));
    }
    let experiment_choices = composer.defaults(&mut experiment, false);

    // The groups.
    for group in section_groups() {
        let usual = find_choice(&experiment_choices, group).or_else(|| find_choice(&root_choices, group));
        let from_command_line = composer.chosen(group);
        let usual_name = usual.as_ref().and_then(|choice| choice.name.clone());
        if from_command_line.as_ref().is_some_and(|choice| choice.name != usual_name) {
            experiment.remove(group);
        }
        let Some(Choice { name: Some(name), place, .. }) = from_command_line.or(usual) else { continue };
        composer.group(&library, group, &name, place.as_ref());
        choices.push((group.to_owned(), name));
    }

    composer.layer(root);
    composer.layer(experiment);
    composer.apply_values();
    let (config, tree) = composer.finish()?;
    Ok(Composition { config, choices, tree })
}

/// Reads a run's `config.yaml` (or the one in a run directory). Missing keys take the program's defaults.
///
/// # Errors
/// As for [`compose`].
pub fn load(path: &Path) -> Result<RunConfig, ConfigErrors> {
    load_with_overrides(path, &[])
}

/// As [`load`], with overrides on top. A group choice replaces the whole section by that of the program.
///
/// # Errors
/// As for [`compose`].
pub fn load_with_overrides(path: &Path, overrides: &[String]) -> Result<RunConfig, ConfigErrors> {
    let path = if path.is_dir() { path.join("config.yaml") } else { path.to_owned() };
    let library = Library::open(&ComposeOptions::default())?;
    let mut composer = Composer::new(overrides);
    let source = read_file(&path)?;
    let tree = read(&source)?;
    if tree.as_map().is_none() {
        return Err(not_a_section(&source.kind.to_string(), &tree).into());
    }
    composer.tree = tree;
    if let Some(place) = composer.chosen("experiment").and_then(|choice| choice.place) {
        let problem = Problem::new("`experiment` cannot be chosen for settings that are composed already");
        composer.problems.push(problem.at(Some(&place)).hint("override single keys, or start a new run"));
    }
    for group in section_groups() {
        let Some(choice) = composer.chosen(group) else { continue };
        composer.tree.remove(&[group]);
        if let Some(name) = choice.name {
            composer.group(&library, group, &name, choice.place.as_ref());
        }
    }
    composer.apply_values();
    composer.finish().map(|(config, _)| config)
}

/// A choice of a group's file.
#[derive(Debug, Clone)]
struct Choice {
    group: String,
    /// None: the program's defaults.
    name: Option<String>,
    place: Option<Place>,
}

fn find_choice(choices: &[Choice], group: &str) -> Option<Choice> {
    choices.iter().rev().find(|choice| choice.group == group).cloned()
}

/// The tree under construction, and what went wrong so far.
struct Composer {
    overrides: Vec<Override>,
    tree: Node,
    problems: Vec<Problem>,
    /// Sections that could not be composed: nothing more is said about them.
    broken: Vec<String>,
}

impl Composer {
    fn new(overrides: &[String]) -> Self {
        let mut composer = Self {
            overrides: Vec::new(),
            tree: Node::map(Map::default(), None),
            problems: Vec::new(),
            broken: Vec::new(),
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
    fn chosen(&self, group: &str) -> Option<Choice> {
        let choices = self.overrides.iter().rev().filter_map(|over| {
            let (of, name) = over.choice()?;
            let place = over.value.place.clone();
            (of == group).then(|| Choice { group: of.into(), name: name.map(str::to_owned), place })
        });
        choices.into_iter().next()
    }

    /// A file as a section.
    fn file(&mut self, source: Result<Arc<Source>, Problem>) -> Option<Map> {
        let read = source.and_then(|source| match read(&source)? {
            Node { value: Value::Map(map), .. } => Ok(map),
            node if node.is_null() => Ok(Map::default()),
            node => Err(not_a_section(&source.kind.to_string(), &node)),
        });
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Takes `defaults` out of a file and reads it as choices.
    fn defaults(&mut self, file: &mut Map, with_experiment: bool) -> Vec<Choice> {
        let Some(entry) = file.remove("defaults") else { return Vec::new() };
        let Value::Map(map) = entry.node.value else {
            if !entry.node.is_null() {
                self.problems.push(
                    Problem::new(format!("`defaults` must be a section, not {}", entry.node.describe()))
                        .at(entry.node.place.as_ref())
                        .hint("write one `group: name` a line"),
                );
            }
            return Vec::new();
        };
        let mut choices = Vec::new();
        for entry in map.entries {
            let known: Vec<&str> = section_groups().chain(with_experiment.then_some("experiment")).collect();
            if !known.contains(&entry.key.as_str()) {
                let problem = Problem::new(format!("`{}` is not a group", printable(&entry.key, 60)));
                let hint = choice_hint(&entry.key, known.iter().copied());
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
    fn group(&mut self, library: &Library, group: &str, name: &str, place: Option<&Place>) {
        match self.file(library.find(group, name, place)) {
            Some(map) => self.tree.set(&[group], Node::map(map, place.cloned()), place.cloned()),
            None => self.broken.push(group.to_owned()),
        }
    }

    /// Lays the values of a file over the tree.
    fn layer(&mut self, mut file: Map) {
        let known = reference("", "");
        // A section whose keys are all commented out.
        file.entries.retain(|entry| {
            !(entry.node.is_null() && known.get(&[&entry.key]).is_some_and(|node| node.as_map().is_some()))
        });
        self.keeping_tags(|tree| tree.merge(Node::map(file, None)));
    }

    /// Runs a change of the tree, and notes if it renames a tagged section in place: the values that the section
    /// already had would be another method's.
    fn keeping_tags(&mut self, change: impl FnOnce(&mut Node)) {
        let name = |tree: &Node, section: &str| tag(tree, section).map(str::to_owned);
        let before = TAGGED_SECTIONS.map(|section| name(&self.tree, section));
        change(&mut self.tree);
        for (section, before) in TAGGED_SECTIONS.into_iter().zip(before) {
            let after = name(&self.tree, section);
            let (Some(before), Some(after)) = (before, after) else { continue };
            let known = tag_names(section).contains(&after.as_str());
            if before != after && known && !self.is_broken(section) {
                let place = self.tree.get(&[section, "name"]).and_then(|node| node.place.clone());
                self.problems.push(
                    Problem::new(format!(
                        "`{section}.name` is `{before}` by its group and cannot become `{after}` here"
                    ))
                    .at(place.as_ref())
                    .hint(format!(
                        "choose the group: `{section}={after}`, or `{section}: {after}` under `defaults`"
                    )),
                );
                self.broken.push(section.to_owned());
            }
        }
    }

    fn is_broken(&self, key: &str) -> bool {
        let section = key.split('.').next().unwrap_or(key);
        self.broken.iter().any(|broken| broken == section)
    }

    /// Applies all overrides that are not choices of groups.
    fn apply_values(&mut self) {
        let known =
            reference(tag(&self.tree, "method").unwrap_or(""), tag(&self.tree, "optimizer").unwrap_or(""));
        for over in std::mem::take(&mut self.overrides) {
            if over.choice().is_some() || self.is_broken(&over.key) {
                continue;
            }
            match self.check_override(&over, &known) {
                Ok(()) => self.apply(over, &known),
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    fn check_override(&self, over: &Override, known: &Node) -> Result<(), Problem> {
        let path = split_key(&over.key);
        let place = Some(&over.key_place);
        if let Some((section, name, entries)) = self.open_entry(&path, known) {
            let exists = entries.contains(&name);
            if !exists && matches!(over.operation, Operation::Set | Operation::Delete) {
                let named = printable(name, 60);
                let there = listed(entries.iter().copied());
                let hint = format!("there are {there}; `+{}=...` adds one", printable(&over.key, 60));
                return Err(Problem::new(format!("`{section}` has no `{named}`")).at(place).hint(hint));
            }
            let key = path.get(3..).unwrap_or_default();
            let entry = crate::reference::open_entry();
            if !key.is_empty() && entry.get(key).is_none() {
                let keys = entry.as_map().map(|map| map.keys().collect::<Vec<_>>()).unwrap_or_default();
                let hint = choice_hint(&key.join("."), keys);
                let shown = printable(&over.key, 80);
                return Err(Problem::new(format!("`{shown}` is not a setting")).at(place).hint(hint));
            }
        } else if known.get(&path).is_none() {
            // Below a value, or nowhere.
            if let Some(length) = known.blocked_at(&path) {
                let value = path.get(..length).unwrap_or_default().join(".");
                return Err(Problem::new(format!("`{value}` is a value and has no keys below it")).at(place));
            }
            return Err(unknown_key(&over.key, known).at(place));
        }
        let set = self.tree.get(&path).or_else(|| known.get(&path)).filter(|node| !node.is_null());
        if let (Operation::Add, Some(node)) = (over.operation, set) {
            let optional_section = over.key == "data.generate" && self.tree.get(&path).is_none();
            if !optional_section {
                let problem = Problem::new(format!("`{}` is set already, to {}", over.key, node.describe()));
                return Err(problem
                    .at(place)
                    .hint(format!("leave out the `+`, or write `++{}=...`", over.key)));
            }
        }
        Ok(())
    }

    /// Section, key and existing keys, where a path leads into a section whose keys the user names.
    fn open_entry<'a>(
        &'a self,
        path: &[&'a str],
        known: &'a Node,
    ) -> Option<(String, &'a str, Vec<&'a str>)> {
        let (section, name) = (path.get(..2)?, path.get(2)?);
        let dotted = section.join(".");
        let node = self.tree.get(section).or_else(|| known.get(section))?;
        let names = node.as_map().map(|map| map.keys().collect()).unwrap_or_default();
        is_open(&dotted).then_some((dotted, *name, names))
    }

    fn apply(&mut self, over: Override, known: &Node) {
        let path = split_key(&over.key);
        // An open section that only the program's defaults hold is written out before one of its entries changes.
        if let Some(section) = path.get(..2).filter(|section| is_open(&section.join("."))) {
            if self.tree.get(section).is_none() {
                if let Some(defaults) = known.get(section) {
                    self.tree.set(section, defaults.clone(), None);
                }
            }
        }
        if over.operation == Operation::Delete {
            self.tree.remove(&path);
            return;
        }
        if let Some(length) = self.tree.blocked_at(&path) {
            let value = path.get(..length).unwrap_or_default().join(".");
            let problem = Problem::new(format!("`{value}` is a value and has no keys below it"));
            self.problems.push(problem.at(Some(&over.key_place)));
            return;
        }
        self.keeping_tags(|tree| tree.set(&path, over.value.clone(), Some(over.key_place.clone())));
    }

    /// Types and checks.
    fn finish(mut self) -> Result<(RunConfig, Node), ConfigErrors> {
        for section in &self.broken {
            self.tree.remove(&[section]);
        }
        let mut decoded = decode(self.tree.clone());
        self.problems.append(&mut decoded.problems);
        self.broken.append(&mut decoded.broken);
        for conflict in validate(&decoded.config) {
            let related = |key: &str, broken: &String| {
                key == broken
                    || key.starts_with(&format!("{broken}."))
                    || broken.starts_with(&format!("{key}."))
            };
            let unread =
                conflict.keys.iter().any(|key| self.broken.iter().any(|broken| related(key, broken)));
            if !unread {
                self.problems.extend(located(conflict, &self.tree));
            }
        }
        if self.problems.is_empty() {
            Ok((decoded.config, self.tree))
        } else {
            Err(ConfigErrors::new(self.problems))
        }
    }
}

/// A conflict with the places of its values.
fn located(conflict: Conflict, tree: &Node) -> Option<Problem> {
    let place = |key: &str| tree.get(&split_key(key)).and_then(|node| node.place.as_ref());
    let first = conflict.keys.first()?;
    let typed = place(first).is_some_and(|place| matches!(place.source.kind, SourceKind::Override(_)));
    if conflict.only_if_typed && !typed {
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

fn not_a_section(name: &str, node: &Node) -> Problem {
    Problem::new(format!("{name} must hold `key: value` lines, not {}", node.describe()))
        .at(node.place.as_ref())
}
