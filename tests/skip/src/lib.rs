//! A test that needs what this machine lacks returns early, and libtest counts it as passed. [`skipped`] says so at
//! once, past the capture of output, and again in the summary of `scripts/test.sh`. [`is_long`] is the same for proofs
//! that take minutes.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The folder in which `scripts/test.sh` collects what the tests tell it.
const RECORD: &str = "DTRAIN_TEST_RECORD";
/// Set by `scripts/test.sh --long`.
const LONG: &str = "DTRAIN_TEST_LONG";

/// Says that the calling test, or a part of it, did not run, and what would let it run.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Nothing is left to report to when standard error is gone.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    record("skipped", test, why);
}

/// Whether proofs that take minutes are wanted; if not, it is said that the calling test was left out.
#[must_use]
pub fn is_long() -> bool {
    let wanted = std::env::var_os(LONG).is_some_and(|value| value == "1");
    if !wanted {
        record("long", std::thread::current().name().unwrap_or("a test"), "DTRAIN_TEST_LONG=1 runs it");
    }
    wanted
}

fn record(file: &str, test: &str, why: &str) {
    let Some(folder) = std::env::var_os(RECORD) else { return };
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    // A record that cannot be written must not pass for a complete one: `scripts/test.sh` made the folder.
    if let Err(error) = note(&Path::new(&folder).join(file), &package, test, why) {
        let _ = writeln!(std::io::stderr(), "`{}`: {error}", folder.display());
        std::process::abort();
    }
}

/// Appends a line of three columns; one write, so that lines of several processes do not mix.
fn note(file: &Path, package: &str, test: &str, why: &str) -> std::io::Result<()> {
    let line = [why, package, test].map(|text| text.replace(['\t', '\n'], " ")).join("\t") + "\n";
    File::options().create(true).append(true).open(file)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn notes_are_lines_of_three_columns() {
        let folder = std::env::temp_dir().join(format!("dtrain-test-skip-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        note(&folder.join("skipped"), "dtrain-comm", "world::a", "no `mpirun`\nat all").unwrap();
        note(&folder.join("skipped"), "dtrain-tests", "disk::b", "needs\troot").unwrap();
        let written = std::fs::read_to_string(folder.join("skipped")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(written, "no `mpirun` at all\tdtrain-comm\tworld::a\nneeds root\tdtrain-tests\tdisk::b\n");
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        assert!(note(Path::new("/nonexistent/skipped"), "p", "t", "w").is_err());
    }
}
