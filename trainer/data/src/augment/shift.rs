//! Shift in time with zero fill. A circular shift could not be told from none on stationary sound.

use super::Augmentation;
use crate::rng::{Purpose, Stream, ViewKey};

/// See [`shift`].
#[derive(Debug, Clone)]
pub struct Shift {
    /// Largest shift as a share of the clip.
    pub max_fraction: f64,
}

impl Augmentation<[f32]> for Shift {
    fn apply(&self, key: &ViewKey, clip: &mut [f32], _: &mut i64) {
        shift(&mut key.stream(Purpose::Shift), self.max_fraction, clip);
    }
}

/// Shifts by a uniform number of samples up to `max_fraction` of the clip, earlier or later.
pub fn shift(stream: &mut Stream, max_fraction: f64, clip: &mut [f32]) {
    let most = ((clip.len() as f64 * max_fraction) as usize).min(clip.len());
    let draw = stream.up_to(2 * most);
    let (distance, later) = (draw.abs_diff(most), draw > most);
    let kept = clip.len() - distance;
    if later {
        clip.copy_within(..kept, distance);
        clip.iter_mut().take(distance).for_each(|x| *x = 0.0);
    } else {
        clip.copy_within(distance.., 0);
        clip.iter_mut().skip(kept).for_each(|x| *x = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn shifts_are_uniform_both_ways_and_filled_with_zeros() {
        let mut counts = [0i32; 7];
        for sample in 0..7000 {
            let mut clip: [f32; 10] = std::array::from_fn(|i| i as f32 + 1.0);
            shift(&mut stream(0, 0, sample, 0, Purpose::Shift), 0.3, &mut clip);
            // Sample 5 stays within reach of every shift.
            let distance = clip.iter().position(|&x| x == 5.0).unwrap() as i32 - 4;
            counts[(distance + 3) as usize] += 1;
            for (i, &x) in clip.iter().enumerate() {
                let source = i as i32 - distance;
                assert_eq!(x, if (0..10).contains(&source) { source as f32 + 1.0 } else { 0.0 });
            }
        }
        assert!(counts.iter().all(|n| n.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn the_whole_clip_may_be_shifted_out() {
        for sample in 0..100 {
            let mut clip = [1.0; 3];
            shift(&mut stream(0, 0, sample, 0, Purpose::Shift), 1.0, &mut clip);
        }
        shift(&mut stream(0, 0, 0, 0, Purpose::Shift), 1.0, &mut []);
    }
}
