//! The MPI backend, over the raw bindings of the `mpi` crate.
//!
//! Its safe layer has no in-place operations (gradients would need twice the memory), no way to get errors back
//! instead of an abort, and communicators that cannot leave their thread. All `unsafe` calls of MPI are in this folder.

mod communicator;
mod discover;
mod raw;
mod runtime;
mod start;

pub use communicator::MpiCollective;
pub use raw::library_version;
pub(crate) use runtime::Runtime;
pub(crate) use start::start;
