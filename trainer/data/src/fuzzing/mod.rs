//! The parsers of outside bytes, as fuzzers and property tests call them. Nothing else uses this module, and a build
//! without tests or the feature `fuzzing` has none of it.
#![allow(clippy::expect_used, reason = "seeds are made of constants, and a check fails by panicking")]

mod images;
mod recordings;
mod tables;
mod torch;

use dtrain_fuzz_kit::Target;

pub use images::{CIFAR, IDX_GZIP, IDX_IMAGES, IDX_LABELS, VIMH_BINARY, VIMH_INFO, VIMH_NAME, VIMH_PICKLE};
pub use recordings::{PACKETS, WAV};
pub use tables::CSV_TABLE;
pub use torch::TORCH_FILE;

/// All parsers of this crate.
pub const TARGETS: [Target; 12] = [
    WAV,
    PACKETS,
    CSV_TABLE,
    IDX_IMAGES,
    IDX_LABELS,
    IDX_GZIP,
    CIFAR,
    VIMH_BINARY,
    VIMH_PICKLE,
    VIMH_INFO,
    VIMH_NAME,
    TORCH_FILE,
];

#[cfg(test)]
mod tests {
    use dtrain_fuzz_kit::{Counting, all_hold};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// Damaged inputs that each parser is given.
    const NUM_CASES: u32 = 400;

    #[test]
    fn every_parser_withstands_damaged_inputs() {
        all_hold(&TARGETS, NUM_CASES);
    }
}
