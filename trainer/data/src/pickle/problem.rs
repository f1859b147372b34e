//! What can be wrong with a pickle.

/// What is wrong with a pickle. Offsets are bytes from the beginning of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PickleProblem {
    /// Something else than a pickle of this kind has there.
    #[error("at byte {offset}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        offset: u64,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file ends too early.
    #[error("truncated: expected {expected_bytes} bytes for {what} at byte {offset}, found {found_bytes}")]
    Truncated {
        /// Where the part begins.
        offset: u64,
        /// What it is.
        what: String,
        /// Its length.
        expected_bytes: u64,
        /// Bytes that are left.
        found_bytes: u64,
    },
    /// A name that the dialect does not know and does not pass over.
    #[error("at byte {offset}: the pickle asks for `{name}`")]
    Global {
        /// Where.
        offset: u64,
        /// Module and name, shortened.
        name: String,
    },
    /// An instruction that the dialect has no use for.
    #[error("at byte {offset}: the pickle uses opcode {opcode:#04x}")]
    Opcode {
        /// Where.
        offset: u64,
        /// The opcode.
        opcode: u8,
    },
    /// A pickle that would blow up.
    #[error("at byte {offset}: the pickle builds more {what} than {limit}, which its size does not justify")]
    Excessive {
        /// Where.
        offset: u64,
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl PickleProblem {
    /// Something else than belongs there.
    pub fn unexpected(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { offset, expected: expected.into(), found: found.into() }
    }
}
