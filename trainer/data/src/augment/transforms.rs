//! One of six changes of a spectrogram, drawn alike, of which the view tells which one it was: labels that cost nothing.
//!
//! Each has a least strength. A shift does not wrap around: on a stationary sound that could not be told from no shift. What a
//! shift or a mask leaves empty has the lowest value of the spectrogram, as silence would.

use dtrain_configs::schema::TransformsConfig;

use super::{Augmentation, Spectrogram};
use crate::rng::{Purpose, Stream, ViewKey};

/// See the module.
#[derive(Debug, Clone)]
pub struct Transforms(pub TransformsConfig);

impl Augmentation<Spectrogram<'_>> for Transforms {
    fn column(&self) -> Option<&str> {
        Some(TransformsConfig::COLUMN)
    }

    fn apply(&self, key: &ViewKey, view: &mut Spectrogram<'_>, drawn: &mut i64) {
        let mut stream = key.stream(Purpose::Transform);
        let which = stream.up_to(TransformsConfig::COUNT as usize - 1);
        *drawn = which as i64;
        let num_frames = view.num_frames.max(1);
        let n_mels = view.cells.len() / num_frames;
        let fill = view.cells.iter().copied().fold(f32::INFINITY, f32::min);
        match which {
            0 => {}
            1 => {
                let by = signed(&mut stream, self.0.shift, num_frames);
                for row in view.cells.chunks_exact_mut(num_frames) {
                    shift(row, by, 1, fill);
                }
            }
            2 => {
                let by = signed(&mut stream, self.0.pitch, n_mels);
                shift(view.cells, by, num_frames, fill);
            }
            3 => {
                let (first, width) = place(&mut stream, self.0.time_mask, num_frames);
                for row in view.cells.chunks_exact_mut(num_frames) {
                    row.iter_mut().skip(first).take(width).for_each(|x| *x = fill);
                }
            }
            4 => {
                let (first, width) = place(&mut stream, self.0.freq_mask, n_mels);
                let cells = view.cells.iter_mut().skip(first * num_frames);
                cells.take(width * num_frames).for_each(|x| *x = fill);
            }
            _ => {
                let scale = stream.uniform_in(self.0.noise) * deviation(view.cells);
                key.stream(Purpose::TransformNoise).add_gaussian(scale as f32, view.cells);
            }
        }
    }
}

/// A whole number of steps whose share of `size` is uniform in `range`, one at least and fewer than `size`.
fn steps(stream: &mut Stream, range: [f64; 2], size: usize) -> usize {
    let wanted = (stream.uniform_in(range) * size as f64).round() as usize;
    wanted.clamp(1, size.saturating_sub(1).max(1))
}

/// As [`steps`], forward or backward.
fn signed(stream: &mut Stream, range: [f64; 2], size: usize) -> isize {
    let by = steps(stream, range, size) as isize;
    if stream.up_to(1) == 0 { by } else { -by }
}

/// First index and width of a mask over `size`.
fn place(stream: &mut Stream, range: [f64; 2], size: usize) -> (usize, usize) {
    let width = steps(stream, range, size);
    (stream.up_to(size.saturating_sub(width)), width)
}

/// Moves groups of `group` cells `by` places on, or back where it is negative.
fn shift(cells: &mut [f32], by: isize, group: usize, fill: f32) {
    let distance = (by.unsigned_abs() * group).min(cells.len());
    let kept = cells.len() - distance;
    if by >= 0 {
        cells.copy_within(..kept, distance);
        cells.iter_mut().take(distance).for_each(|x| *x = fill);
    } else {
        cells.copy_within(distance.., 0);
        cells.iter_mut().skip(kept).for_each(|x| *x = fill);
    }
}

fn deviation(cells: &[f32]) -> f64 {
    let count = cells.len().max(1) as f64;
    let mean = cells.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    (cells.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MELS: usize = 20;
    const FRAMES: usize = 30;

    /// No cell has the value of another, and the lowest is 1.
    fn cells() -> Vec<f32> {
        (0..MELS * FRAMES).map(|i| 1.0 + ((i * 7) % (MELS * FRAMES)) as f32).collect()
    }

    fn drawn(sample_id: u32) -> (i64, Vec<f32>) {
        let key = ViewKey { seed: 3, epoch: 0, sample_id, view: 0 };
        let (mut cells, mut drawn) = (cells(), -1);
        let mut view = Spectrogram { cells: &mut cells, num_frames: FRAMES };
        Transforms(TransformsConfig::default()).apply(&key, &mut view, &mut drawn);
        (drawn, cells)
    }

    fn at(cells: &[f32], mel: usize, frame: usize) -> f32 {
        cells[mel * FRAMES + frame]
    }

    /// Which change it was can be read off the cells, each as often as the others and none below its least strength.
    #[test]
    fn each_change_does_what_its_number_says() {
        let before = cells();
        let mut counts = [0; 6];
        for sample_id in 0..1200 {
            let (which, after) = drawn(sample_id);
            counts[which as usize] += 1;
            let empty_frames = (0..FRAMES).filter(|&t| (0..MELS).all(|m| at(&after, m, t) == 1.0)).count();
            let empty_mels = (0..MELS).filter(|&m| (0..FRAMES).all(|t| at(&after, m, t) == 1.0)).count();
            match which {
                0 => assert_eq!(after, before),
                1 => {
                    assert!((3..=12).contains(&empty_frames), "{empty_frames}");
                    let last = at(&after, 0, FRAMES - 1) == 1.0;
                    for m in 0..MELS {
                        for t in 0..FRAMES - empty_frames {
                            let [from, to] = if last { [t + empty_frames, t] } else { [t, t + empty_frames] };
                            assert_eq!(at(&after, m, to), at(&before, m, from));
                        }
                    }
                }
                2 => {
                    assert!((1..=4).contains(&empty_mels), "{empty_mels}");
                    let last = at(&after, MELS - 1, 0) == 1.0;
                    for m in 0..MELS - empty_mels {
                        let [from, to] = if last { [m + empty_mels, m] } else { [m, m + empty_mels] };
                        assert_eq!(at(&after, to, 3), at(&before, from, 3));
                    }
                }
                3 => assert!((3..=9).contains(&empty_frames) && empty_mels == 0, "{empty_frames}"),
                4 => assert!((2..=6).contains(&empty_mels) && empty_frames == 0, "{empty_mels}"),
                _ => {
                    let errors: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
                    let ratio = deviation(&errors) / deviation(&before);
                    assert!((0.25..0.9).contains(&ratio), "{ratio}");
                }
            }
        }
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_smallest_spectrogram_is_left_whole_or_changed_without_a_panic() {
        for sample_id in 0..60 {
            let key = ViewKey { seed: 0, epoch: 0, sample_id, view: 0 };
            for size in [0, 1] {
                let (mut cells, mut drawn) = (vec![2.0; size], -1);
                let mut view = Spectrogram { cells: &mut cells, num_frames: size };
                Transforms(TransformsConfig::default()).apply(&key, &mut view, &mut drawn);
                assert!((0..6).contains(&drawn));
            }
        }
    }
}
