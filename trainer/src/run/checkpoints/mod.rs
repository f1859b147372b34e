//! Checkpoints of a run: what they keep of the loop, where they are, how rank 0 saves and all ranks load them, which one is
//! the best, and weights that come from other runs and programs or go to them.

mod best;
mod export;
mod init_from;
mod inventory;
mod load;
mod loop_state;
mod saver;
mod tiers;

pub use best::{AskedBy, BestCheckpoint, best_checkpoint, require_best};
pub use export::{ExportPart, ExportRequest, Exported, WeightFormat, export};
pub use inventory::{Entry, Inventory, Pruned, look_at};
pub use loop_state::{DroppedSample, LoopState};
pub use saver::{Pause, Saver};
pub use tiers::{TierName, local_folder};

pub(crate) use best::is_of_weights;
pub(crate) use export::VIEW_SHAPE;
pub(crate) use init_from::{Matched, init_weights};
pub(crate) use load::{Restored, load_at, load_newest};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use loop_state::parse_section;
pub(crate) use saver::checkpoint_bytes;
