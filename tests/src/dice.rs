//! Random numbers for tests that can be repeated: the seed is printed, and the same seed throws the same.

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Of that seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Of `DTRAIN_TEST_SEED` or, without it, of the clock; says which, so that a failure can be repeated.
    pub fn announced(test: &str) -> Self {
        let set = std::env::var("DTRAIN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = set.unwrap_or_else(|| clock.map_or(0, |now| u64::from(now.subsec_nanos())));
        // Standard error is shown when a test fails, and the lint on printing is for the program.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{test}: DTRAIN_TEST_SEED={seed}\n"),
        );
        Self::new(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.share() * end as f64) as usize
    }

    /// Any order (Fisher and Yates 1938).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
