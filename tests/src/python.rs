//! Pythons that have what a test wants to compare with.

use std::process::Command;

use dtrain_test_skip::skipped;

/// A Python that can import `module`: that of `DTRAIN_TEST_PYTHON`, else `python3`; `None`, which is said, if it cannot.
pub fn python_with(module: &str) -> Option<String> {
    let python = std::env::var("DTRAIN_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let imported = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skipped(&format!("`{python}` has no {module} (scripts/test.sh --python installs it)"));
    None
}
