//! What every rank is doing, seen by all others without a collective: heartbeats, and the watchdog that reads them.
//!
//! Each rank has a slot: the stage of its main thread, the optimizer step, and the calls of each communicator, numbered. The
//! ranks of a node map the same memory; between nodes a [`relay`] carries the slots once a second. Nothing of it goes
//! through MPI or a launcher, so that it works when they do not, and reading needs no rank to answer: one that is stopped
//! or dead is described by what it wrote last.
//!
//! A [`Watch`] on each rank notices a call that lasts too long, finds in the slots who has not arrived, and ends the job
//! with a table. All times are of a clock that nobody can set.

mod calls;
mod clock;
mod diagnosis;
mod memory;
mod operation;
mod process;
pub(crate) mod relay;
mod remains;
mod row;
mod slot;
mod stage;
mod stall;
mod table;
mod wait_tracker;
mod watch;
mod writer;

pub(crate) use memory::{JOB_DIR, Memory};
pub(crate) use operation::{Operation, Purpose};
pub(crate) use process::ProcessId;
pub use remains::last_stages;
pub(crate) use row::Member;
pub use stage::Stage;
pub use stall::Stall;
pub use watch::{Watch, WatchOptions};
pub(crate) use writer::{Channel, Noted};
pub use writer::{Heartbeat, LastStage, StageGuard, last_stage};
