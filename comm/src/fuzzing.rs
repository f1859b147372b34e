//! What comes from a socket, as fuzzers and property tests give it. Nothing else uses this module, and a build without tests
//! or the feature `fuzzing` has none of it.

use dtrain_fuzz_kit::Target;

pub use crate::heartbeat::relay::fuzzing::{CALL, FRAME};

/// All parsers of this crate.
pub const TARGETS: [Target; 2] = [FRAME, CALL];

#[cfg(test)]
mod tests {
    use dtrain_fuzz_kit::{Counting, all_hold};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn what_comes_from_a_socket_withstands_damage() {
        all_hold(&TARGETS, 2000);
    }
}
