//! What a rank is doing, in words that tell a person where to look.

use std::fmt;

/// A stage of a rank's main thread.
///
/// Threads beside it announce nothing: what the communication thread waits for is seen in its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Stage {
    /// Between announced stages.
    #[default]
    Working,
    /// Reading the data's index, building the network, choosing what is left at `auto`.
    Preparing,
    /// Generating a data set.
    Generating,
    /// Reading a checkpoint or weights.
    Loading,
    /// Telling the others where it stands, and hearing what comes next.
    Reporting,
    /// Waiting for the loader's next batch.
    Data,
    /// Forward pass.
    Forward,
    /// Backward pass, gradients on their way.
    Backward,
    /// Optimizer step.
    Update,
    /// Waiting for the device to finish what was started on it.
    Device,
    /// Comparing weights over ranks.
    Comparing,
    /// Embedding and probing.
    Evaluating,
    /// Writing a checkpoint, or waiting until it can be written.
    Saving,
    /// Writing results.
    Concluding,
    /// Left the world in good order.
    Finished,
    /// Meeting the other ranks over NCCL.
    Connecting,
}

impl Stage {
    /// In the order of their codes.
    const ALL: [Self; 16] = [
        Self::Working,
        Self::Preparing,
        Self::Generating,
        Self::Loading,
        Self::Reporting,
        Self::Data,
        Self::Forward,
        Self::Backward,
        Self::Update,
        Self::Device,
        Self::Comparing,
        Self::Evaluating,
        Self::Saving,
        Self::Concluding,
        Self::Finished,
        Self::Connecting,
    ];

    /// Whether it may last longer than a collective may wait: work of one rank on files, or of all ranks on all data.
    #[must_use]
    pub fn is_slow(self) -> bool {
        matches!(
            self,
            Self::Preparing
                | Self::Generating
                | Self::Loading
                | Self::Evaluating
                | Self::Saving
                | Self::Concluding
        )
    }

    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Preparing => "preparing",
            Self::Generating => "generating data",
            Self::Loading => "reading a checkpoint",
            Self::Reporting => "reporting",
            Self::Data => "waiting for a batch",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Update => "optimizer",
            Self::Device => "waiting for the device",
            Self::Comparing => "comparing replicas",
            Self::Evaluating => "evaluating",
            Self::Saving => "saving",
            Self::Concluding => "writing results",
            Self::Finished => "finished",
            Self::Connecting => "connecting over NCCL",
        }
    }

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The stage with that code; codes of other builds mean nothing in particular.
    pub(crate) fn of_code(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_stages_belong_together() {
        for (code, stage) in (0..).zip(Stage::ALL) {
            assert_eq!((stage.code(), Stage::of_code(code)), (code, stage));
        }
        assert_eq!(Stage::of_code(200), Stage::Working);
    }
}
