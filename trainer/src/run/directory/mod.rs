//! The run's directory: where it is, who may write to it, which run it holds, and which starts that run has had.

mod change;
mod history;
mod lock;
mod naming;
mod rollback;
pub mod run_id;

pub use change::Change;
pub use history::Start;
pub use lock::{Holder, RunLock};
pub use naming::{choose_run_dir, open_checkpoint, reserve_run_dir};
pub use rollback::Rollback;

pub(crate) use lock::{lock_existing, lock_new};
