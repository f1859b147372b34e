//! Why batches end early.

/// Why a loader ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// A thread could not be started.
    #[error("cannot start the loader's threads: {0}")]
    Threads(String),
    /// A thread panicked: a bug.
    #[error("the loader panicked at step {step}: {message}")]
    Panicked {
        /// Step of the batch.
        step: u64,
        /// Message of the panic.
        message: String,
    },
    /// A batch whose size cannot be addressed.
    #[error("the batch of step {step} is too large: {num_samples} samples of {num_views} views")]
    TooLarge {
        /// Step of the batch.
        step: u64,
        /// Its samples.
        num_samples: usize,
        /// Views of each.
        num_views: u32,
    },
    /// A batch finds no memory.
    #[error("not enough memory for the batch of step {step}: {reason}")]
    NoMemory {
        /// Step of the batch.
        step: u64,
        /// What was asked for, and what the allocator says.
        reason: String,
    },
    /// A batch failed for another reason than a bad recording.
    #[error("the batch of step {step} failed: {reason}")]
    Failed {
        /// Step of the batch.
        step: u64,
        /// Why.
        reason: String,
        /// The next step, where the reason knows one.
        hint: Option<String>,
    },
}

impl LoaderError {
    /// The next step, where one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoMemory { .. } => Some(
                "lower `trainer.prefetch_batches`, `trainer.batch_size` or `eval.batch_size`, whichever batch it is; \
                 more ranks have smaller shares"
                    .into(),
            ),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Threads(_) | Self::Panicked { .. } | Self::TooLarge { .. } => None,
        }
    }
}
