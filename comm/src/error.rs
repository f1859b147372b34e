//! What can go wrong between ranks, and the next step for the person who reads it.

use std::time::Duration;

use crate::own_mpirun;
use crate::world::{Source, World};

/// An error of the environment, of an argument, or of a transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommError {
    /// A variable of the launcher holds something else than it should.
    #[error("`{variable}` is `{value}`, expected {expected}")]
    BadVariable {
        /// Name of the environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it should have held.
        expected: String,
    },
    /// A launcher sets several variables together, and one of them is missing.
    #[error("`{variable}` is not set although `{other}` is")]
    MissingVariable {
        /// The variable that is missing.
        variable: &'static str,
        /// The one that made us look for it.
        other: &'static str,
    },
    /// A launcher that knows no MPI has started several processes.
    #[error("{launcher} started rank {rank} of {size}, but ranks of dtrain find each other by MPI")]
    OtherLauncher {
        /// In words.
        launcher: &'static str,
        /// This process.
        rank: usize,
        /// All of them.
        size: usize,
    },
    /// `srun` started several tasks without a service through which MPI could connect them.
    #[error("`srun` started {tasks} tasks without PMIx, so they cannot find each other")]
    NoProcessManager {
        /// Number of tasks of the step.
        tasks: usize,
    },
    /// `srun` offers a service that this MPI library does not know.
    #[error("`srun` started {tasks} tasks with PMI-2, but the MPI library of dtrain wants PMIx")]
    WrongProcessManager {
        /// Number of tasks of the step.
        tasks: usize,
    },
    /// The launcher and MPI disagree about who this process is.
    #[error("{source_name} started rank {rank} of {expected}, but MPI sees rank {mpi_rank} of {mpi_size}", source_name = .launcher.name())]
    WorldMismatch {
        /// Who started the process.
        launcher: Source,
        /// Rank in the environment.
        rank: usize,
        /// Number of ranks in the environment, or `an unknown number`.
        expected: String,
        /// Rank according to MPI.
        mpi_rank: usize,
        /// Number of ranks according to MPI.
        mpi_size: usize,
    },
    /// MPI was initialized before, in this process.
    #[error("MPI is already initialized in this process")]
    AlreadyInitialized,
    /// MPI does not let several threads call it.
    #[error("MPI grants thread level {granted}, but dtrain needs MPI_THREAD_MULTIPLE")]
    ThreadLevel {
        /// The name of the granted level.
        granted: &'static str,
    },
    /// An MPI library whose constants are not known.
    #[error("the MPI library `{version}` is not supported")]
    UnsupportedLibrary {
        /// First line of `MPI_Get_library_version`.
        version: String,
    },
    /// A call whose arguments cannot be right; found before MPI was called.
    #[error("{operation} on rank {rank} of {world_size}: {problem}")]
    Argument {
        /// Name of the collective.
        operation: &'static str,
        /// Calling rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
        /// What does not fit, with both numbers.
        problem: String,
    },
    /// MPI returned an error.
    #[error("{operation} of {count} elements on rank {rank} of {world_size}: {text}")]
    Mpi {
        /// Name of the MPI function.
        operation: &'static str,
        /// Calling rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
        /// Elements (bytes for byte-wise operations) of the call that failed.
        count: usize,
        /// MPI's error code.
        code: i32,
        /// Text of `MPI_Error_string`.
        text: String,
    },
    /// A message between ranks is longer than a rank may make another one allocate.
    #[error("{operation}: {bytes} bytes are more than the {limit} bytes that a rank accepts")]
    TooLarge {
        /// Name of the operation.
        operation: &'static str,
        /// Bytes that would have to be held.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A rank has no memory for a message that it is to receive.
    #[error("{operation}: a rank has no memory for {bytes} bytes")]
    OutOfMemory {
        /// Name of the operation.
        operation: &'static str,
        /// Bytes of the message.
        bytes: u64,
    },
    /// A collective after [`crate::Session::finalize`].
    #[error("{operation} on rank {rank} after the session was finalized")]
    Finalized {
        /// Name of the collective.
        operation: &'static str,
        /// Calling rank.
        rank: usize,
    },
    /// The communication thread could not be started, or has ended.
    #[error("the communication thread of rank {rank} is not running: {reason}")]
    CommThread {
        /// Rank of this process.
        rank: usize,
        /// Why.
        reason: String,
    },
    /// Another rank left the world before this operation was complete.
    #[error("{operation} on rank {rank} of {world_size}: another rank has left")]
    PeerLeft {
        /// Name of the collective.
        operation: &'static str,
        /// Calling rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
    },
    /// A library that is loaded at run time is not there, or lacks something.
    #[error("{library} cannot be used: {reason}")]
    Library {
        /// What it is.
        library: &'static str,
        /// What is wrong with it, in one line.
        reason: String,
        /// The next step.
        hint: String,
    },
    /// NCCL is too old, or of a later generation.
    #[error("NCCL {found} is not supported, dtrain needs {needed}")]
    LibraryVersion {
        /// What the library reports.
        found: String,
        /// What would do.
        needed: &'static str,
    },
    /// Two copies of NCCL are in this process: each would see half of the calls.
    #[error("two copies of NCCL are loaded: `{first}` and `{second}`")]
    LibraryTwice {
        /// Path of one copy.
        first: String,
        /// Path of the other.
        second: String,
    },
    /// There is no such GPU.
    #[error("rank {rank} is to use GPU {device}, but {reason}")]
    NoDevice {
        /// Rank of this process.
        rank: usize,
        /// Index of the device among those that this process sees.
        device: usize,
        /// What there is instead.
        reason: String,
    },
    /// Two ranks were given one GPU.
    #[error("ranks {first} and {second} both use {uuid} of one node")]
    DuplicateDevice {
        /// The lower rank.
        first: usize,
        /// The other.
        second: usize,
        /// Identity of the GPU as `nvidia-smi -L` writes it.
        uuid: String,
    },
    /// Tensors in host memory, and a real NCCL.
    #[error("NCCL {version} cannot reach tensors in host memory")]
    HostMemory {
        /// What the library reports.
        version: String,
    },
    /// The CUDA driver returned an error.
    #[error("{operation} on rank {rank} of {world_size}: {text}")]
    Cuda {
        /// Name of the driver's function.
        operation: &'static str,
        /// Calling rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
        /// CUDA's error code.
        code: i32,
        /// Name and text of the code.
        text: String,
    },
    /// NCCL returned an error, at once or later.
    #[error("{} on rank {rank} of {world_size}: {text}", numbered(operation, *number, *count))]
    Nccl {
        /// Name of the operation.
        operation: &'static str,
        /// How many operations this rank had started with it; 0 for calls that are none.
        number: u64,
        /// Its elements.
        count: usize,
        /// Calling rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
        /// NCCL's error code.
        code: i32,
        /// Text of the code, and of the last error as NCCL remembers it.
        text: String,
    },
    /// An operation was not complete in time, and the transport was aborted.
    #[error(
        "{} on rank {rank} of {world_size} was not complete after {:.1} s",
        numbered(operation, *number, *count),
        waited.as_secs_f64()
    )]
    TimedOut {
        /// Name of the operation.
        operation: &'static str,
        /// How many operations this rank had started with it; 0 for calls that are none.
        number: u64,
        /// Its elements.
        count: usize,
        /// Waiting rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
        /// How long it has waited.
        waited: Duration,
    },
    /// The transport was aborted by its owner.
    #[error("the NCCL transport of rank {rank} of {world_size} was aborted")]
    Aborted {
        /// Calling rank.
        rank: usize,
        /// Number of ranks.
        world_size: usize,
    },
    /// The network interface that the nodes are to talk over is not there.
    #[error("`comm.interface` is `{name}`, which this machine lacks or which has no address")]
    NoInterface {
        /// As in the settings.
        name: String,
        /// Names of those that are there.
        known: String,
    },
    /// No socket for news between nodes.
    #[error("no socket can be opened: {reason}")]
    NoSocket {
        /// What the system says.
        reason: String,
    },
    /// Other ranks failed in a step that all take together.
    #[error("{failures}")]
    OtherRanks {
        /// What failed where.
        failures: String,
        /// The next step, as the first of them has it.
        hint: Option<String>,
    },
}

/// The operation as messages name it.
fn numbered(operation: &str, number: u64, count: usize) -> String {
    if number == 0 {
        return operation.to_owned();
    }
    format!("{operation} (operation {number}, {count} elements)")
}

impl CommError {
    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::BadVariable { .. } | Self::MissingVariable { .. } => {
                "the variable is set by `mpirun` or `srun`; unset it to run a single process"
            }
            Self::OtherLauncher { size, .. } => {
                return Some(format!(
                    "start them with `dtrain launch -n {size} ...` on one machine, or with `mpirun` or `srun`; a single process \
                     has no `RANK`, `LOCAL_RANK` and `WORLD_SIZE`"
                ));
            }
            Self::NoProcessManager { .. } => {
                "start the step with `srun --mpi=pmix` (`srun --mpi=list` shows what the cluster has), \
                 or use `mpirun` inside the allocation"
            }
            Self::WrongProcessManager { .. } => {
                "start the step with `srun --mpi=pmix`, or use `mpirun` inside the allocation; an Open MPI that was built \
                 with PMI-2 is told so by `OMPI_MCA_pmix=s2`"
            }
            Self::WorldMismatch { launcher: Source::OpenMpi | Source::Pmi, .. } => {
                return Some(own_mpirun::advice());
            }
            Self::WorldMismatch { .. } => {
                "start the step with `srun --mpi=pmix`, or use `mpirun` inside the allocation"
            }
            Self::ThreadLevel { .. } => "use an MPI library built with thread support, such as Open MPI 4",
            Self::UnsupportedLibrary { .. } => "build dtrain with Open MPI or an MPICH derivative",
            Self::Mpi { .. } | Self::PeerLeft { .. } => {
                "the cause is usually on another rank: look at the logs of all ranks for the first error"
            }
            Self::OutOfMemory { .. } => "free memory on the node, or use fewer ranks per node",
            Self::Library { hint, .. } => return Some(hint.clone()),
            Self::OtherRanks { hint, .. } => return hint.clone(),
            Self::LibraryVersion { .. } => {
                "put the folder of the `libnccl.so.2` that comes with libtorch first in `LD_LIBRARY_PATH`"
            }
            Self::LibraryTwice { .. } => {
                "leave one of them: libtorch brings its own, so take the other out of `LD_LIBRARY_PATH` and \
                 `LD_PRELOAD`"
            }
            Self::NoDevice { .. } => {
                "start one process per GPU, such as `mpirun -n` with their number; `CUDA_VISIBLE_DEVICES` and SLURM's `--gpus-per-task` limit what a process sees"
            }
            Self::DuplicateDevice { .. } => {
                "start one process per GPU of the node; for a check, ranks may share a GPU if each has its own `NCCL_HOSTID`"
            }
            Self::HostMemory { .. } => "train on the GPU, or let MPI carry tensors in host memory",
            Self::Cuda { .. } => "`nvidia-smi` and `dmesg` show whether the GPU is in order",
            Self::Nccl { .. } => {
                "`NCCL_DEBUG=INFO` tells more; look at the logs of all ranks for the first error"
            }
            Self::TimedOut { .. } => {
                "a rank has died, sleeps, or does something else: look at the logs of all ranks for the last step"
            }
            Self::NoInterface { known, .. } => {
                return Some(format!(
                    "the node of rank 0 has {known}; `comm.interface=null` chooses by itself"
                ));
            }
            Self::AlreadyInitialized
            | Self::NoSocket { .. }
            | Self::Aborted { .. }
            | Self::Argument { .. }
            | Self::TooLarge { .. }
            | Self::Finalized { .. }
            | Self::CommThread { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the machine or its set-up is the cause, rather than the run.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        match self {
            Self::BadVariable { .. }
            | Self::MissingVariable { .. }
            | Self::OtherLauncher { .. }
            | Self::NoProcessManager { .. }
            | Self::WrongProcessManager { .. }
            | Self::WorldMismatch { .. }
            | Self::ThreadLevel { .. }
            | Self::UnsupportedLibrary { .. }
            | Self::Library { .. }
            | Self::LibraryVersion { .. }
            | Self::LibraryTwice { .. }
            | Self::NoDevice { .. }
            | Self::DuplicateDevice { .. }
            | Self::HostMemory { .. }
            | Self::Cuda { .. }
            | Self::Nccl { operation: "ncclGetUniqueId" | "ncclCommInitRankConfig", .. }
            | Self::NoInterface { .. }
            | Self::NoSocket { .. }
            | Self::OtherRanks { .. } => true,
            Self::AlreadyInitialized
            | Self::Argument { .. }
            | Self::Mpi { .. }
            | Self::TooLarge { .. }
            | Self::OutOfMemory { .. }
            | Self::Finalized { .. }
            | Self::CommThread { .. }
            | Self::PeerLeft { .. }
            | Self::Nccl { .. }
            | Self::TimedOut { .. }
            | Self::Aborted { .. } => false,
        }
    }

    /// Whether every rank meets the same error, because it lies in how all of them were started.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(
            self,
            Self::NoProcessManager { .. }
                | Self::WrongProcessManager { .. }
                | Self::WorldMismatch { launcher: Source::Slurm, mpi_size: 1, .. }
        )
    }

    /// An argument error of `operation` on this rank.
    pub(crate) fn argument(operation: &'static str, world: &World, problem: String) -> Self {
        Self::Argument { operation, rank: world.rank, world_size: world.world_size, problem }
    }
}
