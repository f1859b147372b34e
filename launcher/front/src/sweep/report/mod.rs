//! What a sweep has found: the best settings, what each of them does, and what is best of two metrics at once.

mod effects;
mod groups;
mod pareto;
mod student;

pub(crate) use effects::{Effect, effects};
pub(crate) use groups::{Group, groups};
pub(crate) use pareto::pareto;
