//! Writes the libtorch folder into the program that trains (rpath), so that it runs with no variable set, also when copied,
//! and the commit that it was built from.

use std::path::Path;
use std::process::Command;

/// What the program is made of, below the workspace.
const SOURCES: [&str; 4] = ["comm", "configs", "launcher", "trainer"];

fn main() {
    let Ok(lib) = std::env::var("DEP_DTRAIN_TORCH_LIBTORCH") else {
        println!("cargo::error=the build of dtrain-trainer gave no libtorch folder");
        return;
    };
    println!("cargo:rustc-link-arg-bin=dtrain-worker=-Wl,-rpath,{lib}");
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(revision) = revision() {
        println!("cargo:rustc-env=DTRAIN_BUILD_REVISION={revision}");
    }
}

/// `DTRAIN_GIT_REVISION`, which a packager may set, else the commit of this repository, with `-dirty` behind it where the
/// sources are others.
fn revision() -> Option<String> {
    println!("cargo:rerun-if-env-changed=DTRAIN_GIT_REVISION");
    if let Ok(revision) = std::env::var("DTRAIN_GIT_REVISION") {
        return Some(revision).filter(|revision| !revision.is_empty());
    }
    let common = git(&["rev-parse", "--git-common-dir"])?;
    let watched = [
        git(&["rev-parse", "--git-path", "HEAD"])?,
        format!("{common}/refs/heads"),
        format!("{common}/packed-refs"),
    ];
    let sources = SOURCES.iter().map(|folder| format!("../{folder}"));
    for path in watched.into_iter().chain(sources).filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let sources = SOURCES.map(|folder| format!("../{folder}"));
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(sources.iter().map(String::as_str));
    let is_dirty = !git(&status)?.is_empty();
    Some(if is_dirty { format!("{commit}-dirty") } else { commit })
}

/// What git says; `None` where there is no git, or no repository.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
