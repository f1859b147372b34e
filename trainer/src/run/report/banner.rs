//! The start banner: lines and warnings.

/// One line of the banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What the value is.
    pub name: String,
    /// The value.
    pub value: String,
    /// Why it was chosen or how it was derived; may be empty.
    pub reason: String,
}

/// What is printed before step 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Banner {
    /// In order.
    pub lines: Vec<Line>,
    /// Things to know that are not errors, each with its remedy.
    pub warnings: Vec<String>,
}

impl Banner {
    /// Adds a line.
    pub fn line(&mut self, name: &str, value: impl std::fmt::Display, reason: impl std::fmt::Display) {
        self.lines.push(Line { name: name.into(), value: value.to_string(), reason: reason.to_string() });
    }

    /// Adds a warning.
    pub fn warn(&mut self, message: impl std::fmt::Display) {
        self.warnings.push(message.to_string());
    }
}
