//! From an image as a decoder gives it to planes of bytes.

use image::DynamicImage;

/// Writes [`channels`, H, W], row-major: grey for one channel, else red, green and blue.
///
/// Grey of colours is PIL's: (299 R + 587 G + 114 B) / 1000 (ITU-R BT.601).
pub(super) fn planes(image: DynamicImage, channels: usize, out: &mut Vec<u8>) {
    out.clear();
    let num_pixels = image.width() as usize * image.height() as usize;
    match (channels, is_grey(&image)) {
        (1, true) => out.extend_from_slice(image.into_luma8().as_raw()),
        (1, false) => {
            let rgb = image.into_rgb8();
            out.extend(rgb.pixels().map(|pixel| {
                let [r, g, b] = pixel.0.map(u32::from);
                ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
            }));
        }
        (_, true) => {
            let grey = image.into_luma8();
            for _ in 0..3 {
                out.extend_from_slice(grey.as_raw());
            }
        }
        (_, false) => {
            let rgb = image.into_rgb8();
            out.resize(3 * num_pixels, 0);
            let (red, rest) = out.split_at_mut(num_pixels);
            let (green, blue) = rest.split_at_mut(num_pixels);
            for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(rgb.pixels()) {
                [*red, *green, *blue] = pixel.0;
            }
        }
    }
}

fn is_grey(image: &DynamicImage) -> bool {
    matches!(
        image,
        DynamicImage::ImageLuma8(_)
            | DynamicImage::ImageLumaA8(_)
            | DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
    )
}
