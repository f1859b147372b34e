//! From files and overrides to one configuration.
//!
//! Later layers win: defaults of the program, group files, values in `train.yaml`, values in the experiment and before
//! them those of its base, overrides. Groups are chosen by `train.yaml`, then by the `defaults` of the experiment's base and
//! of the experiment, then by the command line.
//!
//! One departure from Hydra: values that an experiment gives to a section belong to the group that it chose. When the
//! command line chooses another one (`experiment=supcon_fsdd method=simclr`), or an experiment another one than its base,
//! they are left out, and the section starts from that group's file; Hydra would put SupCon's settings into SimCLR.

use std::path::Path;

use crate::builtin::{ComposeOptions, Library, read_file, section_groups};
use crate::composer::{Choice, Composer, find_choice, not_a_section};
use crate::error::{ConfigErrors, Problem};
use crate::experiment::Experiment;
use crate::node::Node;
use crate::origins::Origins;
use crate::read::read;
use crate::renamed::{drop_shared_settings, rename};
use crate::rollback;
use crate::scalar::Scalar;
use crate::schema::RunConfig;
use crate::source::Place;
use crate::yaml;

/// A composed configuration and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Composition {
    /// The settings.
    pub config: RunConfig,
    /// Group and chosen file, in the order of the sections; experiment first.
    pub choices: Vec<(String, String)>,
    /// Where each value was written.
    pub origins: Origins,
}

impl Composition {
    /// The whole tree as YAML, with the origin of each value as a comment if asked.
    pub fn render(&self, with_origins: bool) -> String {
        if with_origins {
            yaml::with_origins(&self.config, &self.origins)
        } else {
            yaml::to_yaml(&self.config)
        }
    }

    /// Where a key such as `trainer.batch_size` was written; `None`: it has the program's default.
    pub fn origin(&self, key: &str) -> Option<String> {
        self.origins.place(key).map(Place::brief)
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
    let mut experiment = Experiment::default();
    let mut choices = Vec::new();
    if let Some((name, place)) = chosen.and_then(|choice| choice.name.map(|name| (name, choice.place))) {
        match composer.experiment(&library, &name, place.as_ref(), &root_choices) {
            Some(found) => experiment = found,
            None => composer.broken.extend(section_groups().map(str::to_owned)),
        }
        // The settings of a run name the experiment that they began as.
        if !experiment.is_whole || experiment.values.get("experiment").is_none() {
            let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(&name);
            composer.tree.set(&["experiment"], Node::scalar(Scalar::quoted(stem), place), None);
        }
        choices.push(("experiment".to_owned(), name));
    }

    // The groups.
    for group in section_groups() {
        let usual = experiment.choice(group, &root_choices);
        let from_command_line = composer.chosen(group);
        let usual_name = usual.as_ref().map(|choice| &choice.name);
        if from_command_line.as_ref().is_some_and(|choice| Some(&choice.name) != usual_name) {
            experiment.values.remove(group);
        }
        let Some(Choice { name: Some(name), place, .. }) = from_command_line.or(usual) else { continue };
        composer.group(&library, group, &name, place.as_ref());
        choices.push((group.to_owned(), name));
    }

    composer.layer(root);
    composer.layer(experiment.values);
    composer.own_files_ask = composer.chosen("data").is_none() && !experiment.is_whole;
    composer.apply_values();
    let (config, origins) = composer.finish()?;
    rollback::check(&config, &origins)?;
    Ok(Composition { config, choices, origins })
}

/// Reads a run's `config.yaml` (or the one in a run directory). Missing keys take the program's defaults.
///
/// # Errors
/// As for [`compose`].
pub fn load(path: &Path) -> Result<RunConfig, ConfigErrors> {
    load_with_overrides(path, &[]).map(|(config, _)| config)
}

/// As [`load`], with overrides on top. A group choice replaces the whole section by that of the program.
///
/// # Errors
/// As for [`compose`].
pub fn load_with_overrides(path: &Path, overrides: &[String]) -> Result<(RunConfig, Origins), ConfigErrors> {
    load_with(path, overrides, &ComposeOptions::default())
}

/// As [`load_with_overrides`], with groups of a user's folder too.
///
/// # Errors
/// As for [`compose`].
pub fn load_with(
    path: &Path,
    overrides: &[String],
    options: &ComposeOptions,
) -> Result<(RunConfig, Origins), ConfigErrors> {
    let path = if path.is_dir() { path.join("config.yaml") } else { path.to_owned() };
    let library = Library::open(options)?;
    let mut composer = Composer::new(overrides);
    let source = read_file(&path)?;
    let tree = read(&source)?;
    if tree.as_map().is_none() {
        return Err(not_a_section(&source.kind.to_string(), &tree).into());
    }
    composer.tree = tree;
    rename(&mut composer.tree);
    drop_shared_settings(&mut composer.tree);
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
    let (config, origins) = composer.finish()?;
    rollback::check(&config, &origins)?;
    Ok((config, origins))
}
