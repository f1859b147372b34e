//! Brightness, contrast, saturation, hue and luminance of images with pixels from 0 to 1, as torchvision's `adjust_*` and
//! `rgb_to_grayscale` define them for float tensors.
//!
//! # Shapes
//! All take [C, H, W], row-major; RGB is C = 3.

use crate::simd::dispatch_simd;

/// Luminance of a pixel.
#[inline(always)]
fn luminance(red: f32, green: f32, blue: f32) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

/// `factor` times a value and the rest of another one.
#[inline(always)]
fn blend(value: f32, other: f32, factor: f32) -> f32 {
    (factor * value + (1.0 - factor) * other).clamp(0.0, 1.0)
}

/// The three planes of an RGB image.
#[inline(always)]
fn planes(pixels: &mut [f32]) -> [&mut [f32]; 3] {
    let plane = pixels.len() / 3;
    let (red, rest) = pixels.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    [red, green, blue]
}

/// The pixels of an RGB image, to be changed.
macro_rules! for_each_pixel {
    ($pixels:expr, |$red:ident, $green:ident, $blue:ident| $body:expr) => {{
        let [reds, greens, blues] = planes($pixels);
        for (($red, $green), $blue) in reds.iter_mut().zip(greens).zip(blues) {
            $body
        }
    }};
}

/// Factor on all pixels: `adjust_brightness`.
pub fn brightness(pixels: &mut [f32], factor: f32) {
    pixels.iter_mut().for_each(|pixel| *pixel = (factor * *pixel).clamp(0.0, 1.0));
}

/// Factor on the distance from the mean, which is that of the luminance for RGB: `adjust_contrast`.
pub fn contrast(pixels: &mut [f32], factor: f32, is_rgb: bool) {
    let mean = if is_rgb {
        let mut sum = 0.0;
        for_each_pixel!(pixels, |red, green, blue| sum += f64::from(luminance(*red, *green, *blue)));
        sum / (pixels.len() / 3).max(1) as f64
    } else {
        pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len().max(1) as f64
    };
    pixels.iter_mut().for_each(|pixel| *pixel = blend(*pixel, mean as f32, factor));
}

/// Factor on the distance of each RGB pixel from its luminance: `adjust_saturation`.
pub fn saturation(pixels: &mut [f32], factor: f32) {
    for_each_pixel!(pixels, |red, green, blue| {
        let grey = luminance(*red, *green, *blue);
        [*red, *green, *blue] = [*red, *green, *blue].map(|value| blend(value, grey, factor));
    });
}

/// Luminance in all channels of an RGB image; others are left as they are: `rgb_to_grayscale(num_output_channels=3)`.
pub fn grayscale(pixels: &mut [f32], is_rgb: bool) {
    if is_rgb {
        for_each_pixel!(pixels, |red, green, blue| {
            let grey = luminance(*red, *green, *blue);
            [*red, *green, *blue] = [grey; 3];
        });
    }
}

dispatch_simd! {
    /// Shift of the hue of an RGB image by `turns` around the circle of colours: `adjust_hue`.
    pub fn hue(pixels: &mut [f32], turns: f32) {
        for_each_pixel!(pixels, |red, green, blue| {
            [*red, *green, *blue] = shift_hue(*red, *green, *blue, turns);
        });
    }
}

/// From RGB to hue, saturation and value, and back with another hue. The hue is counted in sixths of the circle; without
/// branches, so that pixels are computed side by side.
#[inline(always)]
fn shift_hue(red: f32, green: f32, blue: f32, turns: f32) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    // Greys have hue 0 and saturation 0.
    let per_range = 1.0 / if range == 0.0 { 1.0 } else { range };
    let of_red = (green - blue) * per_range;
    let of_green = 2.0 + (blue - red) * per_range;
    let of_blue = 4.0 + (red - green) * per_range;
    let sixths = if value == red {
        of_red
    } else if value == green {
        of_green
    } else {
        of_blue
    };
    let shifted = around(sixths + 6.0 * turns);
    // Of red, green and blue: how far the value falls towards that of grey, by their distance on the circle.
    [5.0, 3.0, 1.0].map(|offset| {
        let at = around(shifted + offset);
        (value - range * at.min(4.0 - at).clamp(0.0, 1.0)).clamp(0.0, 1.0)
    })
}

/// A number of sixths, from 0 up to 6.
#[inline(always)]
fn around(sixths: f32) -> f32 {
    sixths - 6.0 * (sixths * (1.0 / 6.0)).floor()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6),
            "{found:?} {expected:?}"
        );
    }

    /// Three planes of two pixels: (0.2, 0.4, 0.6) and (1, 0, 0.5).
    const PIXELS: [f32; 6] = [0.2, 1.0, 0.4, 0.0, 0.6, 0.5];
    const GREYS: [f32; 2] = [0.2989 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6, 0.2989 + 0.114 * 0.5];

    #[test]
    fn changes_are_those_of_their_formulas() {
        let mut pixels = PIXELS;
        brightness(&mut pixels, 1.5);
        assert_close(&pixels, &[0.3, 1.0, 0.6, 0.0, 0.9, 0.75]);

        let mean = (GREYS[0] + GREYS[1]) / 2.0;
        let mut pixels = PIXELS;
        contrast(&mut pixels, 0.5, true);
        assert_close(&pixels, &PIXELS.map(|x| 0.5 * x + 0.5 * mean));
        let mut pixels = [0.0, 0.5, 1.0];
        contrast(&mut pixels, 0.5, false);
        assert_close(&pixels, &[0.25, 0.5, 0.75]);

        let mut pixels = PIXELS;
        saturation(&mut pixels, 0.25);
        let expected: Vec<f32> = (0..6).map(|i| 0.25 * PIXELS[i] + 0.75 * GREYS[i % 2]).collect();
        assert_close(&pixels, &expected);

        let mut pixels = PIXELS;
        grayscale(&mut pixels, true);
        assert_close(&pixels, &[GREYS, GREYS, GREYS].concat());
    }

    /// A third of the circle turns red into green, green into blue and blue into red.
    #[test]
    fn hues_go_around() {
        let mut pixels = PIXELS;
        hue(&mut pixels, 1.0 / 3.0);
        assert_close(&pixels, &[0.6, 0.5, 0.2, 1.0, 0.4, 0.0]);
        let mut pixels = PIXELS;
        hue(&mut pixels, -1.0 / 3.0);
        assert_close(&pixels, &[0.4, 0.0, 0.6, 0.5, 0.2, 1.0]);
        let mut greys = [0.3, 0.0, 0.3, 0.0, 0.3, 0.0];
        hue(&mut greys, 0.37);
        assert_close(&greys, &[0.3, 0.0, 0.3, 0.0, 0.3, 0.0]);
    }

    /// torchvision's `_rgb2hsv` and `_hsv2rgb`, case by case.
    fn by_cases(rgb: [f64; 3], turns: f64) -> [f64; 3] {
        let [r, g, b] = rgb;
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let range = most - least;
        let saturation = if range == 0.0 { 0.0 } else { range / most };
        let divisor = if range == 0.0 { 1.0 } else { range };
        let [rc, gc, bc] = rgb.map(|x| (most - x) / divisor);
        let sixths = match () {
            () if most == r => bc - gc,
            () if most == g => 2.0 + rc - bc,
            () => 4.0 + gc - rc,
        };
        let hue = ((sixths / 6.0 + 1.0) % 1.0 + turns).rem_euclid(1.0);
        let (i, f) = ((hue * 6.0).floor(), hue * 6.0 - (hue * 6.0).floor());
        let p = most * (1.0 - saturation);
        let q = most * (1.0 - saturation * f);
        let t = most * (1.0 - saturation * (1.0 - f));
        match i as i64 % 6 {
            0 => [most, t, p],
            1 => [q, most, p],
            2 => [p, most, t],
            3 => [p, q, most],
            4 => [t, p, most],
            _ => [most, p, q],
        }
    }

    proptest! {
        #[test]
        fn any_hue_is_shifted_as_case_by_case(bytes: [u8; 3], turns in -0.5f32..=0.5) {
            let mut pixels = bytes.map(|byte| f32::from(byte) / 255.0);
            let expected = by_cases(pixels.map(f64::from), f64::from(turns));
            hue(&mut pixels, turns);
            assert_close(&pixels, &expected.map(|x| x as f32));
        }

        #[test]
        fn whatever_is_drawn_pixels_stay_from_0_to_1(
            pixels in prop::collection::vec(0.0f32..=1.0, 12),
            factor in 0.0f32..4.0,
            turns in -0.5f32..=0.5,
        ) {
            let mut pixels = pixels;
            contrast(&mut pixels, factor, true);
            saturation(&mut pixels, factor);
            hue(&mut pixels, turns);
            brightness(&mut pixels, factor);
            prop_assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)), "{:?}", pixels);
        }
    }
}
