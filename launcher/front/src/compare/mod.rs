//! Runs beside each other: what they were told differently, and what came of it.

mod groups;
mod run;
mod sheet;

pub(crate) use groups::{Comparison, compare};
pub(crate) use run::{EndedRun, Unfit, run_dirs};
