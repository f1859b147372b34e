//! Instructions for bfloat16, without which a CPU computes slower in it than in fp32.

/// Instructions that multiply bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuFeatures {
    /// Dot products of vectors.
    pub avx512_bf16: bool,
    /// Products of tiles of matrices.
    pub amx_bf16: bool,
}

impl CpuFeatures {
    /// Asks the processor, and whether the operating system saves the registers.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        return Self {
            avx512_bf16: std::arch::is_x86_feature_detected!("avx512bf16"),
            amx_bf16: amx::bf16(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return Self::default();
    }

    /// Whether bfloat16 is faster than fp32.
    pub fn has_bf16(self) -> bool {
        self.avx512_bf16 || self.amx_bf16
    }

    /// The best that there is: `AMX`, `avx512_bf16`, or `no bf16 instructions`.
    pub fn name(self) -> &'static str {
        match self {
            Self { amx_bf16: true, .. } => "AMX",
            Self { avx512_bf16: true, .. } => "avx512_bf16",
            _ => "no bf16 instructions",
        }
    }
}

/// The standard library detects AMX only in nightly versions.
#[cfg(target_arch = "x86_64")]
mod amx {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// Leaf 7, EDX (Intel's manual, volume 1, chapter 18).
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    /// Leaf 1, ECX: the operating system uses XSAVE.
    const OSXSAVE: u32 = 1 << 27;
    /// XCR0: the operating system saves tile configuration and tiles.
    const TILES: u64 = 0b11 << 17;

    pub fn bf16() -> bool {
        #[allow(unused_unsafe, reason = "safe in newer versions of the standard library")]
        // SAFETY: every x86-64 processor has `cpuid`, and leaf 7 is asked only if leaf 0 knows it.
        let (features, leaf_7) = unsafe {
            let leaf_7 = (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0).edx);
            (__cpuid(1).ecx, leaf_7.unwrap_or(0))
        };
        let supported = leaf_7 & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE;
        supported && features & OSXSAVE != 0 && saved_registers() & TILES == TILES
    }

    fn saved_registers() -> u64 {
        #[target_feature(enable = "xsave")]
        fn read() -> u64 {
            // SAFETY: register 0 exists wherever the operating system uses XSAVE, which the caller has checked.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: as above.
        unsafe { read() }
    }
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;

    use super::*;

    #[test]
    fn detection_agrees_with_the_kernel() {
        let text = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let Some(flags) = text.lines().find(|line| line.starts_with("flags")) else {
            return skipped("the kernel names no features of the CPU in `/proc/cpuinfo`");
        };
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        let expected = CpuFeatures { avx512_bf16: has("avx512_bf16"), amx_bf16: has("amx_bf16") };
        assert_eq!(CpuFeatures::detect(), expected);
    }

    #[test]
    fn the_best_is_named() {
        let features = |avx512_bf16, amx_bf16| CpuFeatures { avx512_bf16, amx_bf16 };
        assert_eq!(features(true, true).name(), "AMX");
        assert_eq!(features(true, false).name(), "avx512_bf16");
        assert!(!features(false, false).has_bf16());
    }
}
