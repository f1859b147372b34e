//! Helpers for whole-program tests: real processes in folders of their own, with nothing of the caller's environment
//! that could change what they do.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking"
)]

mod compare;
mod dice;
mod footprint;
mod import_rule;
mod job;
mod moments;
mod processes;
mod program;
mod recordings;
mod run_files;
mod sandbox;
mod slurm_conf;
mod slurm_lab;
pub mod soak;

pub use compare::{differences, result_text};
pub use dice::Dice;
pub use footprint::Footprint;
pub use import_rule::{Import, Layout, Violation, check_imports, imports_of};
pub use job::{Finished, Job, Running};
pub use moments::{Processes, Victim, came, is_evaluating, is_saving, recorded_step, shared_memory_files};
pub use processes::{is_alive, send};
pub use program::{dtrain_binary, workspace_root};
pub use recordings::{write_classes, write_float_wav, write_wav};
pub use run_files::{MetricsLine, RunFiles, Weights};
pub use sandbox::Sandbox;
pub use slurm_lab::{JobInfo, SlurmLab};

/// Says, past the capture of a test's output, that a test or a part of it did not run.
pub fn skipped(why: &str) {
    // Nothing is left to report to when standard error is gone.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {why}\n"));
}
