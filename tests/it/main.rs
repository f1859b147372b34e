//! Whole-program tests: one file for each thing that they prove.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod faults;
mod first_light;
mod imports;
mod pack;
mod ranks_equal_one;
mod resume_exact;
mod signals;
mod small_runs;
mod transports;
mod verify_equivalence;
mod verify_resume;
