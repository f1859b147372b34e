//! Whether opening refuses bad samples.

/// Whether opening refuses bad samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// The first and last sample of each file must be good, and all labels of a pickle.
    Strict,
    /// Files must have their format. Whoever reads a bad sample hears of it.
    Lenient,
}
