//! What is odd about recordings that are read all the same.

/// Something about a file that was read all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordingNote {
    /// The header does not say how long the audio is.
    LengthUnknown,
    /// The audio ends within a frame.
    PartialFrame,
    /// Further audio in a chunk of its own is not read.
    SecondDataChunk,
    /// The audio ends before its header, or its container, says.
    Cut,
    /// The header says another length than there is.
    OtherLength,
    /// Further streams after the first one are not read.
    FurtherStreams,
}

impl RecordingNote {
    /// All of them, in ascending order.
    pub const ALL: [Self; 6] = [
        Self::LengthUnknown,
        Self::PartialFrame,
        Self::SecondDataChunk,
        Self::Cut,
        Self::OtherLength,
        Self::FurtherStreams,
    ];

    /// What it means, for one file or many.
    pub fn describe(self) -> &'static str {
        match self {
            Self::LengthUnknown => "do not state their length and are read to their end",
            Self::PartialFrame => "end within a frame and are read to the last whole one",
            Self::SecondDataChunk => "have a second `data` chunk, which is not read",
            Self::Cut => "are cut short, and what is there is used",
            Self::OtherLength => "state another length than they have, which was counted",
            Self::FurtherStreams => "hold several streams one after the other, of which the first is read",
        }
    }

    /// The next step.
    pub fn advice(self) -> &'static str {
        match self {
            Self::LengthUnknown | Self::PartialFrame | Self::SecondDataChunk | Self::OtherLength => {
                "`ffmpeg -i IN -c:a copy OUT` writes a whole header"
            }
            Self::Cut => "restore them from the source if you can",
            Self::FurtherStreams => "`ffmpeg -i IN OUT.flac` joins them",
        }
    }
}
