//! A part of an image, resized by a filter with antialiasing: torchvision's `resized_crop` of tensors with `antialias=True`,
//! which is PIL's. A pixel of the result is the weighted mean of those below the filter, whose width goes by the pixels of the
//! coarser of the two.
//!
//! Departure: the bicubic filter overshoots at edges, and its pixels are cut off at 0 and 1, as PIL's and torchvision's bytes are
//! and its floats are not.

use dtrain_configs::schema::Interpolation;

use super::{Image, SourceImage};

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Rectangle {
    /// All of an image.
    pub fn whole(source: &SourceImage<'_>) -> Self {
        Self { top: 0, left: 0, height: source.height, width: source.width }
    }
}

/// For each pixel of a resized line: which pixels of the line it is made of, and their weights.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Taps {
    /// First pixel, and how many.
    ranges: Vec<(usize, usize)>,
    /// Those of all pixels, one after the other; they add up to 1 for each.
    weights: Vec<f32>,
}

impl Taps {
    /// For lines of `input` pixels that become `output`.
    pub fn fill(&mut self, input: usize, output: usize, interpolation: Interpolation) {
        self.ranges.clear();
        self.weights.clear();
        let scale = input as f64 / output.max(1) as f64;
        let unit = scale.max(1.0);
        let support = unit * half_width(interpolation);
        for pixel in 0..output {
            let centre = scale * (pixel as f64 + 0.5);
            // A conversion cuts off what is behind the point, and below 0.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let begin = self.weights.len();
            let mut total = 0.0;
            for at in first..end {
                let weight = filter(interpolation, (at as f64 - centre + 0.5) / unit);
                self.weights.push(weight as f32);
                total += weight;
            }
            let scale = if total > 0.0 { (1.0 / total) as f32 } else { 0.0 };
            self.weights.iter_mut().skip(begin).for_each(|weight| *weight *= scale);
            self.ranges.push((first, end.saturating_sub(first)));
        }
    }

    /// First pixel and weights, for each pixel of the result.
    fn each(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let mut rest = self.weights.as_slice();
        self.ranges.iter().map(move |&(first, len)| {
            let (weights, others) = rest.split_at(len.min(rest.len()));
            rest = others;
            (first, weights)
        })
    }
}

/// How far a filter reaches from its centre, in pixels of the coarser of the two.
fn half_width(interpolation: Interpolation) -> f64 {
    match interpolation {
        Interpolation::Bilinear => 1.0,
        Interpolation::Bicubic => 2.0,
    }
}

/// A triangle, or Keys's cubic with a = -1/2 (1981, "Cubic convolution interpolation for digital image processing").
fn filter(interpolation: Interpolation, x: f64) -> f64 {
    let x = x.abs();
    match interpolation {
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        Interpolation::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        Interpolation::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        Interpolation::Bicubic => 0.0,
    }
}

/// Makes `view` of a part of an image, with pixels from 0 to 1.
pub fn resize(source: &SourceImage<'_>, part: Rectangle, interpolation: Interpolation, view: &mut Image<'_>) {
    let (height, width) = (view.height, view.width);
    let scratch = &mut *view.scratch;
    scratch.columns_taps.fill(part.width, width, interpolation);
    scratch.rows_taps.fill(part.height, height, interpolation);
    scratch.rows.resize(part.height * width, 0.0);
    let planes = source.bytes.chunks_exact((source.height * source.width).max(1));
    for (plane, out) in planes.zip(view.pixels.chunks_exact_mut((height * width).max(1))) {
        let lines = plane.chunks_exact(source.width.max(1)).skip(part.top).take(part.height);
        for (line, row) in lines.zip(scratch.rows.chunks_exact_mut(width.max(1))) {
            let line = line.get(part.left..).unwrap_or_default();
            for (pixel, (first, weights)) in row.iter_mut().zip(scratch.columns_taps.each()) {
                let bytes = line.get(first..).unwrap_or_default();
                let sum: f32 =
                    bytes.iter().zip(weights).map(|(&byte, weight)| f32::from(byte) * weight).sum();
                *pixel = sum * (1.0 / 255.0);
            }
        }
        for (out, (first, weights)) in out.chunks_exact_mut(width.max(1)).zip(scratch.rows_taps.each()) {
            out.fill(0.0);
            let rows = scratch.rows.chunks_exact(width.max(1)).skip(first);
            for (row, &weight) in rows.zip(weights) {
                out.iter_mut().zip(row).for_each(|(pixel, value)| *pixel += value * weight);
            }
        }
    }
    if interpolation == Interpolation::Bicubic {
        view.pixels.iter_mut().for_each(|pixel| *pixel = pixel.clamp(0.0, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::image::ImageScratch;

    fn resized(
        bytes: &[u8],
        [height, width]: [usize; 2],
        part: Rectangle,
        [to_height, to_width]: [usize; 2],
    ) -> Vec<f32> {
        let planes = bytes.len() / (height * width);
        let mut pixels = vec![f32::NAN; planes * to_height * to_width];
        let scratch = &mut ImageScratch::default();
        let mut view = Image { pixels: &mut pixels, height: to_height, width: to_width, scratch };
        resize(&SourceImage { bytes, height, width }, part, Interpolation::Bilinear, &mut view);
        pixels
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    }

    #[test]
    fn a_part_of_the_size_of_the_view_is_copied() {
        let bytes: Vec<u8> = (0..2 * 3 * 4).map(|i| i * 10).collect();
        let part = Rectangle { top: 1, left: 1, height: 2, width: 3 };
        let expected = [50, 60, 70, 90, 100, 110, 170, 180, 190, 210, 220, 230].map(|x| x as f32 / 255.0);
        assert_close(&resized(&bytes, [3, 4], part, [2, 3]), &expected);
    }

    /// Twice as large: positions 0.25 and 0.75 between pixels, the border as it is. Half as large: (1, 3, 3, 1) / 8, and at
    /// the border what is there of it.
    #[test]
    fn lines_are_interpolated_and_averaged_below_a_triangle() {
        let line = [0, 51, 255, 255];
        let whole = Rectangle { top: 0, left: 0, height: 1, width: 4 };
        let expected = [0.0, 0.05, 0.15, 0.4, 0.8, 1.0, 1.0, 1.0];
        assert_close(&resized(&line, [1, 4], whole, [1, 8]), &expected);
        let expected = [(3.0 * 0.2 + 1.0) / 7.0, (0.2 + 3.0 + 3.0) / 7.0];
        assert_close(&resized(&line, [1, 4], whole, [1, 2]), &expected);
    }

    proptest! {
        #[test]
        fn weights_are_shares_of_pixels_that_there_are(input in 1usize..70, output in 1usize..70) {
            for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
                let mut taps = Taps::default();
                taps.fill(input, output, interpolation);
                let mut count = 0;
                for (first, weights) in taps.each() {
                    prop_assert!(!weights.is_empty() && first + weights.len() <= input);
                    prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                    let least = if interpolation == Interpolation::Bilinear { 0.0 } else { -0.2 };
                    prop_assert!(weights.iter().all(|&weight| weight >= least), "{:?}", weights);
                    count += 1;
                }
                prop_assert_eq!(count, output);
            }
        }
    }
}
