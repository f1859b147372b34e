//! A crop of an image with black borders: torchvision's `RandomCrop(size, padding)`, as for CIFAR in He et al. 2016 ("Deep
//! residual learning for image recognition", section 4.2).

use super::{Image, SourceImage};
use crate::rng::Stream;

/// Black pixels on each side, and then a part of the size of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaddedCrop {
    /// Pixels on each side.
    pub padding: usize,
}

impl PaddedCrop {
    /// Where a view of `to` rows and columns begins in an image of `from` with its borders: rows and columns from their corner.
    /// Every place is equally likely.
    pub(super) fn draw(&self, stream: &mut Stream, from: [usize; 2], to: [usize; 2]) -> [usize; 2] {
        let mut place = |from: usize, to: usize| stream.up_to((from + 2 * self.padding).saturating_sub(to));
        let down = place(from[0], to[0]);
        [down, place(from[1], to[1])]
    }

    /// Makes `view` of the part of the image with its borders that begins `down` rows and `right` columns from their corner.
    pub(super) fn copy(&self, [down, right]: [usize; 2], source: &SourceImage<'_>, view: &mut Image<'_>) {
        // The view begins so many pixels behind the image's beginning, or before it.
        let (before_rows, skipped_rows) =
            (self.padding.saturating_sub(down), down.saturating_sub(self.padding));
        let (before, skipped) = (self.padding.saturating_sub(right), right.saturating_sub(self.padding));
        let (height, width) = (view.height, view.width);
        view.pixels.fill(0.0);
        let planes = source.bytes.chunks_exact((source.height * source.width).max(1));
        for (plane, out) in planes.zip(view.pixels.chunks_exact_mut((height * width).max(1))) {
            let lines = plane.chunks_exact(source.width.max(1)).skip(skipped_rows);
            for (line, out) in lines.zip(out.chunks_exact_mut(width.max(1)).skip(before_rows)) {
                let bytes = line.iter().skip(skipped);
                for (pixel, &byte) in out.iter_mut().skip(before).zip(bytes) {
                    *pixel = f32::from(byte) * (1.0 / 255.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::image::ImageScratch;
    use crate::rng::{Purpose, stream};

    /// Two planes of 3 x 4 distinct pixels, padded by 2: each place gives what a padded copy has there.
    #[test]
    fn every_place_of_the_padded_image_occurs() {
        let bytes: Vec<u8> = (1..=24).collect();
        let source = SourceImage { bytes: &bytes, height: 3, width: 4 };
        let padded = |plane: usize, y: usize, x: usize| match (y.checked_sub(2), x.checked_sub(2)) {
            (Some(y @ 0..3), Some(x @ 0..4)) => f32::from(bytes[plane * 12 + y * 4 + x]) / 255.0,
            _ => 0.0,
        };
        let mut counts = [[0; 5]; 5];
        for sample in 0..25_000 {
            let mut pixels = [f32::NAN; 24];
            let scratch = &mut ImageScratch::default();
            let mut view = Image { pixels: &mut pixels, height: 3, width: 4, scratch };
            let (crop, stream) = (PaddedCrop { padding: 2 }, &mut stream(0, 0, sample, 0, Purpose::Crop));
            crop.copy(crop.draw(stream, [3, 4], [3, 4]), &source, &mut view);
            let fits = |top: usize, left: usize| {
                (0..24).all(|at| {
                    let (plane, y, x) = (at / 12, at % 12 / 4, at % 4);
                    (pixels[at] - padded(plane, top + y, left + x)).abs() < 1e-6
                })
            };
            let places: Vec<(usize, usize)> = (0..5)
                .flat_map(|top| (0..5).map(move |left| (top, left)))
                .filter(|&(t, l)| fits(t, l))
                .collect();
            assert_eq!(places.len(), 1, "{pixels:?}");
            counts[places[0].0][places[0].1] += 1;
        }
        assert!(counts.iter().flatten().all(|&n: &i32| n.abs_diff(1000) < 160), "{counts:?}");
    }
}
