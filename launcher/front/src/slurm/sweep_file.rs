//! A file with the settings of one run a line. slurm/array.sbatch reads the same file with `xargs`, so words are split
//! here as there: blanks separate, both kinds of quotes hold together, a backslash outside of quotes takes the next
//! character as it is.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// The runs of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFile {
    /// At least one.
    pub runs: Vec<SweepRun>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepRun {
    /// Line in the file, from 1, empty lines and comments included.
    pub line: usize,
    /// Settings.
    pub settings: Vec<String>,
}

/// Why a file is no sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepFileError {
    /// It cannot be read.
    #[error("the sweep file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is not a list of settings.
    #[error("`{}` has more than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It has no run.
    #[error("`{}` holds no settings", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A quote is open at the end of a line.
    #[error("line {line} of `{}` ends within quotes: {text}", path.display())]
    OpenQuote {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

impl SweepFileError {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) | Self::TooLarge { .. } => {
                "give a text file with the settings of one run a line, such as `optimizer.lr=0.001 seed=1`"
            }
            Self::Empty { .. } => {
                "write the settings of one run a line; empty lines and lines that begin with `#` do not count"
            }
            Self::OpenQuote { .. } => "close the quotes, or put a backslash before the sign",
        }
    }
}

impl SweepFile {
    /// Reads `path`.
    ///
    /// # Errors
    /// The file cannot be read, holds no run, or a line cannot be split into words.
    pub fn read(path: &Path) -> Result<Self, SweepFileError> {
        let mut text = String::new();
        fs_err::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(SweepFileError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SweepFileError> {
        let mut runs = Vec::new();
        // Editors of Windows begin a file with a mark.
        for (index, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = index + 1;
            let start = text.trim_start();
            if start.is_empty() || start.starts_with('#') {
                continue;
            }
            let settings = words(text).ok_or_else(|| SweepFileError::OpenQuote {
                path: path.to_owned(),
                line,
                text: text.to_owned(),
            })?;
            runs.push(SweepRun { line, settings });
        }
        if runs.is_empty() { Err(SweepFileError::Empty { path: path.to_owned() }) } else { Ok(Self { runs }) }
    }
}

/// The words of a line; `None` if a quote or a backslash is open at its end.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match signs.next()? {
                        end if end == sign => break,
                        inner => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(signs.next()?),
            ' ' | '\t' => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SweepFile, String> {
        SweepFile::parse(text, Path::new("sweep.txt")).map_err(|error| error.to_string())
    }

    #[test]
    fn runs_know_their_lines() {
        let sweep =
            parse("\u{feff}# learning rates\n\noptimizer.lr=0.1  seed=1\r\n\t# more\n tags=[a,b]\n").unwrap();
        let runs: Vec<(usize, Vec<&str>)> = sweep
            .runs
            .iter()
            .map(|run| (run.line, run.settings.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(runs, [(3, vec!["optimizer.lr=0.1", "seed=1"]), (5, vec!["tags=[a,b]"])]);
    }

    #[test]
    fn files_without_runs_and_open_quotes_are_refused() {
        for text in ["", "\n\n", "# nothing\n"] {
            assert_eq!(parse(text).unwrap_err(), "`sweep.txt` holds no settings");
        }
        assert_eq!(
            parse("seed=1\ndata.root='my data\n").unwrap_err(),
            "line 2 of `sweep.txt` ends within quotes: data.root='my data"
        );
        assert!(parse("seed=1\\").is_err());
    }

    /// What the batch script does with a line.
    #[test]
    fn words_are_those_of_xargs() {
        for line in [
            "a=1 b=2",
            "  a=1\t b=2  ",
            r#"data.root="my data" tags='[a, b]'"#,
            r#"a="it's" b='say "x"' c=x"y z"w"#,
            r"data.root=my\ data a=\'b\' c=\\",
            r#"a="back\slash" b='x\y'"#,
            "~trainer.grad_clip +x=$HOME `id` $(id) ; * # no comment",
        ] {
            let script = "printf '%s' \"$1\" | xargs -n 1 printf '%s\\n'";
            let output =
                std::process::Command::new("bash").args(["-c", script, "bash", line]).output().unwrap();
            assert!(output.status.success(), "{line}");
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(words(line).unwrap(), printed.lines().collect::<Vec<_>>(), "{line}");
        }
    }
}
