//! What the exit code says.

/// Exit codes, the same for every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The run failed.
    Failed = 1,
    /// Wrong command, configuration or data.
    Usage = 2,
    /// The machine lacks something: GPU, network, disk.
    Environment = 3,
    /// Saved, and wants to be started again.
    Requeue = 75,
    /// Interrupted by the user, after saving.
    Interrupted = 130,
}
