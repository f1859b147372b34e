//! Alarms: rules over the metrics that a run records. Pure functions without tensors, files or clock, so that what was recorded
//! once can be judged again: rules say whether what was measured is evidence ([`judge_evaluation`], [`judge_step`]), and
//! [`AlarmStates`] raises an alarm after enough evidence in a row. What is done about it, the coordinator decides.

mod facts;
mod rules;
mod states;
mod words;

pub use facts::{AlarmFacts, Measured, Score};
pub use rules::{judge_evaluation, judge_step};
pub use states::{AlarmEvent, AlarmStates, Judgement, Raised};
pub use words::Consequence;

#[cfg(test)]
mod recorded;
