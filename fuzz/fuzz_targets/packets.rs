#![no_main]

use dtrain_fuzz_kit::{Counting, check};
use dtrain_data::fuzzing::PACKETS;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|input: &[u8]| {
    check(&PACKETS, input);
});
