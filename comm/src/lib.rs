//! Who this process is, and how it talks to the other ranks: one process per device, raw buffers, no libtorch.
//!
//! [`connect`] reads the environment that `mpirun` or `srun` left and returns a [`Session`]. Its
//! [`Collective`] is MPI where there are peers and plain memory where there are none, so that the code above never
//! asks which. Conveniences over it are in [`CollectiveExt`];
//! [`local_world`] makes ranks out of the threads of one process.
//!
//! Tensors cross ranks through a [`Transport`]: [`Inline`] and [`Background`] carry host memory over a [`Collective`],
//! [`NcclTransport`] carries device memory over NCCL, which is found at run time, as the GPUs are ([`gpus`]).
//!
//! Every rank notes what it is doing in its [`Heartbeat`]; a [`Watch`] reads those of all ranks and ends a job that is
//! stuck with a [`Stall`], which names the rank that keeps the others waiting.

mod agree;
mod backend;
mod buffer;
mod chunks;
mod collective;
mod connect;
mod cuda;
mod dynamic;
mod error;
mod ext;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod heartbeat;
mod hint;
mod join;
mod last_resort;
mod local;
mod mpi;
mod nccl;
mod own_mpirun;
mod service;
mod single;
mod threads;
mod transport;
mod warning;
mod world;

pub use agree::{Cause, Disagreement, Failures};
pub use backend::Backend;
pub use buffer::{Buffer, ElementKind};
pub use collective::{Collective, ReduceOp};
pub use connect::{AbortHandle, Session, connect, connect_mpi};
pub use cuda::{Gpu, NoGpu, gpus};
pub use error::CommError;
pub use ext::CollectiveExt;
pub use heartbeat::{
    Heartbeat, LastStage, Stage, StageGuard, Stall, Watch, WatchOptions, last_stage, last_stages,
};
pub use hint::Hint;
pub use local::local_world;
pub use mpi::{MpiCollective, library_version as mpi_library_version};
pub use nccl::{MemoryKind, NcclOptions, NcclTransport, STANDIN_VERSION};
pub use single::Single;
pub use threads::{ThreadPlan, allowed_cores, plan_threads, threads_for};
pub use transport::{Background, Inline, TensorOp, Ticket, Transport, padded_part};
pub use warning::Warning;
pub use world::{Source, World};
