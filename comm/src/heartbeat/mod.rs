//! What every rank is doing, seen by all others without a collective: heartbeats, and the watchdog that reads them.
//!
//! Each rank has a page: the stage of its main thread, the optimizer step, and the calls of each communicator, numbered. The
//! ranks of a node map the same memory; between nodes a [`relay`] carries the pages once a second. Nothing of it goes
//! through MPI or a launcher, so that it works when they do not, and reading needs no rank to answer: one that is stopped
//! or dead is described by what it wrote last.
//!
//! A [`Watch`] on each rank notices a call that lasts too long, finds in the pages who has not arrived, and ends the job
//! with a table. All times are of a clock that nobody can set.

mod clock;
mod diagnosis;
mod join;
mod memory;
mod operation;
mod page;
mod patience;
mod process;
mod pulse;
mod relay;
mod remains;
mod stage;
mod stall;
mod table;
mod watch;

pub(crate) use join::join;
pub(crate) use operation::{Operation, Purpose};
pub(crate) use pulse::{Channel, Noted};
pub use pulse::{Heartbeat, LastStage, StageGuard, last_stage};
pub(crate) use relay::Relay;
pub use remains::last_stages;
pub use stage::Stage;
pub use stall::Stall;
pub use watch::{Watch, WatchOptions};
