//! Whole-program tests: one file for each thing that they prove.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod checkpoints;
mod faults;
mod first_light;
mod heads;
mod image_sets;
mod imports;
mod launch;
mod pack;
mod phases;
mod ranks_equal_one;
mod resume_exact;
mod signals;
mod slurm_command;
mod slurm_jobs;
mod slurm_losses;
mod slurm_scripts;
mod small_runs;
mod stopping;
mod transports;
mod verify_equivalence;
mod verify_resume;
mod watchdog;
