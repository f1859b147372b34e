//! Who this process is, and how it talks to the other ranks: one process per device, raw buffers, no libtorch.
//!
//! [`connect`] reads the environment that `mpirun` or `srun` left and returns a [`Session`]. Its
//! [`Collective`] is MPI where there are peers and plain memory where there are none, so that the code above never
//! asks which. Conveniences over it are in [`CollectiveExt`]; [`CommThread`] runs all-reduces beside a computation;
//! [`local_world`] makes ranks out of the threads of one process.

mod agree;
mod buffer;
mod chunks;
mod collective;
mod comm_thread;
mod connect;
mod error;
mod ext;
mod hint;
mod local;
mod mpi;
mod single;
mod threads;
mod warning;
mod world;

pub use agree::{Cause, Disagreement, Failures};
pub use buffer::{Buffer, ElementKind};
pub use collective::{Collective, ReduceOp};
pub use comm_thread::{CommThread, Ticket};
pub use connect::{AbortHandle, Session, connect, connect_mpi};
pub use error::CommError;
pub use ext::CollectiveExt;
pub use hint::Hint;
pub use local::local_world;
pub use mpi::MpiCollective;
pub use single::Single;
pub use threads::{ThreadPlan, allowed_cores, plan_threads, threads_for};
pub use warning::Warning;
pub use world::{Source, World};
