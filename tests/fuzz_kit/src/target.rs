//! A parser and what it must keep to.

use std::path::Path;

use crate::allocations::{are_counted, peak_of};
use crate::input_file::InputFile;
use crate::writes;

/// A parser of outside bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called on the command line and in messages.
    pub name: &'static str,
    /// How it is called. It panics where what it returned contradicts itself.
    pub parse: Parse,
    /// Inputs that it accepts, each of a kind of its own: where mutations begin.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something to it.
    pub words: &'static [&'static str],
    /// Memory that it may hold for each byte of input.
    pub bytes_per_input_byte: usize,
    /// Memory that it may hold whatever the input.
    pub constant_bytes: usize,
}

/// How a parser takes its input; it returns whether it accepted it.
#[derive(Debug, Clone, Copy)]
pub enum Parse {
    /// Bytes in memory.
    Bytes(fn(&[u8]) -> bool),
    /// A file.
    File(fn(&Path) -> bool),
}

/// Runs `target` on `input` and returns whether it was accepted.
///
/// # Panics
/// When the parser panics, holds more memory than it is allowed, or writes anything.
pub fn check(target: &Target, input: &[u8]) -> bool {
    assert!(are_counted(), "`Counting` is not this program's allocator");
    let mut accepted = false;
    let (peak, num_writes) = match target.parse {
        Parse::Bytes(parse) => observed(|| accepted = parse(input)),
        Parse::File(parse) => {
            let file = InputFile::new(input);
            observed(|| accepted = parse(file.path()))
        }
    };
    let (name, len) = (target.name, input.len());
    let allowed = target.constant_bytes + target.bytes_per_input_byte * len;
    assert!(
        peak <= allowed,
        "{name}: {len} bytes of input took {peak} bytes of memory, allowed are {allowed}"
    );
    assert_eq!(num_writes, 0, "{name}: a parser wrote something");
    accepted
}

/// The most memory that `work` held, and its write calls (0 where they cannot be counted).
fn observed(work: impl FnOnce()) -> (usize, u64) {
    let before = writes::of_this_thread();
    let peak = peak_of(work);
    let num_writes = match (before, writes::of_this_thread()) {
        (Some(before), Some(after)) => after - before,
        _ => 0,
    };
    (peak, num_writes)
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;

    use super::*;

    fn target(parse: Parse) -> Target {
        Target {
            name: "test",
            parse,
            seeds: Vec::new,
            words: &[],
            bytes_per_input_byte: 4,
            constant_bytes: 1000,
        }
    }

    #[test]
    fn a_parser_that_keeps_to_it_passes() {
        assert!(check(&target(Parse::Bytes(|input| input.to_vec() == b"good")), b"good"));
        assert!(!check(&target(Parse::File(|path| std::fs::read(path).is_err())), b"bad"));
    }

    #[test]
    #[should_panic(expected = "8 bytes of input took")]
    fn a_length_that_is_believed_is_found() {
        check(
            &target(Parse::Bytes(|input| {
                let claimed = u64::from_le_bytes(input.try_into().unwrap()) as usize;
                Vec::<u8>::with_capacity(claimed).capacity() > 0
            })),
            &(1u64 << 24).to_le_bytes(),
        );
    }

    #[test]
    #[should_panic(expected = "wrote something")]
    fn a_write_is_found() {
        if writes::of_this_thread().is_none() {
            skipped("this kernel keeps no account of a thread's writes");
            panic!("wrote something");
        }
        check(&target(Parse::Bytes(|input| std::fs::write("/dev/null", input).is_ok())), b"x");
    }
}
