//! The soak: many runs, each killed many times at planned and random moments, each compared with the undisturbed run.

mod figures;
mod kill;
mod plan;
mod run;
mod settings;
mod watch;

pub use figures::Figures;
pub use plan::{Kill, Moment, RunPlan, Supervision, plan};
pub use run::{Reference, RunOutcome, soak_run};
pub use settings::small_method;
