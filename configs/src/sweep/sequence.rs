//! Points that fill a cube evenly however many are taken: the additive recurrence with the powers of the generalized golden
//! ratio (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"), moved by a seed (Cranley and Patterson
//! 1976). More trials go on where fewer ended, and no two dimensions repeat each other, as those of Halton's sequence begin to.

/// The coordinates of point `index`, each from 0 to 1.
pub(super) fn point(index: u64, num_dimensions: usize, seed: u64) -> Vec<f64> {
    let ratio = ratio(num_dimensions);
    (1..=num_dimensions)
        .map(|dimension| {
            let step = ratio.powi(-(dimension as i32));
            let begin = if seed == 0 { 0.5 } else { fraction(seed, dimension as u64) };
            (begin + step * (index + 1) as f64).fract()
        })
        .collect()
}

/// The root of x^(d + 1) = x + 1 that is larger than 1.
fn ratio(num_dimensions: usize) -> f64 {
    let power = 1.0 / (num_dimensions as f64 + 1.0);
    (0..64).fold(2.0_f64, |x, _| (1.0 + x).powf(power))
}

/// A number from 0 to 1 (SplitMix64).
fn fraction(seed: u64, dimension: u64) -> f64 {
    let mut z = seed.wrapping_add(dimension.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_golden_in_one_dimension_and_plastic_in_two() {
        assert!((ratio(1) - 1.618_033_988_75).abs() < 1e-9);
        assert!((ratio(2) - 1.324_717_957_24).abs() < 1e-9);
    }

    /// Of 16 equal cells of the square each has its share of 64 points, which random ones do not give.
    #[test]
    fn points_fill_the_square_evenly() {
        for seed in [0, 1, 7] {
            let mut cells = [0; 16];
            for index in 0..64 {
                let point = point(index, 2, seed);
                assert!(point.iter().all(|x| (0.0..1.0).contains(x)));
                cells[(point[0] * 4.0) as usize * 4 + (point[1] * 4.0) as usize] += 1;
            }
            assert!(cells.iter().all(|count| (2..=6).contains(count)), "{seed}: {cells:?}");
        }
    }
}
