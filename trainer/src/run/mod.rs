//! A run from its settings to its result, room by room; later ones use earlier ones:
//!
//! - `directory`: the run's folder, its lock, its identity and its history;
//! - `prepare`: from settings to everything that is ready for a first step;
//! - `checkpoints`: saved, found, loaded, the best one, weights of others and for others;
//! - `report`: banner, metric files, whom rank 0 tells what happens;
//! - `seen`: what a network would see of the data;
//! - `evaluate`: what weights reach, outside of training too: probes, embeddings, predictions;
//! - `train`: THE loop, and what each directive does;
//! - `start`: the beginning of a run, new or gone on with.

mod agree;
mod checkpoints;
mod directory;
mod evaluate;
mod prepare;
mod report;
mod seen;
mod start;
mod train;

pub use agree::agreed;
pub use checkpoints::{
    AskedBy, BestCheckpoint, DroppedSample, Entry, ExportPart, ExportRequest, Exported, Inventory, LoopState,
    Pause, Pruned, Saver, TierName, WeightFormat, best_checkpoint, export, local_folder, look_at,
    require_best,
};
pub use directory::{
    Change, Holder, RunLock, Start, choose_run_dir, open_checkpoint, reserve_run_dir, run_id,
};
pub use dtrain_configs::RunDir;
pub use evaluate::{Asked, Columns, Inferred, Probed, full_evaluation, infer, open_probed, write_reports};
pub use prepare::{
    Choice, Kept, Place, Prepared, Purpose, Resolved, connect_tensors, data_root, engine_settings, prepare,
    prepare_asked, resolve,
};
pub use report::{Banner, Evaluated, Line, Observer, Progress, Silent, Tracker};
pub use seen::seen_views;
pub use start::{Extent, TrainRequest, train};
pub use train::{Outcome, Session, StepRunner, Stepped, StopFlag, local_batch};

pub(crate) use prepare::loader_options;
pub(crate) use train::{DIRECTIVE, Message, REPORT};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {agree::Told, checkpoints::parse_section};
