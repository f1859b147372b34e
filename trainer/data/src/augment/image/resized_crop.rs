//! Where a crop lies that is resized to the size of a view: torchvision's `RandomResizedCrop.get_params`, the crop of Szegedy
//! et al. 2015 ("Going deeper with convolutions").

use super::resize::Rectangle;
use crate::rng::Stream;

/// Attempts at a crop that fits.
const ATTEMPTS: usize = 10;

/// A random part of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizedCrop {
    /// Range of its area, as a share of the image's; uniform.
    pub scale: [f64; 2],
    /// Range of its width over its height; uniform in the logarithm.
    pub ratio: [f64; 2],
}

impl ResizedCrop {
    /// The part of an image of `height` x `width`. Where ten attempts give none that fits, the largest at the centre whose
    /// ratio is in its range.
    pub fn rectangle(&self, stream: &mut Stream, height: usize, width: usize) -> Rectangle {
        let (rows, columns) = (height as f64, width as f64);
        let log_ratio = self.ratio.map(f64::ln);
        for _ in 0..ATTEMPTS {
            let area = rows * columns * stream.uniform_in(self.scale);
            let ratio = stream.uniform_in(log_ratio).exp();
            let of_width = (area * ratio).sqrt().round_ties_even() as usize;
            let of_height = (area / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&of_width) && (1..=height).contains(&of_height) {
                let (top, left) = (stream.up_to(height - of_height), stream.up_to(width - of_width));
                return Rectangle { top, left, height: of_height, width: of_width };
            }
        }
        let [narrowest, widest] = self.ratio;
        let of_image = columns / rows;
        let (of_height, of_width) = if of_image < narrowest {
            ((columns / narrowest).round_ties_even() as usize, width)
        } else if of_image > widest {
            (height, (rows * widest).round_ties_even() as usize)
        } else {
            (height, width)
        };
        let (of_height, of_width) = (of_height.clamp(1, height.max(1)), of_width.clamp(1, width.max(1)));
        Rectangle {
            top: height.saturating_sub(of_height) / 2,
            left: width.saturating_sub(of_width) / 2,
            height: of_height,
            width: of_width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    const CROP: ResizedCrop = ResizedCrop { scale: [0.2, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };

    #[test]
    fn parts_lie_in_the_image_and_have_areas_and_ratios_of_their_ranges() {
        let (mut areas, mut ratios) = (Vec::new(), Vec::new());
        for sample in 0..2000 {
            let part = CROP.rectangle(&mut stream(0, 0, sample, 0, Purpose::Crop), 220, 220);
            assert!(part.top + part.height <= 220 && part.left + part.width <= 220);
            areas.push((part.height * part.width) as f64 / 48_400.0);
            ratios.push((part.width as f64 / part.height as f64).ln());
        }
        // Sides are rounded to pixels.
        assert!(areas.iter().all(|area| (0.19..=1.0).contains(area)));
        assert!(ratios.iter().all(|ratio| ratio.abs() < (4.0_f64 / 3.0).ln() + 0.02));
        let below = |values: &[f64], bound: f64| values.iter().filter(|value| **value < bound).count();
        // Uniform up to those that do not fit, which are large: a tenth of (0.2, 1) lies below 0.28.
        assert!((200..300).contains(&below(&areas, 0.28)), "{}", below(&areas, 0.28));
        assert!((900..1100).contains(&below(&ratios, 0.0)), "{}", below(&ratios, 0.0));
    }

    #[test]
    fn every_place_occurs() {
        let crop = ResizedCrop { scale: [0.25, 0.25], ratio: [1.0, 1.0] };
        let mut counts = [[0; 3]; 3];
        for sample in 0..9000 {
            let part = crop.rectangle(&mut stream(0, 0, sample, 0, Purpose::Crop), 4, 4);
            assert_eq!((part.height, part.width), (2, 2));
            counts[part.top][part.left] += 1;
        }
        assert!(counts.iter().flatten().all(|&n: &i32| n.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn where_none_fits_the_centre_is_taken() {
        let crop = ResizedCrop { scale: [1.0, 1.0], ..CROP };
        let part_of = |height, width| crop.rectangle(&mut stream(0, 0, 1, 0, Purpose::Crop), height, width);
        assert_eq!(part_of(10, 100), Rectangle { top: 0, left: 43, height: 10, width: 13 });
        assert_eq!(part_of(100, 9), Rectangle { top: 44, left: 0, height: 12, width: 9 });
        assert_eq!(part_of(1, 1), Rectangle { top: 0, left: 0, height: 1, width: 1 });
    }
}
