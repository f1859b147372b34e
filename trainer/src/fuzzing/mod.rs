//! The parsers of outside bytes, as fuzzers and property tests call them. Nothing else uses this module, and a build
//! without tests or the feature `fuzzing` has none of it.
#![allow(clippy::expect_used, reason = "seeds are made of constants, and a check fails by panicking")]

mod manifest;
mod messages;
mod state;
mod tensors;

use dtrain_fuzz_kit::Target;

pub use manifest::MANIFEST;
pub use messages::{DIRECTIVES, REPORTS};
pub use state::STATE_BIN;
pub use tensors::{SAFETENSORS, TENSOR_INDEX};

/// All parsers of this crate.
pub const TARGETS: [Target; 6] = [SAFETENSORS, TENSOR_INDEX, MANIFEST, STATE_BIN, REPORTS, DIRECTIVES];

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
