//! The parsers of outside bytes, as fuzzers and property tests call them. Nothing else uses this module, and a build
//! without tests or the feature `fuzzing` has none of it.
#![allow(clippy::expect_used, reason = "seeds are made of constants, and a check fails by panicking")]

mod images;
mod manifest;
mod messages;
mod recordings;
mod state;
mod tables;
mod tensors;

use dtrain_fuzz_kit::Target;

pub use images::{CIFAR, IDX_GZIP, IDX_IMAGES, IDX_LABELS, VIMH_BINARY, VIMH_INFO, VIMH_NAME, VIMH_PICKLE};
pub use manifest::MANIFEST;
pub use messages::{DIRECTIVES, REPORTS};
pub use recordings::WAV;
pub use state::STATE_BIN;
pub use tables::CSV_TABLE;
pub use tensors::{SAFETENSORS, TENSOR_INDEX};

/// All parsers of this crate.
pub const TARGETS: [Target; 16] = [
    WAV,
    SAFETENSORS,
    TENSOR_INDEX,
    MANIFEST,
    STATE_BIN,
    REPORTS,
    DIRECTIVES,
    CSV_TABLE,
    IDX_IMAGES,
    IDX_LABELS,
    IDX_GZIP,
    CIFAR,
    VIMH_BINARY,
    VIMH_PICKLE,
    VIMH_INFO,
    VIMH_NAME,
];

#[cfg(test)]
mod tests {
    use dtrain_fuzz_kit::{Counting, holds_for_mutations};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// Damaged inputs that each parser is given.
    const NUM_CASES: u32 = 400;

    #[test]
    fn every_parser_withstands_damaged_inputs() {
        for target in &TARGETS {
            holds_for_mutations(target, NUM_CASES);
        }
    }

    #[test]
    fn names_tell_targets_apart() {
        let names: std::collections::BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names.len(), TARGETS.len());
    }
}
