//! The NCCL backend: tensors cross ranks on a stream of their own, ordered against the computation by events.
//!
//! - [`library`]: which NCCL, found at run time, one copy, a version that will do;
//! - [`devices`]: no two ranks on one GPU;
//! - [`communicator`]: nonblocking communicators, polled, never waited for without a limit;
//! - [`flight`]: operations under way, and the watchdog that ends them when they take too long;
//! - [`transport`]: the [`Transport`](crate::Transport) made of these.

mod communicator;
mod devices;
mod flight;
mod library;
mod link;
mod transport;

pub use library::STANDIN_VERSION;
pub use transport::{MemoryKind, NcclOptions, NcclTransport};
