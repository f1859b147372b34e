//! Time that nobody can set: microseconds of the system's monotonic clock, the same for all processes of a node.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment on this node. The default is "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(u64);

/// What fits beside a code of one byte; enough for two thousand years.
const MASK: u64 = (1 << 56) - 1;

impl Moment {
    /// Reads the clock, without a system call.
    pub fn now() -> Self {
        // The clock is part of every Linux; without it no time would ever pass, and nothing would be called stuck.
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Self::from_start(time)
    }

    /// `time` after the clock's start; one microsecond at least, since zero is "never".
    pub fn from_start(time: Duration) -> Self {
        Self(u64::try_from(time.as_micros()).unwrap_or(MASK).clamp(1, MASK))
    }

    /// How long before `now` it was; `None` for "never", zero for the future.
    pub fn age(self, now: Self) -> Option<Duration> {
        (self != Self::default()).then(|| Duration::from_micros(now.0.saturating_sub(self.0)))
    }

    /// The moment that was `age` ago.
    pub fn before(self, age: Duration) -> Self {
        let micros = u64::try_from(age.as_micros()).unwrap_or(MASK);
        Self(self.0.saturating_sub(micros).max(1))
    }

    /// As one word with a code in its highest byte, which one atomic store writes.
    pub fn with_code(self, code: u8) -> u64 {
        u64::from(code) << 56 | self.0
    }

    /// What [`Moment::with_code`] packed.
    pub fn split(word: u64) -> (u8, Self) {
        ((word >> 56) as u8, Self(word & MASK))
    }

    pub fn bits(self) -> u64 {
        self.0
    }

    pub fn of_bits(bits: u64) -> Self {
        Self(bits & MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_never_run_backwards() {
        let at = |secs| Moment::from_start(Duration::from_secs(secs));
        assert_eq!(at(5).age(at(7)), Some(Duration::from_secs(2)));
        assert_eq!(at(7).age(at(5)), Some(Duration::ZERO));
        assert_eq!(Moment::default().age(at(5)), None);
        assert_eq!(at(9).before(Duration::from_secs(2)), at(7));
        // A row from a node that has been up for longer is not "never".
        assert!(at(1).before(Duration::from_secs(2)).age(at(1)).is_some());
        assert!(Moment::now() <= Moment::now());
    }

    #[test]
    fn a_code_and_a_moment_share_a_word() {
        let moment = Moment::from_start(Duration::from_secs(100_000_000));
        assert_eq!(Moment::split(moment.with_code(255)), (255, moment));
    }
}
