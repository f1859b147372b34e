//! What is wrong with a configuration: all problems at once, each with its place and a next step.

use std::fmt;

use crate::source::{Place, SourceKind};

/// Problems that are printed; more than this many are counted.
const MAX_PRINTED: usize = 50;

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// Where it was written; none for values that only the program's defaults hold.
    pub places: Vec<Place>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without place and hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), places: Vec::new(), hint: None }
    }

    /// Adds a place, if there is one.
    pub fn at(mut self, place: Option<&Place>) -> Self {
        if let Some(place) = place.filter(|p| !self.places.contains(p)) {
            self.places.push(place.clone());
        }
        self
    }

    /// Sets the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the next step, if there is one.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for place in &self.places {
            write!(f, "\n --> {place}\n{}", place.snippet())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration. Its `Display` is the report for the user: a first line that
/// counts, then a paragraph for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", report(.problems))]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Problems in the order in which a user fixes them: files by line, then overrides, then what only the program's
    /// own files say.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_cached_key(|problem| {
            problem.places.first().map_or((3, String::new(), 0, 0), |place| match &place.source.kind {
                SourceKind::File(path) => (0, path.display().to_string(), place.line, place.column),
                SourceKind::Override(number) => (1, String::new(), *number, place.column),
                SourceKind::Builtin(name) => (2, name.clone(), place.line, place.column),
            })
        });
        Self { problems }
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

fn report(problems: &[Problem]) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut text = format!("error: {} problem{plural} in the configuration", problems.len());
    for problem in problems.iter().take(MAX_PRINTED) {
        text.push_str("\n\n");
        text.push_str(&problem.to_string());
    }
    if problems.len() > MAX_PRINTED {
        text.push_str(&format!("\n\n... and {} more", problems.len() - MAX_PRINTED));
    }
    text
}
