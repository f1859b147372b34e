//! A run from its settings to its result: preparation, THE loop, and what each directive does.

mod agree;
mod banner;
mod data_root;
mod deadline;
mod evaluate;
mod feed;
mod heads;
mod inventory;
mod layout;
mod limits;
mod load;
mod lock;
mod micro_batch;
mod naming;
mod observer;
mod pace;
mod phases;
mod pictures;
mod prepare;
mod probe;
mod resolve;
pub mod run_id;
mod runner;
mod save;
mod saver;
mod scaling;
mod session;
mod start;
mod state;
mod stop_file;
mod tiers;
mod tracker;
mod transport;
mod window;
mod wishes;

pub use agree::agreed;
pub use banner::{Banner, Line};
pub use data_root::data_root;
pub use evaluate::final_parts;
pub use feed::local_batch;
pub use inventory::{Entry, Inventory, Pruned, look_at};
pub use layout::RunDir;
pub use lock::{Holder, RunLock};
pub use observer::{Observer, Progress, Silent};
pub use pictures::write_confusions;
pub use prepare::{Prepared, Purpose, engine_settings, open_checkpoint, prepare};
pub use probe::{Probed, open as open_probed};
pub use resolve::{Choice, Place, Resolved, resolve};
pub use runner::{StepRunner, Stepped};
pub use saver::{Pause, Saver};
pub use session::{Outcome, Session};
pub use start::{Extent, TrainRequest, train};
pub use state::{DroppedSample, LoopState};
pub use stop_file::request_stop;
pub use tiers::{TierName, local_folder};
pub use tracker::Tracker;
pub use transport::connect as connect_tensors;

pub(crate) use session::{DIRECTIVE, Message, REPORT};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {agree::Told, state::parse_section};

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::coordinator::Interrupt;

/// A wish to end the run, set by a signal handler and read between steps. It never acts by itself.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicU8>);

impl StopFlag {
    /// Records the wish; the user's is the stronger one.
    pub fn raise(&self, interrupt: Interrupt) {
        let level = match interrupt {
            Interrupt::Requeue => 1,
            Interrupt::User => 2,
        };
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// The wish, if there is one.
    pub fn interrupt(&self) -> Option<Interrupt> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Interrupt::Requeue),
            _ => Some(Interrupt::User),
        }
    }
}
