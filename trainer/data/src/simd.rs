//! Elementwise kernels for loops that the compiler vectorizes, and the choice of the instruction set at run time.
//!
//! The build targets plain x86-64, whose vectors hold four floats. [`dispatch_simd`] compiles a function a second
//! time with AVX2 and picks that version on machines that have it. Nothing is contracted or reordered between the
//! two, so both give the same bits.

use std::f32::consts::TAU;

/// Defines a function twice, plain and with AVX2, and calls the better one that the machine has.
///
/// Functions called in the body have to be `#[inline(always)]` to be compiled with it.
macro_rules! dispatch_simd {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the machine has just been found to have AVX2.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use dispatch_simd;

/// Bits of sqrt(1/2), where mantissas are cut.
const SQRT_HALF_BITS: u32 = 0x3f35_04f3;

/// Natural logarithm of a normal, positive number; relative error below 1e-6.
///
/// Anything else (zero, subnormal, negative, not finite) gives a meaningless finite number. The polynomial is that
/// of `logf` in the Cephes library (Moshier).
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = ((shifted as i32) >> 23) as f32;
    let f = f32::from_bits((shifted & 0x007f_ffff) + SQRT_HALF_BITS) - 1.0;
    let square = f * f;
    let mut p = 7.037_683_6e-2;
    p = p * f - 1.151_461e-1;
    p = p * f + 1.167_699_8e-1;
    p = p * f - 1.242_014_1e-1;
    p = p * f + 1.424_932_3e-1;
    p = p * f - 1.666_805_8e-1;
    p = p * f + 2.000_071_5e-1;
    p = p * f - 2.499_999_4e-1;
    p = p * f + 3.333_333e-1;
    // ln 2 in two parts, so that the large one times the exponent is exact.
    let tail = p * f * square - 2.121_944_4e-4 * exponent - 0.5 * square;
    f + tail + 0.693_359_4 * exponent
}

/// `(sin, cos)` of `turns` full turns, for -0.5 <= `turns` <= 0.5; absolute error below 3e-7.
#[inline(always)]
pub fn sin_cos_turns(turns: f32) -> (f32, f32) {
    // A quarter turn back: both functions are then even or odd over half a circle, where five terms are enough.
    // Coefficients: least squares with weights that level the error.
    let v = turns.abs() - 0.25;
    let v2 = v * v;
    let odd = TAU + v2 * (-41.341_656 + v2 * (81.601_006 + v2 * (-76.549_78 + v2 * 39.536_705)));
    let even = 0.999_999_95 + v2 * (-19.739_172 + v2 * (64.934_59 + v2 * (-85.240_33 + v2 * 56.242_374)));
    (even.copysign(turns), -(v * odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_is_within_its_relative_error() {
        let mut x = f32::MIN_POSITIVE;
        let mut worst = 0.0f64;
        while x < f32::MAX / 1.01 {
            let exact = f64::from(x).ln();
            worst = worst.max(((f64::from(ln(x)) - exact) / exact).abs());
            x *= 1.000_37;
        }
        for step in -2000i32..=2000 {
            let near_one = f32::from_bits(1.0f32.to_bits().wrapping_add_signed(step));
            let exact = f64::from(near_one).ln();
            if step != 0 {
                worst = worst.max(((f64::from(ln(near_one)) - exact) / exact).abs());
            }
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(worst < 1e-6, "{worst:e}");
    }

    #[test]
    fn sin_cos_is_within_its_absolute_error() {
        for step in 0..=100_000 {
            let turns = step as f32 / 100_000.0 - 0.5;
            let (sin, cos) = sin_cos_turns(turns);
            let exact = std::f64::consts::TAU * f64::from(turns);
            let error = (f64::from(sin) - exact.sin()).abs().max((f64::from(cos) - exact.cos()).abs());
            assert!(error < 3e-7, "{turns}: {error:e}");
        }
    }

    #[test]
    fn both_versions_give_the_same_bits() {
        dispatch_simd! {
            fn dispatched(values: &mut [f32]) {
                for x in values {
                    *x = ln(*x) * sin_cos_turns(*x / 300.0).0;
                }
            }
        }
        let mut fast: Vec<f32> = (1..100).map(|i| i as f32 * 0.917).collect();
        let slow: Vec<f32> = fast.iter().map(|&x| ln(x) * sin_cos_turns(x / 300.0).0).collect();
        dispatched(&mut fast);
        assert_eq!(fast, slow);
    }
}
