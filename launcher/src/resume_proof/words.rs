//! What the child processes are told: the user's settings, and what a proof needs in addition.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Saves of a run that says nothing about them: enough for kills to fall between two, and into one.
const NUM_SAVES: u64 = 8;

/// The settings of a proof.
#[derive(Debug, Clone)]
pub struct Words {
    settings: Vec<String>,
    config_dir: Option<PathBuf>,
}

impl Words {
    /// The user's `overrides`, for `steps` steps; `in_f64` where sums will be rounded differently. What a user has set
    /// stays, apart from the length of the run and what has to be recorded.
    pub fn new(overrides: &[String], config_dir: Option<PathBuf>, steps: u64, in_f64: bool) -> Self {
        let mut settings = overrides.to_vec();
        let is_set = |key: &str| overrides.iter().any(|word| key_of(word) == key);
        if !is_set("checkpoint.every_steps") {
            settings.push(format!("checkpoint.every_steps={}", (steps / NUM_SAVES).max(1)));
        }
        if in_f64 && !is_set("trainer.precision") {
            settings.push("trainer.precision=fp64".to_owned());
        }
        // How many samples of an evaluation fit is measured by the clock of each run.
        if !is_set("eval.budget") {
            settings.push("eval.budget=0".to_owned());
        }
        settings.push("trainer.max_epochs=null".to_owned());
        settings.push(format!("trainer.max_steps={steps}"));
        settings.push("track.every_steps=1".to_owned());
        settings.push("run.resume=auto".to_owned());
        Self { settings, config_dir: config_dir.map(|dir| std::path::absolute(&dir).unwrap_or(dir)) }
    }

    /// Settings alone.
    pub fn settings(&self) -> &[String] {
        &self.settings
    }

    /// Everything up to the first step.
    pub fn check(&self) -> Vec<OsString> {
        let mut words = self.verb("train");
        words.push("--dry-run".into());
        words
    }

    /// Trains in `dir`, or goes on there.
    pub fn train(&self, dir: &Path) -> Vec<OsString> {
        let mut words = self.verb("train");
        let mut run_dir = OsString::from("run.dir=");
        run_dir.push(dir);
        words.push(run_dir);
        words
    }

    /// Goes on in `dir`.
    pub fn resume(&self, dir: &Path) -> Vec<OsString> {
        vec!["resume".into(), dir.into()]
    }

    fn verb(&self, verb: &str) -> Vec<OsString> {
        let mut words = vec![OsString::from(verb)];
        if let Some(dir) = &self.config_dir {
            words.extend(["--config-dir".into(), dir.into()]);
        }
        words.extend(self.settings.iter().map(OsString::from));
        words
    }
}

/// `++a.b=1` sets `a.b`.
fn key_of(word: &str) -> &str {
    word.trim_start_matches(['+', '~']).split('=').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(overrides: &[&str], in_f64: bool) -> String {
        let overrides: Vec<String> = overrides.iter().map(|word| (*word).to_owned()).collect();
        Words::new(&overrides, None, 40, in_f64).settings().join(" ")
    }

    #[test]
    fn what_the_user_set_stays() {
        let always =
            "eval.budget=0 trainer.max_epochs=null trainer.max_steps=40 track.every_steps=1 run.resume=auto";
        assert_eq!(words(&["seed=1"], false), format!("seed=1 checkpoint.every_steps=5 {always}"));
        assert_eq!(words(&[], true), format!("checkpoint.every_steps=5 trainer.precision=fp64 {always}"));
        let typed = ["++checkpoint.every_steps=3", "trainer.precision=fp32"];
        assert_eq!(words(&typed, true), format!("{} {always}", typed.join(" ")));
    }

    #[test]
    fn paths_pass_as_they_are() {
        let words = Words::new(&["seed=1".to_owned()], Some("/c d".into()), 8, false);
        let train = words.train(Path::new("/a b"));
        assert_eq!(train[..3], ["train", "--config-dir", "/c d"].map(OsString::from));
        assert_eq!(train.last().unwrap(), "run.dir=/a b");
        assert_eq!(words.resume(Path::new("/a b")), ["resume", "/a b"].map(OsString::from));
        assert_eq!(words.check().last().unwrap(), "--dry-run");
    }
}
