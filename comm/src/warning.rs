//! Something the user should know although the run goes on.

use std::fmt;

/// What is unusual, and what silences or fixes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// One sentence in lower case.
    pub what: String,
    /// The next step.
    pub hint: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.hint)
    }
}
