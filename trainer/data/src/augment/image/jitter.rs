//! Random changes of brightness, contrast, saturation and hue: torchvision's `ColorJitter`, within a `RandomApply`.

use super::colour;
use crate::rng::{Purpose, Stream, ViewKey};

/// The four changes, in a random order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// How often.
    pub probability: f64,
    /// Its factor is uniform from 1 less this, but not below 0, to 1 and this.
    pub brightness: f64,
    /// As for the brightness.
    pub contrast: f64,
    /// As for the brightness.
    pub saturation: f64,
    /// Its shift is uniform from less this to this, in turns around the circle of colours.
    pub hue: f64,
}

/// One of the changes, with what was drawn for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// By this factor.
    Brightness(f32),
    /// By this factor.
    Contrast(f32),
    /// By this factor.
    Saturation(f32),
    /// By this shift.
    Hue(f32),
}

/// Number of a [`Change`] for whoever makes it of tensors, in its declared order.
pub const NUM_CHANGES: usize = 4;

impl Change {
    /// Which one it is, below [`NUM_CHANGES`], and what was drawn for it.
    pub fn numbered(self) -> (usize, f32) {
        match self {
            Self::Brightness(factor) => (0, factor),
            Self::Contrast(factor) => (1, factor),
            Self::Saturation(factor) => (2, factor),
            Self::Hue(shift) => (3, shift),
        }
    }

    /// Makes it of pixels [3, H, W] or [1, H, W].
    pub fn make(self, pixels: &mut [f32], num_channels: usize) {
        let is_rgb = num_channels == 3;
        match self {
            Self::Brightness(factor) => colour::brightness(pixels, factor),
            Self::Contrast(factor) => colour::contrast(pixels, factor, is_rgb),
            Self::Saturation(factor) if is_rgb => colour::saturation(pixels, factor),
            Self::Hue(shift) if is_rgb && shift != 0.0 => colour::hue(pixels, shift),
            // Grey has neither.
            Self::Saturation(_) | Self::Hue(_) => {}
        }
    }
}

impl Jitter {
    /// The changes of the view, in their order; `None`: it stays as it is.
    pub(super) fn draw_for(&self, key: &ViewKey) -> Option<[Change; 4]> {
        let mut stream = key.stream(Purpose::Jitter);
        (stream.uniform() < self.probability).then(|| self.draw(&mut stream))
    }

    /// What is drawn from `stream`, in the order in which it is made. Every change draws, so that the strength of one leaves
    /// the draws of the others as they are.
    pub fn draw(&self, stream: &mut Stream) -> [Change; 4] {
        let mut factor =
            |strength: f64| stream.uniform_in([(1.0 - strength).max(0.0), 1.0 + strength]) as f32;
        let mut changes = [
            Change::Brightness(factor(self.brightness)),
            Change::Contrast(factor(self.contrast)),
            Change::Saturation(factor(self.saturation)),
            Change::Hue(stream.uniform_in([-self.hue, self.hue]) as f32),
        ];
        // Fisher & Yates.
        for last in (1..changes.len()).rev() {
            changes.swap(last, stream.up_to(last));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::stream;

    const JITTER: Jitter =
        Jitter { probability: 1.0, brightness: 0.4, contrast: 0.2, saturation: 1.5, hue: 0.1 };

    #[test]
    fn factors_lie_in_their_ranges_and_all_orders_occur() {
        let mut orders: BTreeMap<String, i32> = BTreeMap::new();
        let mut extremes = [[f32::INFINITY, f32::NEG_INFINITY]; 4];
        for sample in 0..24_000 {
            let changes = JITTER.draw(&mut stream(0, 0, sample, 0, Purpose::Jitter));
            let mut order = String::new();
            for change in changes {
                let (number, value) = change.numbered();
                order.push_str(&number.to_string());
                extremes[number] = [extremes[number][0].min(value), extremes[number][1].max(value)];
            }
            *orders.entry(order).or_default() += 1;
        }
        assert_eq!(orders.len(), 24);
        assert!(orders.values().all(|n| n.abs_diff(1000) < 160), "{orders:?}");
        for ([low, high], [least, most]) in
            extremes.into_iter().zip([[0.6, 1.4], [0.8, 1.2], [0.0, 2.5], [-0.1, 0.1]])
        {
            assert!((low - least).abs() < 1e-3 && (high - most).abs() < 1e-3, "{low} {high}");
        }
    }

    #[test]
    fn the_strength_of_one_change_leaves_the_others() {
        let brighter = Jitter { brightness: 0.9, ..JITTER };
        let drawn = |jitter: Jitter| jitter.draw(&mut stream(3, 0, 1, 0, Purpose::Jitter));
        for (a, b) in drawn(JITTER).into_iter().zip(drawn(brighter)) {
            assert!(
                a == b || matches!((a, b), (Change::Brightness(_), Change::Brightness(_))),
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn grey_images_keep_saturation_and_hue() {
        let pixels = [0.1, 0.5, 0.9];
        for change in [Change::Saturation(2.0), Change::Hue(0.3)] {
            let mut changed = pixels;
            change.make(&mut changed, 1);
            assert_eq!(changed, pixels);
        }
    }
}
