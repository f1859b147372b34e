//! Where a value was written: a file or an override, line and column. Problems point there with a caret.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Longest stretch of a source line that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 100;

/// A text that settings were read from.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What the text is.
    pub kind: SourceKind,
    /// The text.
    pub text: String,
}

/// Kinds of [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A YAML file inside the program, such as `method/simclr.yaml`.
    Builtin(String),
    /// A YAML file of the user.
    File(PathBuf),
    /// An override, counted from 1.
    Override(usize),
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceKind::Builtin(name) => write!(f, "builtin {name}"),
            SourceKind::File(path) => write!(f, "{}", path.display()),
            SourceKind::Override(number) => write!(f, "override {number}"),
        }
    }
}

/// A stretch of one line of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Line, counted from 1.
    pub line: usize,
    /// First character of the stretch within the line, counted from 1.
    pub column: usize,
    /// Characters of the stretch; at least one is marked.
    pub width: usize,
}

impl Place {
    /// The whole first line of a source.
    pub fn whole(source: &Arc<Source>) -> Self {
        let width = source.text.lines().next().map_or(0, |line| line.chars().count());
        Self { source: source.clone(), line: 1, column: 1, width }
    }

    /// In a few words for the end of a line: `override 2: seed=3`, `builtin method/simclr.yaml:3`.
    pub fn brief(&self) -> String {
        match &self.source.kind {
            SourceKind::Override(_) => {
                format!("{}: {}", self.source.kind, printable(&self.source.text, MAX_SHOWN_CHARS))
            }
            kind => format!("{kind}:{}", self.line),
        }
    }

    /// The line, and below it carets under the stretch; long lines are cut out around it.
    pub fn snippet(&self) -> String {
        let line = self.source.text.lines().nth(self.line.saturating_sub(1)).unwrap_or_default();
        let start = self.column.saturating_sub(1);
        let skipped = if start + self.width.min(40) > MAX_SHOWN_CHARS { start.saturating_sub(20) } else { 0 };
        let shown = printable(&line.chars().skip(skipped).collect::<String>(), MAX_SHOWN_CHARS);
        let length = shown.chars().count();
        let indent = (start - skipped).min(length);
        let width = self.width.clamp(1, (length - indent).max(1));
        format!("  | {shown}\n  | {}{}", " ".repeat(indent), "^".repeat(width))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.kind {
            SourceKind::Override(_) => write!(f, "{}", self.source.kind),
            _ => write!(f, "{}:{}:{}", self.source.kind, self.line, self.column),
        }
    }
}

/// At most `max_chars` characters, with a space for each control character, so that text from files cannot steer
/// the terminal.
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    let mut shown: String =
        text.chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max_chars).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, column: usize, width: usize) -> Place {
        let source = Arc::new(Source { kind: SourceKind::Override(1), text: text.into() });
        Place { source, line: 1, column, width }
    }

    #[test]
    fn carets_stand_below_the_stretch() {
        assert_eq!(place("lr: abc", 5, 3).snippet(), "  | lr: abc\n  |     ^^^");
        assert_eq!(place("lr:", 4, 0).snippet(), "  | lr:\n  |    ^");
    }

    #[test]
    fn long_lines_are_cut_around_the_stretch() {
        let text = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let snippet = place(&text, 501, 4).snippet();
        let (line, carets) = snippet.split_once('\n').unwrap();
        assert!(line.chars().count() < 110);
        assert_eq!(line.find("HERE"), carets.find("^^^^"));
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert!(!place("a: \u{1b}[31mred", 4, 3).snippet().contains('\u{1b}'));
    }

    #[test]
    fn a_place_outside_the_text_still_prints() {
        let source = Arc::new(Source { kind: SourceKind::Builtin("x.yaml".into()), text: String::new() });
        let place = Place { source, line: 7, column: 9, width: 4 };
        assert_eq!(place.snippet(), "  | \n  | ^");
    }
}
