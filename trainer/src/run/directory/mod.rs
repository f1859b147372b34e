//! The run's directory: where it is, who may write to it, which run it holds, and which starts that run has had.

mod history;
mod lock;
mod naming;
pub mod run_id;

pub use history::{Change, Start};
pub use lock::{Holder, RunLock};
pub use naming::{choose_run_dir, open_checkpoint, reserve_run_dir};

pub(crate) use lock::{lock_existing, lock_new};
