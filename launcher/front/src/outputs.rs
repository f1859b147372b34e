//! Files that a verb writes at its end: whether that will be possible is found before the work.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::exit::Exit;
use crate::failure::Failure;

/// Looks whether a file can be written at `path`, which `option` names; makes and changes nothing.
///
/// # Errors
/// It is a folder, its folder does not exist, or permissions forbid it.
pub fn check_output(option: &str, path: &Path) -> Result<(), Failure> {
    let refuse = |what: String, hint: &str| {
        Err(Failure::agreed(
            Exit::Usage,
            format!("`{option} {}`: {what}", path.display()),
            Some(hint.to_owned()),
        ))
    };
    if path.as_os_str().is_empty() || path.file_name().is_none() || path.is_dir() {
        return refuse("that is a folder".to_owned(), "name a file in it");
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return refuse(format!("there is no folder `{}`", folder.display()), "make the folder first");
    }
    let place = if path.exists() { path } else { folder };
    if let Err(error) = access(place, AccessFlags::W_OK) {
        let what = format!("`{}` cannot be written to: {}", place.display(), error.desc());
        return refuse(what, "change the permissions, or name a file elsewhere");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_written_are_refused_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.json");
        std::fs::write(&there, "old").unwrap();
        assert_eq!(check_output("--json", &there), Ok(()));
        assert_eq!(check_output("--json", &folder.path().join("new.json")), Ok(()));
        assert_eq!(check_output("--json", Path::new("new.json")), Ok(()));
        assert!(!folder.path().join("new.json").exists());
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "old");
        let said = |path: &Path| check_output("--out", path).unwrap_err().message;
        assert!(said(folder.path()).ends_with("that is a folder"));
        assert!(said(&folder.path().join("no/new")).contains("there is no folder"));
        assert!(said(&there.join("new")).contains("there is no folder"));
        for odd in ["", "/", "..", "a/.."] {
            assert!(said(Path::new(odd)).ends_with("that is a folder"), "{odd}");
        }
        // To root nothing is forbidden.
        if !nix::unistd::geteuid().is_root() {
            assert!(said(Path::new("/proc/new")).contains("cannot be written"));
        }
    }
}
