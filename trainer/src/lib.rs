//! Models, losses, methods, the engine and the run: the only crate that knows libtorch.
//!
//! Imports go one way, later uses earlier:
//!
//! ```text
//! bytes -> torch_extra -> device -> state -> batch -> model -> loss -> method -> engine -> plan -> eval -> run -> verify -> bench -> fuzzing
//!                alarms, coordinator, checkpoint and track stand beside them and use none of them; the coordinator uses alarms
//! ```

pub mod alarms;
pub mod batch;
pub mod bench;
pub mod bytes;
pub mod checkpoint;
pub mod coordinator;
pub mod device;
pub mod engine;
mod error;
pub mod eval;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod loss;
pub mod method;
pub mod model;
pub mod plan;
pub mod run;
pub mod state;
pub mod torch_extra;
pub mod track;
pub mod verify;

pub use error::{ErrorClass, TrainError};
