//! A run from its settings to its result: preparation, THE loop, and what each directive does.

mod agree;
mod banner;
mod best;
mod changes;
mod course;
mod data_root;
mod deadline;
mod dropped;
mod evaluate;
mod export;
mod feed;
mod first_batch;
mod going_on;
mod heads;
mod history;
mod infer;
mod init_from;
mod inventory;
mod limits;
mod load;
mod lock;
mod metric_names;
mod micro_batch;
mod naming;
mod observer;
mod pace;
mod phases;
mod prepare;
mod probe;
mod reports;
mod resolve;
pub mod run_id;
mod runner;
mod save;
mod saver;
mod scaling;
mod session;
mod start;
mod state;
mod statistics;
mod stop_file;
mod tiers;
mod tracker;
mod transport;
mod window;
mod wishes;

pub use agree::agreed;
pub use banner::{Banner, Line};
pub use best::{BestCheckpoint, best_checkpoint, require_best};
pub use changes::Change;
pub use data_root::data_root;
pub use dropped::DroppedSample;
pub use dtrain_configs::RunDir;
pub use evaluate::final_parts;
pub use export::{ExportPart, Exported, export};
pub use feed::local_batch;
pub use history::Start;
pub use infer::{Asked, Columns, Inferred, infer};
pub use inventory::{Entry, Inventory, Pruned, look_at};
pub use lock::{Holder, RunLock};
pub use naming::{choose_run_dir, reserve_run_dir};
pub use observer::{Observer, Progress, Silent};
pub use prepare::{Prepared, Purpose, engine_settings, open_checkpoint, prepare, prepare_asked};
pub use probe::{Probed, open as open_probed};
pub use reports::write_reports;
pub use resolve::{Choice, Kept, Place, Resolved, resolve};
pub use runner::{StepRunner, Stepped};
pub use saver::{Pause, Saver};
pub use session::{Outcome, Session};
pub use start::{Extent, TrainRequest, train};
pub use state::LoopState;
pub use tiers::{TierName, local_folder};
pub use tracker::Tracker;
pub use transport::connect as connect_tensors;

pub(crate) use feed::loader_options;
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
