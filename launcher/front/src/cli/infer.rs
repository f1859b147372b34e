//! `dtrain infer`.

use std::path::PathBuf;

use clap::Args;
use dtrain_configs::shell_path;

use super::ConfigDir;

/// What can be typed after `dtrain infer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain infer runs/first field/*.wav more_recordings --out predictions.csv
  mpirun -n 2 dtrain infer runs/first --part test --top 3 --out test.csv

A row for each file, in the order of the files: its path, and for each head the predicted class and its probability;
with --part also the true class. The table is CSV with a header.")]
pub struct InferArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Recordings, folders of recordings, or a folder with a set of images; and settings to change
    #[arg(value_name = "FILE | KEY=VALUE")]
    pub words: Vec<String>,
    /// A part of the run's own data in place of files: train, val, test, one that the data bring under a name of its own, or
    /// all
    #[arg(long, value_name = "PART")]
    pub part: Option<String>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The K most probable classes, each with its probability
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub top: usize,
    /// A column with the probability of each class
    #[arg(long)]
    pub probabilities: bool,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

impl InferArgs {
    /// What was typed, told apart into files and settings: a setting has a `=` behind a key, and no file has that name.
    pub fn files_and_settings(&self) -> (Vec<PathBuf>, Vec<String>) {
        let is_setting = |word: &&String| {
            let is_key = |key: &str| {
                let plain = key.trim_start_matches(['+', '~']);
                !plain.is_empty() && plain.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
            };
            word.split_once('=').is_some_and(|(key, _)| is_key(key)) && !PathBuf::from(word).exists()
        };
        let (settings, files): (Vec<&String>, Vec<&String>) = self.words.iter().partition(is_setting);
        (files.into_iter().map(PathBuf::from).collect(), settings.into_iter().cloned().collect())
    }

    /// What is wrong with what is asked about, and what to write.
    pub fn problem(&self) -> Option<(String, String)> {
        let (files, _) = self.files_and_settings();
        let run = shell_path(&self.checkpoint);
        let example = format!("`dtrain infer {run} --part test --out predictions.csv`");
        if let Some(gone) = files.iter().find(|file| !file.exists()) {
            return Some((
                format!("`{}` does not exist", gone.display()),
                "name recordings or folders of them".into(),
            ));
        }
        match (files.is_empty(), &self.part) {
            (true, None) => Some((
                "there is nothing to predict for".into(),
                format!("name files, or a part of the run's data: {example}"),
            )),
            (false, Some(_)) => Some(("files and `--part` were given".into(), "choose one of them".into())),
            _ if self.top == 0 => {
                Some(("`--top` is 0".into(), "give the number of classes to list, from 1".into()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str], part: Option<&str>) -> InferArgs {
        InferArgs {
            checkpoint: "runs/a".into(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            part: part.map(str::to_owned),
            out: "out.csv".into(),
            top: 1,
            probabilities: false,
            config: ConfigDir::default(),
        }
    }

    #[test]
    fn settings_stand_among_files() {
        let (files, settings) =
            args(&["a.wav", "trainer.device=cpu", "x y=1.wav", "b"], None).files_and_settings();
        assert_eq!(files, ["a.wav", "x y=1.wav", "b"].map(PathBuf::from));
        assert_eq!(settings, ["trainer.device=cpu"]);
    }

    #[test]
    fn one_thing_is_asked_about() {
        let problem = |words: &[&str], part| args(words, part).problem().map(|(what, _)| what);
        assert_eq!(problem(&[], None).unwrap(), "there is nothing to predict for");
        assert_eq!(problem(&["seed=1"], None).unwrap(), "there is nothing to predict for");
        assert_eq!(problem(&["/"], Some("test")).unwrap(), "files and `--part` were given");
        assert_eq!(problem(&["gone.wav"], None).unwrap(), "`gone.wav` does not exist");
        assert_eq!(problem(&["/"], None), None);
        assert_eq!(problem(&["seed=1"], Some("val")), None);
    }
}
