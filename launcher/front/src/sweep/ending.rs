//! How a trial's run has ended, as its directory tells it.

use std::collections::BTreeMap;

use dtrain_configs::RunDir;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::folder::SweepDir;

/// What a run leaves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    /// Why it ended.
    pub reason: String,
    /// Optimizer steps.
    pub steps: u64,
    /// Epochs that were completed.
    pub epochs: u64,
    /// Seconds of training, over all starts.
    pub secs: f64,
    /// Last values; those that are no numbers are NaN.
    pub metrics: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct ResultFile {
    stop_reason: String,
    step: u64,
    epoch: u64,
    wall_s: f64,
    metrics: BTreeMap<String, Value>,
}

impl Ending {
    /// Of a run; `None`: it has left none that can be read.
    pub fn read(run: &RunDir) -> Option<Self> {
        let file: ResultFile = serde_json::from_slice(&std::fs::read(run.result()).ok()?).ok()?;
        Some(Self {
            reason: file.stop_reason,
            steps: file.step,
            epochs: file.epoch,
            secs: file.wall_s,
            metrics: file.metrics.into_iter().map(|(name, value)| (name, number(&value))).collect(),
        })
    }

    /// Whether the run has come to its own end.
    pub fn is_over(&self) -> bool {
        !["interrupted", "requeue", "non_finite"].contains(&self.reason.as_str())
    }
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap_or(f64::NAN),
    }
}

/// Why a trial has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    /// Exit code or signal.
    pub ended: String,
    /// What it said last.
    pub message: String,
}

impl Cause {
    /// Of a trial that has failed.
    pub fn read(dir: &SweepDir, id: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.cause(id)).ok()?).ok()
    }

    /// From the end of what it has printed: its last error, else its last line.
    pub fn find(ended: String, output: &str) -> Self {
        let lines: Vec<&str> = output.lines().collect();
        let at = lines.iter().rposition(|line| line.starts_with("error: "));
        let paragraph = at.map(|at| {
            let lines = lines.get(at..).unwrap_or_default().iter().take_while(|line| !line.trim().is_empty());
            lines.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
        });
        let last =
            || lines.iter().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned());
        let message = paragraph.or_else(last).unwrap_or_else(|| "it has printed nothing".into());
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        Self {
            ended,
            message: message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_with_what_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert_eq!(Ending::read(&run), None);
        let text = r#"{"world_size": 1, "stop_reason": "finished", "step": 9, "epoch": 3, "samples_seen": 1, "wall_s": 1.5,
            "metrics": {"val/acc": 0.5, "val/loss": "NaN"}}"#;
        std::fs::write(run.result(), text).unwrap();
        let ending = Ending::read(&run).unwrap();
        assert!(ending.is_over() && ending.metrics["val/loss"].is_nan());
        assert_eq!((ending.steps, ending.epochs, ending.metrics["val/acc"]), (9, 3, 0.5));
    }

    #[test]
    fn the_cause_is_the_last_error() {
        let find = |text: &str| Cause::find("exit code 1".into(), text).message;
        assert_eq!(
            find("a\nerror: first\n\nerror: the disk\n  is full\n\nhint: free some\nend\n"),
            "the disk is full"
        );
        assert_eq!(find("a\nlast words\n\n"), "last words");
        assert_eq!(find(""), "it has printed nothing");
    }
}
