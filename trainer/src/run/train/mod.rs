//! THE loop, and what each directive does: a step, an evaluation, a checkpoint, the end.

mod alarms;
mod batches;
mod budget;
mod collate;
mod conclude;
mod dropped;
mod evaluate;
mod message;
mod pace;
mod record;
mod runner;
mod save;
mod session;
mod stop;
mod window;

pub use collate::local_batch;
pub use conclude::Outcome;
pub use runner::{StepRunner, Stepped};
pub use session::Session;
pub use stop::StopFlag;

pub(crate) use evaluate::Limits;
pub(crate) use message::{DIRECTIVE, Message, REPORT};
pub(crate) use pace::Pace;
pub(crate) use session::SessionParts;
pub(crate) use stop::{Deadline, StopFile, StopRequests};
