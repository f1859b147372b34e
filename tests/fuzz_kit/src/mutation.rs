//! Valid inputs, damaged: what the ordinary test suites give a parser. Fuzzers find more; this finds the usual.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::target::{Target, check};

/// Most changes to one input.
const MAX_CHANGES: usize = 6;
/// Longest piece that is removed or repeated at once.
const MAX_PIECE: usize = 64;
/// Repeated pieces stop here: a longer input shows nothing new.
const MAX_INPUT_BYTES: usize = 1 << 16;

/// Numbers at which lengths and offsets go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff0,
    u64::MAX,
];

/// One change.
#[derive(Debug, Clone)]
enum Change {
    Flip { at: Index, bit: u32 },
    Set { at: Index, byte: u8 },
    Number { at: Index, value: u64, width: usize, big_endian: bool },
    Insert { at: Index, bytes: Vec<u8> },
    Word { at: Index, word: Index },
    Remove { at: Index, len: usize },
    Repeat { at: Index, len: usize, times: usize },
    Cut { at: Index },
}

/// Checks all `targets` of a crate as [`holds_for_mutations`] does, and that their names tell them apart.
///
/// # Panics
/// As [`holds_for_mutations`].
pub fn all_hold(targets: &[Target], num_cases: u32) {
    let names: BTreeSet<&str> = targets.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), targets.len(), "two targets have one name");
    targets.iter().for_each(|target| holds_for_mutations(target, num_cases));
}

/// Checks `target` on its seeds, which it must accept, and on `num_cases` inputs made of them.
///
/// # Panics
/// On the first input that breaks what [`check`] asks for, after making it small.
pub fn holds_for_mutations(target: &Target, num_cases: u32) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{}: there are no seeds", target.name);
    for (number, seed) in seeds.iter().enumerate() {
        assert!(check(target, seed), "{}: seed {number} is not accepted", target.name);
    }
    let config = Config { cases: num_cases, failure_persistence: None, ..Config::default() };
    let inputs = (any::<Index>(), prop::collection::vec(change(), 1..=MAX_CHANGES));
    let outcome = TestRunner::new(config).run(&inputs, |(seed, changes)| {
        let mut input = seed.get(&seeds).clone();
        for change in &changes {
            apply(change, target.words, &mut input);
        }
        check(target, &input);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{}: {error}", target.name);
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8u32).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        (
            at(),
            prop::sample::select(&NUMBERS[..]),
            prop::sample::select(&[1usize, 2, 4, 8][..]),
            any::<bool>()
        )
            .prop_map(|(at, value, width, big_endian)| Change::Number {
                at,
                value,
                width,
                big_endian
            }),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        (at(), any::<Index>()).prop_map(|(at, word)| Change::Word { at, word }),
        (at(), 1..=MAX_PIECE).prop_map(|(at, len)| Change::Remove { at, len }),
        (at(), 1..=MAX_PIECE, 1..200usize).prop_map(|(at, len, times)| Change::Repeat { at, len, times }),
        at().prop_map(|at| Change::Cut { at }),
    ]
}

fn apply(change: &Change, words: &[&str], input: &mut Vec<u8>) {
    let len = input.len();
    let place = |at: &Index| at.index(len + 1);
    match change {
        Change::Flip { at, bit } => overwrite(input, place(at), |byte| byte ^ (1 << bit)),
        Change::Set { at, byte } => overwrite(input, place(at), |_| *byte),
        Change::Number { at, value, width, big_endian } => {
            let bytes = if *big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let bytes = if *big_endian { bytes.get(8 - width..) } else { bytes.get(..*width) };
            for (offset, new) in bytes.unwrap_or_default().iter().enumerate() {
                overwrite(input, place(at) + offset, |_| *new);
            }
        }
        Change::Insert { at, bytes } => {
            input.splice(place(at)..place(at), bytes.iter().copied());
        }
        Change::Word { at, word } if !words.is_empty() => {
            let word: &&str = word.get(words);
            input.splice(place(at)..place(at), word.bytes());
        }
        Change::Word { .. } => {}
        Change::Remove { at, len: removed } => {
            let begin = place(at);
            input.drain(begin..(begin + removed).min(len));
        }
        Change::Repeat { at, len: repeated, times } => {
            let begin = place(at);
            let piece = input.get(begin..(begin + repeated).min(len)).unwrap_or_default().repeat(*times);
            if len + piece.len() <= MAX_INPUT_BYTES {
                input.splice(begin..begin, piece);
            }
        }
        Change::Cut { at } => input.truncate(place(at)),
    }
}

fn overwrite(input: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Parse;

    fn target(parse: fn(&[u8]) -> bool) -> Target {
        Target {
            name: "test",
            parse: Parse::Bytes(parse),
            seeds: || vec![b"len 5: abcde".to_vec()],
            words: &["word"],
            bytes_per_input_byte: 4,
            constant_bytes: 1000,
        }
    }

    #[test]
    fn an_honest_parser_holds() {
        holds_for_mutations(&target(|input| input.starts_with(b"len")), 200);
    }

    #[test]
    #[should_panic(expected = "found the word")]
    fn a_panic_behind_a_word_is_found() {
        holds_for_mutations(
            &target(|input| {
                assert!(!input.windows(4).any(|four| four == b"word"), "found the word");
                true
            }),
            500,
        );
    }

    #[test]
    #[should_panic(expected = "seed 0 is not accepted")]
    fn a_seed_that_is_refused_is_found() {
        holds_for_mutations(&target(|_| false), 1);
    }

    #[test]
    fn any_change_applies_to_any_input() {
        proptest!(|(changes in prop::collection::vec(change(), 0..20), input in prop::collection::vec(any::<u8>(), 0..20))| {
            let mut input = input;
            for change in &changes {
                apply(change, &["a", "bc"], &mut input);
            }
            prop_assert!(input.len() <= MAX_INPUT_BYTES + 20 * 8);
        });
    }
}
