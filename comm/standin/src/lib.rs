//! A stand-in for NCCL and the CUDA driver, for tests on machines without a GPU.
//!
//! It exports the entry points that dtrain's NCCL backend uses, under their C names, over host memory that processes
//! share: a device pointer is a host pointer. Streams run on worker threads, so operations complete later; events order
//! streams exactly as in CUDA, and nothing else does, so that a forgotten wait reads stale data. Communicators behave as
//! NCCL's. Nonblocking ones answer `ncclInProgress` for a while and refuse calls meanwhile; with blocking ones the caller
//! spends the time. Both connect their ranks at the first operation of each kind and size, find operations that differ
//! between ranks, and wait for ever for a rank that has died.
//!
//! # Settings
//! Environment variables, read once per process:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `DTRAIN_STANDIN_DEVICES` | number of devices | 8 |
//! | `DTRAIN_STANDIN_DIR` | folder of the files through which ranks share memory | the system's for temporary files |
//! | `DTRAIN_STANDIN_LATENCY_US` | simulated wire time of each operation, in microseconds | 0 |
//! | `DTRAIN_STANDIN_BYTES_PER_S` | simulated wire speed, in bytes of the buffer | no limit |
//! | `DTRAIN_STANDIN_SEED` | order of the operations of a group; the same on all ranks | 0 |
//! | `DTRAIN_STANDIN_VERSION` | what `ncclGetVersion` reports | [`VERSION`] |
//! | `DTRAIN_STANDIN_IGNORE_WAITS` | `1`: `cuStreamWaitEvent` does nothing, to show that a test would notice | 0 |
//! | `DTRAIN_STANDIN_CALL_US` | time that a call takes which launches something, in microseconds | 0 blocking, 100 otherwise |
//! | `DTRAIN_STANDIN_CONNECTS_ALWAYS` | `1`: every operation connects the ranks anew, as the first of a kind does | 0 |
//! | `DTRAIN_STANDIN_FAILING_RANK` | rank on which no communicator can be made | none |
//! | `DTRAIN_STANDIN_ABORT_HANGS` | `1`: an abort never comes back and ends nothing | 0 |
//! | `NCCL_COMM_BLOCKING`, `NCCL_RUNTIME_CONNECT` | as in NCCL | |
//! | `NCCL_HOSTID` | as in NCCL: ranks with different ones may share a device | one for all |
//!
//! # For tests
//! `dtrainStandinConnections` counts how often the ranks of this process have connected, and
//! `dtrainStandinFailContexts(n)` makes the next n calls of `cuCtxSetCurrent` on the calling thread fail.
//!
//! # What it does not do
//! Kernels, device memory apart from the host's, blocking streams, half precision, and anything about speed.

mod communicator;
mod cuda;
mod group;
mod install;
mod memory;
mod nccl;
mod operation;
mod reduce;
mod settings;
mod shared;
mod stream;

pub use install::{InstallError, install, library};

/// What `ncclGetVersion` reports, coded as NCCL codes versions: 2.99.0, which NCCL itself will not reach soon.
pub const VERSION: i32 = 29900;
