//! Checkpoints as durable units. A checkpoint is a folder `step-00001200` that appears whole or not at all: written
//! under another name, flushed, its manifest last, then renamed; `latest` names it only afterwards. Loading checks
//! what the manifest promises and falls back to the newest folder that keeps it.
//!
//! | file | holds |
//! |---|---|
//! | `model.safetensors` | parameters and buffers under the framework's names |
//! | `optimizer.safetensors` | moments and other tensors of the optimizer and the method |
//! | `state.bin` | small values, a section for each component: [`Sections`] |
//! | `manifest.json` | step, sizes, checksums, metrics |
//!
//! Tensors are bytes with a name, a type and a shape here; libtorch is not known.

pub mod content;
mod disk;
pub mod durable;
pub mod error;
#[cfg(test)]
mod fault_tests;
pub mod format;
pub mod manifest;
#[cfg(test)]
mod power_loss;
pub mod retention;
pub mod sections;
pub mod staged;
pub mod store;
pub mod strided;
mod tensor_index;
mod tensor_spec;
mod tensor_writer;
mod tensors;
pub mod writer;

pub use content::{Content, TensorHome};
pub use error::{Bytes, CheckpointError, Fault};
pub use format::{FrameError, FrameKind, decode, encode};
pub use manifest::{
    FileEntry, MANIFEST_FILE, MODEL_FILE, Manifest, ManifestInfo, OPTIMIZER_FILE, REQUIRED_FILES, STATE_FILE,
    Validation,
};
pub use retention::{Existing, RetentionAction, RetentionPolicy};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use sections::STATE;
pub use sections::Sections;
pub use staged::Staged;
pub use store::{CheckpointStore, Listed, LoadWarning, Loaded};
pub use strided::Strided;
pub use tensor_spec::{Dtype, TensorFileError, TensorSpec};
pub use tensor_writer::{file_bytes, write_tensors};
pub use tensors::{TensorFile, TensorReader, TensorView};
pub use writer::{Job, Memory, Placed, Retention, Writer, Written, write_and_retain};
