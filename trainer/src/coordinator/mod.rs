//! Rank 0's decisions as a pure state machine: the reports of all ranks go in, one directive comes out and is heard by
//! all. No I/O and no clock, so that no sequence of reports can make ranks part ways.
//!
//! What ends a run, the strongest first:
//!
//! 1. steps that are not finite, `trainer.max_nonfinite_steps` in a row: the run has failed, and nothing is saved;
//! 2. the user's stop request (SIGINT, `dtrain stop`), which also turns a requeue into an end that is not restarted;
//! 3. the request to be started again (SIGTERM, SIGUSR1, the time limit, `dtrain stop --requeue`);
//! 4. all steps are done;
//! 5. early stopping;
//! 6. an alarm that stops the run or takes it back.
//!
//! The first reason stays, except that the first two overrule weaker ones. A stop request is honoured before the next step, an
//! evaluation that is due waits for the resumed run, and a checkpoint of this step is written unless there is one. The
//! last three evaluate thoroughly before they save; a run that goes back does neither.

mod course;
mod decide;
mod directive;
mod phases;
mod plan;
mod report;
mod state;
mod stopping;
mod way_back;

pub use course::{Course, Leg};
pub use decide::Coordinator;
pub use directive::{Cause, Directive, SaveKind, StepPlan, StopReason};
pub use phases::{Phase, PhaseError, Phases};
pub use plan::RunPlan;
pub use report::{Interrupt, Report};
pub use state::CoordinatorState;
pub use stopping::{EarlyStop, Judged};
pub use way_back::WayBack;

#[cfg(test)]
mod properties;
