//! What the crate promises to its callers: one file for each thing that is proved.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod alarms;
mod augment;
mod experiments;
mod hostile_input;
mod messages;
mod moved;
mod networks;
mod phases;
mod precedence;
mod recipes;
mod schedules;
