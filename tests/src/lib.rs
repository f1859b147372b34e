//! Helpers for whole-program tests: real processes in folders of their own, with nothing of the caller's environment
//! that could change what they do.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking"
)]

mod bit_flip;
mod command_lines;
mod compare;
mod dice;
mod footprint;
mod howto;
mod imports;
mod job;
mod moments;
mod processes;
mod program;
mod python;
mod recordings;
mod run_files;
mod sandbox;
mod slurm_conf;
mod slurm_lab;
mod small_disk;
pub mod soak;

pub use bit_flip::flip_a_bit;
pub use command_lines::{CommandLine, command_lines, command_lines_of};
pub use compare::{differences, result_text};
pub use dice::Dice;
pub use dtrain_test_skip::{is_long, skipped};
pub use footprint::Footprint;
pub use howto::{HOWTOS, HowtoStep, howto_steps};
pub use imports::{Import, Layout, Violation, check_imports, import_circles, imports_of, rust_files};
pub use job::{Finished, Job, Running};
pub use moments::{
    Processes, Victim, bytes_in, came, has_begun_evaluating, is_evaluating, is_saving, recorded_step,
    shared_memory_files, staged_bytes,
};
pub use processes::{is_alive, send};
pub use program::{dtrain_binary, workspace_root};
pub use python::python_with;
pub use recordings::{write_classes, write_float_wav, write_wav};
pub use run_files::{MetricsLine, RunFiles, Weights};
pub use sandbox::Sandbox;
pub use slurm_lab::{JobInfo, SlurmLab};
pub use small_disk::SmallDisk;
