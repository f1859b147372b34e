//! Whether a run that was killed and resumed ended as one that was not: everything that the two saved and recorded,
//! compared. Times are left out, and nothing else.

mod history;
mod state;
mod tensors;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::checkpoint::{CheckpointStore, Loaded, STATE_FILE, Validation};
use crate::error::TrainError;
use crate::run::RunDir;

/// Largest relative difference of weights, moments and losses where the number of ranks changed on the way. It is for fp64,
/// where sums in another order stay far below it and a sample lost or repeated far above.
pub const RESUME_TOLERANCE: f64 = 1e-8;

/// How equal two runs have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// Every bit.
    Bits,
    /// The same samples in the same steps, whose sums were rounded differently: counts exactly, values within
    /// [`RESUME_TOLERANCE`].
    Samples,
}

/// One part of what runs leave behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is called, such as `model.safetensors`.
    pub name: String,
    /// What was compared, in words.
    pub compared: String,
    /// What differs, the first finding first; empty when nothing does.
    pub differences: Vec<String>,
}

impl Part {
    fn new(name: &str, compared: impl Into<String>, differences: Vec<String>) -> Self {
        Self { name: name.to_owned(), compared: compared.into(), differences }
    }

    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares the newest checkpoints, the metrics and the results of two runs.
///
/// # Errors
/// A run without a checkpoint, and files that cannot be read.
pub fn compare_runs(
    undisturbed: &RunDir,
    resumed: &RunDir,
    strictness: Strictness,
) -> Result<Vec<Part>, TrainError> {
    let (one, other) = (newest(undisturbed)?, newest(resumed)?);
    let files: BTreeSet<&String> = one.manifest.files.keys().chain(other.manifest.files.keys()).collect();
    let mut parts = vec![manifests(&one, &other)];
    for name in files {
        let files = (one.read_file(name)?, other.read_file(name)?);
        parts.push(if name.ends_with(".safetensors") {
            tensors::compare(name, files.0, files.1, strictness)?
        } else if name == STATE_FILE {
            state::compare(&files.0, &files.1, strictness)?
        } else {
            let differences =
                if files.0 == files.1 { Vec::new() } else { vec!["the bytes differ".to_owned()] };
            Part::new(name, format!("{} bytes", files.0.len()), differences)
        });
    }
    parts.push(history::compare_metrics(undisturbed, resumed, strictness)?);
    parts.push(history::compare_results(undisturbed, resumed)?);
    Ok(parts)
}

fn newest(run: &RunDir) -> Result<Loaded, TrainError> {
    Ok(CheckpointStore::open_at(run.path(), Validation::Full)?)
}

fn manifests(one: &Loaded, other: &Loaded) -> Part {
    let mut differences = Vec::new();
    for (what, a, b) in [
        ("step", one.manifest.step, other.manifest.step),
        ("epoch", one.manifest.epoch, other.manifest.epoch),
    ] {
        if a != b {
            differences.push(format!("{what} {a} and {b}"));
        }
    }
    let names = |loaded: &Loaded| loaded.manifest.files.keys().cloned().collect::<Vec<_>>();
    if names(one) != names(other) {
        differences.push(format!("files {:?} and {:?}", names(one), names(other)));
    }
    for loaded in [one, other] {
        differences.extend(loaded.warnings.iter().map(ToString::to_string));
    }
    Part::new("checkpoint", format!("step {}", one.manifest.step), differences)
}
