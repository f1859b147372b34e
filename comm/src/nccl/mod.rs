//! The NCCL backend: tensors cross ranks on a stream of their own, ordered against the computation by events.
//!
//! - [`library`]: which NCCL, found at run time, one copy, a version that will do;
//! - [`devices`]: no two ranks on one GPU;
//! - [`call`], [`config`]: NCCL's results and types in dtrain's;
//! - [`helper`]: threads for calls that may not come back;
//! - [`communicator`]: made, asked and ended, never waited for without a limit;
//! - [`start`], [`contact`]: how ranks meet, and their first collectives;
//! - [`flight`], [`landing`], [`link`]: operations under way, the waits for them, and the watchdog that ends them when they take too long;
//! - [`transport`]: the [`Transport`](crate::Transport) made of these.

mod call;
mod communicator;
mod config;
mod contact;
mod devices;
mod flight;
mod helper;
mod landing;
mod library;
mod link;
mod options;
#[cfg(test)]
mod real;
mod start;
mod transport;

pub use library::STANDIN_VERSION;
pub use options::{MemoryKind, NcclOptions};
pub use transport::NcclTransport;
