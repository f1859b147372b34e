//! Sweeps: many runs of one plan, in one folder, by any number of workers that see it.
//!
//! | file | what |
//! |---|---|
//! | [`folder`] | the paths of a sweep's folder |
//! | [`make`] | from a study to a plan, every trial composed and checked |
//! | [`plan`] | the plan's file |
//! | [`owner`], [`tokens`] | who runs which trial, and how that is taken over from who is gone |
//! | [`slots`], [`trial`] | places on this machine, and the process of a trial |
//! | [`worker`] | takes trials and runs them |
//! | [`curve`], [`halving`] | what a trial has measured so far, and whether it goes on at a rung |
//! | [`choose`] | what a stage hands on |
//! | [`table`] | how the trials stand |
//! | [`report`] | what has been found |

pub(crate) mod choose;
mod curve;
pub(crate) mod ending;
pub(crate) mod extend;
pub(crate) mod folder;
mod halving;
pub(crate) mod make;
mod owner;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod slots;
pub(crate) mod table;
pub(crate) mod tokens;
pub(crate) mod trial;
pub(crate) mod worker;
