//! Gaussian blur: torchvision's `GaussianBlur`, within a `RandomApply`. Borders are reflected.

use dtrain_configs::schema::ByView;

use super::Image;
use crate::augment::AugmentError;
use crate::rng::{Purpose, ViewKey};

/// A blur of random width.
#[derive(Debug, Clone, PartialEq)]
pub struct Blur {
    /// How often.
    pub probability: ByView,
    /// Range of its standard deviation in pixels; uniform.
    pub sigma: [f64; 2],
    /// Pixels that it reaches in each direction, fewer than a side has.
    pub radius: usize,
}

/// Pixels that a blur over `kernel` pixels reaches in each direction. Without a kernel, the one of SimCLR's program: a tenth
/// of the height, made odd (23 of 224); but 3 at least, so that the blur is one on small images too.
///
/// # Errors
/// It reaches beyond what is reflected at a border.
pub(super) fn radius(kernel: Option<usize>, height: usize, width: usize) -> Result<usize, AugmentError> {
    let most = height.min(width).saturating_sub(1);
    match kernel {
        None => Ok((height / 10 / 2).max(1).min(most)),
        Some(kernel) if kernel / 2 <= most => Ok(kernel / 2),
        Some(kernel) => Err(AugmentError {
            key: "image.blur_kernel",
            value: kernel.to_string(),
            expected: "less than twice the smaller side of a view",
        }),
    }
}

impl Blur {
    /// The standard deviation of the blur of the view of number `index` in its group; `None`: it stays as it is.
    pub(super) fn draw(&self, key: &ViewKey, index: u32) -> Option<f64> {
        let mut stream = key.stream(Purpose::Blur);
        (stream.uniform() < self.probability.of(index)).then(|| stream.uniform_in(self.sigma))
    }
}

/// Blurs with a Gaussian of standard deviation `sigma`, cut off after `radius` pixels.
pub fn blur(view: &mut Image<'_>, sigma: f64, radius: usize) {
    let (height, width) = (view.height, view.width);
    let Image { pixels, scratch, .. } = view;
    fill_kernel(&mut scratch.kernel, sigma, radius);
    let kernel = &scratch.kernel;
    // One row with its reflected borders, and then the rows of a plane that are blurred from left to right.
    scratch.rows.resize(width + 2 * radius + height * width, 0.0);
    let (line, rows) = scratch.rows.split_at_mut(width + 2 * radius);
    for plane in pixels.chunks_exact_mut((height * width).max(1)) {
        for (row, blurred) in plane.chunks_exact(width.max(1)).zip(rows.chunks_exact_mut(width.max(1))) {
            for (at, pixel) in line.iter_mut().enumerate() {
                *pixel = row.get(reflected(at, radius, width)).copied().unwrap_or(0.0);
            }
            blurred.fill(0.0);
            for (shift, &weight) in kernel.iter().enumerate() {
                add(blurred, line.get(shift..).unwrap_or_default(), weight);
            }
        }
        for (y, row) in plane.chunks_exact_mut(width.max(1)).enumerate() {
            row.fill(0.0);
            for (shift, &weight) in kernel.iter().enumerate() {
                let from = reflected(y + shift, radius, height) * width;
                add(row, rows.get(from..from + width).unwrap_or_default(), weight);
            }
        }
    }
}

fn add(sum: &mut [f32], values: &[f32], weight: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

/// The pixel of a line of `len` that is the one `at` of the line with `radius` reflected pixels on each side. The border itself
/// is not repeated.
fn reflected(at: usize, radius: usize, len: usize) -> usize {
    let within = at.abs_diff(radius);
    if at > radius && within >= len { (2 * len).saturating_sub(within + 2) } else { within }
}

/// Weights at distances of whole pixels, which add up to 1.
fn fill_kernel(kernel: &mut Vec<f32>, sigma: f64, radius: usize) {
    let weight = |at: usize| (-0.5 * (at.abs_diff(radius) as f64 / sigma).powi(2)).exp();
    let total: f64 = (0..=2 * radius).map(weight).sum();
    kernel.clear();
    kernel.extend((0..=2 * radius).map(|at| (weight(at) / total) as f32));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::image::ImageScratch;

    fn blurred(pixels: &[f32], [height, width]: [usize; 2], sigma: f64, radius: usize) -> Vec<f32> {
        let mut pixels = pixels.to_vec();
        let scratch = &mut ImageScratch::default();
        blur(&mut Image { pixels: &mut pixels, height, width, scratch }, sigma, radius);
        pixels
    }

    /// `torch.nn.functional.pad(mode="reflect")`.
    #[test]
    fn borders_are_reflected_without_themselves() {
        let line = |radius: usize, len: usize| -> Vec<usize> {
            (0..len + 2 * radius).map(|at| reflected(at, radius, len)).collect()
        };
        assert_eq!(line(2, 4), [2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(line(1, 2), [1, 0, 1, 0]);
        assert_eq!(line(0, 3), [0, 1, 2]);
    }

    #[test]
    fn the_kernel_is_simclr_s_and_fits_the_view() {
        assert_eq!(
            [(224, 224), (32, 32), (96, 96), (14, 14), (1, 5)].map(|(h, w)| radius(None, h, w).unwrap()),
            [11, 1, 4, 1, 0]
        );
        assert_eq!(radius(Some(23), 12, 40), Ok(11));
        assert_eq!(radius(Some(25), 12, 40).unwrap_err().key, "image.blur_kernel");
    }

    proptest! {
        /// The sum over the square around each pixel, as torchvision computes it.
        #[test]
        fn both_directions_are_the_square_around_each_pixel(
            pixels in prop::collection::vec(0.0f32..=1.0, 2 * 5 * 4),
            sigma in 0.1f64..3.0,
            radius in 0usize..4,
        ) {
            let weights: Vec<f64> =
                (-(radius as i64)..=radius as i64).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
            let total: f64 = weights.iter().sum();
            let found = blurred(&pixels, [5, 4], sigma, radius);
            for (at, found) in found.into_iter().enumerate() {
                let (plane, y, x) = (at / 20, at % 20 / 4, at % 4);
                let mut expected = 0.0;
                for (i, of_row) in weights.iter().enumerate() {
                    for (j, of_column) in weights.iter().enumerate() {
                        let from = plane * 20 + reflected(y + i, radius, 5) * 4 + reflected(x + j, radius, 4);
                        expected += of_row * of_column * f64::from(pixels[from]);
                    }
                }
                prop_assert!((f64::from(found) - expected / total / total).abs() < 1e-5);
            }
        }
    }
}
