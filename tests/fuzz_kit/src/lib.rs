//! What a parser of outside bytes must keep to, whatever it is given: no panic, memory within a small factor of the input,
//! nothing written. A [`Target`] names a parser, valid inputs and its allowance; [`check`] runs it on one input.
//! Fuzzers call [`check`] with what they find, and the ordinary test suites call [`holds_for_mutations`], so both prove
//! the same thing.
//!
//! The binary that checks must install [`Counting`] as its allocator.
#![allow(clippy::expect_used, clippy::panic, reason = "a check fails by panicking")]

mod allocations;
mod input_file;
mod mutation;
mod target;
mod writes;

pub use allocations::Counting;
pub use mutation::{all_hold, holds_for_mutations};
pub use target::{Parse, Target, check};
