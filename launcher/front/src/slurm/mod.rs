//! Jobs for SLURM: what is asked for is checked, put into the batch scripts of the folder `slurm/`, and printed or submitted.

mod job;
mod problem;
mod script;
mod submit;
mod sweep_file;
mod workers;

pub use job::{Job, Run};
pub use problem::report;
pub use script::{render, render_worker};
pub use submit::{SubmitError, submit};
pub use sweep_file::{SweepFile, SweepFileError};
pub use workers::{WorkerJob, max_array_size};
