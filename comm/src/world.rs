//! The place of a process among all processes of the job.

/// The place of this process among all processes of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Index of this process, from 0 to `world_size - 1`.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
    /// Index among the processes on the same node, in the order of ranks.
    pub local_rank: usize,
    /// Number of processes on the same node.
    pub local_size: usize,
    /// Index of this node; nodes are counted in the order of their lowest rank.
    pub node: usize,
    /// Number of nodes.
    pub num_nodes: usize,
    /// Who started the processes.
    pub source: Source,
}

impl World {
    /// A world of one process that was started by hand.
    #[must_use]
    pub fn single() -> Self {
        Self::of_one(Source::Single)
    }

    /// A world of one process.
    #[must_use]
    pub fn of_one(source: Source) -> Self {
        Self { rank: 0, world_size: 1, local_rank: 0, local_size: 1, node: 0, num_nodes: 1, source }
    }

    /// Whether this is the rank that writes files and speaks for all.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.rank == 0
    }
}

/// Who started the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody: one process, started by hand or by a script.
    Single,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// A launcher with PMI-1 or PMI-2, such as the `mpiexec` of MPICH.
    Pmi,
    /// A launcher with PMIx other than those below.
    Pmix,
    /// `srun`.
    Slurm,
    /// Threads of one process.
    Threads,
}

impl Source {
    /// The name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "the shell",
            Self::OpenMpi => "`mpirun`",
            Self::Pmi => "`mpiexec`",
            Self::Pmix => "a PMIx launcher",
            Self::Slurm => "`srun`",
            Self::Threads => "this process",
        }
    }
}
