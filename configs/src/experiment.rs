//! An experiment as it is composed: its own values over those of the experiment that it is based on.
//!
//! The whole settings of a run, as its `config.yaml` holds them, are an experiment too. They choose no group, since they
//! have every value of each section, and where their run lives is not taken over: what is begun with them is a new run.

use std::path::PathBuf;
use std::sync::Arc;

use crate::builtin::{Library, section_groups};
use crate::composer::{Choice, Composer, find_choice, without_empty_sections};
use crate::error::Problem;
use crate::node::{Map, Node};
use crate::renamed::drop_shared_settings;
use crate::source::{Place, Source, SourceKind};

/// The key that names what an experiment is based on.
pub(crate) const BASE: &str = "base";

/// Sections of a run's settings that are about that run and not about the recipe.
const OF_ONE_RUN: [&[&str]; 2] = [&["run"], &["schedule", "made_for"]];

/// An experiment with all that it is based on.
#[derive(Debug, Default)]
pub(crate) struct Experiment {
    /// Its settings.
    pub values: Map,
    /// The files of groups that it chooses; a later choice counts.
    pub choices: Vec<Choice>,
    /// Whether the values hold every section whole, so that no group's file goes below those that nobody chooses.
    pub is_whole: bool,
}

impl Experiment {
    /// The file that the experiment wants below its values of a section. `usual` are the choices of an experiment that says
    /// nothing.
    pub fn choice(&self, group: &str, usual: &[Choice]) -> Option<Choice> {
        let usual = || find_choice(usual, group).filter(|_| !self.is_whole);
        find_choice(&self.choices, group).or_else(usual)
    }

    /// Lays an experiment over the one that it is based on. As on the command line, another file for a section drops what
    /// the base had set there.
    fn over(self, mut base: Experiment, usual: &[Choice]) -> Self {
        for choice in &self.choices {
            let before = base.choice(&choice.group, usual);
            if before.is_none_or(|before| before.name != choice.name) {
                base.values.remove(&choice.group);
            }
        }
        // A name is that of the file which holds it.
        base.values.remove("experiment");
        base.values.merge(self.values);
        base.choices.extend(self.choices);
        base
    }
}

/// A file of the chain, and the line that names the next one.
struct Link {
    file: File,
    base: Option<(String, Option<Place>)>,
    experiment: Experiment,
}

/// What tells files apart, however they are named.
#[derive(PartialEq)]
enum File {
    Builtin(String),
    Path(PathBuf),
    Typed,
}

impl File {
    fn of(source: &Source) -> Self {
        match &source.kind {
            SourceKind::Builtin(name) => File::Builtin(name.clone()),
            SourceKind::File(path) => {
                File::Path(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
            }
            SourceKind::Override(_) => File::Typed,
        }
    }
}

impl Composer {
    /// Reads an experiment and all that it is based on; `None` when that failed, which is noted. `usual` are the choices of
    /// an experiment that says nothing.
    pub fn experiment(
        &mut self,
        library: &Library,
        name: &str,
        place: Option<&Place>,
        usual: &[Choice],
    ) -> Option<Experiment> {
        let mut links: Vec<Link> = Vec::new();
        let mut next = Some((name.to_owned(), place.cloned()));
        while let Some((name, place)) = next {
            let found = self.base_source(library, &links, &name, place.as_ref())?;
            let file = File::of(&found);
            if let Some(first) = links.iter().position(|link| link.file == file) {
                self.problems.push(circle(links.get(first..).unwrap_or_default()));
                return None;
            }
            let link = self.link(file, found)?;
            next = link.base.clone();
            links.push(link);
        }
        let whole = links.into_iter().rev().map(|link| link.experiment);
        whole.reduce(|base, experiment| experiment.over(base, usual))
    }

    /// The file of a name. A user's file that shadows one of the program may be based on it, by their common name.
    fn base_source(
        &mut self,
        library: &Library,
        links: &[Link],
        name: &str,
        place: Option<&Place>,
    ) -> Option<Arc<Source>> {
        let found = library.find("experiment", name, place).map(|found| {
            let names_itself = links.last().is_some_and(|link| link.file == File::of(&found));
            let below = library.builtin("experiment", name).filter(|_| names_itself);
            below.unwrap_or(found)
        });
        found.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn link(&mut self, file: File, source: Arc<Source>) -> Option<Link> {
        let mut values = self.file(Ok(source))?;
        let named = values.remove(BASE).map(|entry| entry.node).filter(|node| !node.is_null());
        let base = match named {
            None => None,
            Some(node) => match node.as_text().filter(|name| !name.is_empty()) {
                Some(name) => Some((name.to_owned(), node.place.clone())),
                None => {
                    let problem =
                        Problem::new(format!("`base` must name one experiment, not {}", node.describe()));
                    let hint = "`base: simclr_fsdd`, or a path to a YAML file; that one may have a base too";
                    self.problems.push(problem.at(node.place.as_ref()).hint(hint));
                    return None;
                }
            },
        };
        let is_whole = base.is_none()
            && values.get("defaults").is_none()
            && section_groups()
                .all(|group| values.get(group).is_some_and(|section| section.as_map().is_some()));
        let choices = self.defaults(&mut values, false);
        let mut values = without_empty_sections(values);
        if is_whole {
            let mut tree = Node::map(values, None);
            for path in OF_ONE_RUN {
                tree.remove(path);
            }
            drop_shared_settings(&mut tree);
            values = tree.as_map().cloned().unwrap_or_default();
        }
        Some(Link { file, base, experiment: Experiment { values, choices, is_whole } })
    }
}

/// Experiments of which the last is based on the first.
fn circle(links: &[Link]) -> Problem {
    let problem = match links {
        [_] => Problem::new("an experiment is based on itself"),
        _ => Problem::new("experiments are based on each other in a circle"),
    };
    let lines = links.iter().filter_map(|link| link.base.as_ref()?.1.as_ref());
    let problem = lines.fold(problem, |problem, line| problem.at(Some(line)));
    problem.hint("leave out the `base` that is wrong, or name another experiment there")
}
