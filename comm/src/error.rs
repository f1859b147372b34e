//! What can go wrong between ranks, and the next step for the person who reads it.

use crate::world::{Source, World};

/// An error of the environment, of an argument, or of MPI.
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
    /// `srun` started several tasks without a service through which MPI could connect them.
    #[error("`srun` started {tasks} tasks without PMIx, so they cannot find each other")]
    NoProcessManager {
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
}

impl CommError {
    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::BadVariable { .. } | Self::MissingVariable { .. } => {
                "the variable is set by `mpirun` or `srun`; unset it to run a single process"
            }
            Self::NoProcessManager { .. } => {
                "start the step with `srun --mpi=pmix` (`srun --mpi=list` shows what the cluster has), \
                 or use `mpirun` inside the allocation"
            }
            Self::WorldMismatch { launcher: Source::OpenMpi | Source::Pmi, .. } => {
                "use the `mpirun` of the MPI library that dtrain was built with; `dtrain doctor` names it"
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
            Self::AlreadyInitialized
            | Self::Argument { .. }
            | Self::TooLarge { .. }
            | Self::Finalized { .. }
            | Self::CommThread { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// An argument error of `operation` on this rank.
    pub(crate) fn argument(operation: &'static str, world: &World, problem: String) -> Self {
        Self::Argument { operation, rank: world.rank, world_size: world.world_size, problem }
    }
}
