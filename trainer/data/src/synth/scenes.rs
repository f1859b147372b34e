//! Image files in ImageNet's folders: the ten things of CIFAR-10 as pictograms, in scenes of many sizes and ratios, in the formats
//! and forms that people have. The class is the shape; the hue of the background is the trap: in training it tells the class
//! nearly always, in validation never.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageEncoder, ImageError, RgbImage};
use rayon::prelude::*;

use super::dsp::Random;
use super::objects::{COLORS, SHAPES, SIZES, Traits, scene};
use super::{drawing, scaled};
use crate::error::DataError;
use crate::progress::Work;

/// Images of the two parts at scale 1.
const NUM_TRAIN: usize = 1_500;
const NUM_VAL: usize = 500;
/// Every class has images, also in a tiny set.
const MIN_IMAGES: usize = 30;
/// Range of the shorter side, in pixels, and of the longer one over it.
const SHORTER: [f64; 2] = [56.0, 128.0];
const RATIO: [f64; 2] = [1.0, 1.6];
/// How often a background in training has the hue of its class.
const SHORTCUT: f64 = 0.95;
/// Quality of JPEG files.
const QUALITY: u8 = 90;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Jpeg,
    GreyJpeg,
    Png,
    Png16,
    TransparentPng,
    WebP,
}

/// Mostly JPEG, as what people have.
const FORMS: [Form; 12] = [
    Form::Jpeg,
    Form::Jpeg,
    Form::Jpeg,
    Form::Jpeg,
    Form::Jpeg,
    Form::Jpeg,
    Form::Png,
    Form::Png,
    Form::WebP,
    Form::TransparentPng,
    Form::Png16,
    Form::GreyJpeg,
];

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Self::Jpeg | Self::GreyJpeg => "JPEG",
            Self::Png | Self::Png16 | Self::TransparentPng => "png",
            Self::WebP => "webp",
        }
    }

    fn encoded(self, rgb: RgbImage) -> Result<Vec<u8>, ImageError> {
        let (mut bytes, image) = (Vec::new(), DynamicImage::ImageRgb8(rgb));
        let image = match self {
            Self::Jpeg | Self::Png | Self::WebP => image,
            Self::GreyJpeg => DynamicImage::ImageLuma8(image.into_luma8()),
            Self::Png16 => DynamicImage::ImageRgb16(image.into_rgb16()),
            Self::TransparentPng => DynamicImage::ImageRgba8(image.into_rgba8()),
        };
        let out = Cursor::new(&mut bytes);
        let (pixels, width, height, kind) =
            (image.as_bytes(), image.width(), image.height(), image.color().into());
        match self {
            Self::Jpeg | Self::GreyJpeg => {
                JpegEncoder::new_with_quality(out, QUALITY).write_image(pixels, width, height, kind)
            }
            Self::WebP => WebPEncoder::new_lossless(out).write_image(pixels, width, height, kind),
            Self::Png | Self::Png16 | Self::TransparentPng => {
                PngEncoder::new(out).write_image(pixels, width, height, kind)
            }
        }?;
        Ok(bytes)
    }
}

/// Writes a set into `folder` as `train/<class>/<number>.<ending>` and `val/...`.
///
/// # Errors
/// No space, no permission.
pub(super) fn write(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    let nums = [NUM_TRAIN, NUM_VAL].map(|num| scaled(num, scale, MIN_IMAGES));
    let work = drawing(nums.iter().sum());
    for ((part, num), purpose) in ["train", "val"].into_iter().zip(nums).zip([1, 0]) {
        for (class, _) in SHAPES {
            fs_err::create_dir_all(folder.join(part).join(class))?;
        }
        (0..num as u64)
            .into_par_iter()
            .try_for_each(|number| write_image(folder, part, (seed, purpose, number), &work))?;
    }
    Ok(nums)
}

fn write_image(
    folder: &Path,
    part: &str,
    (seed, purpose, number): (u64, u64, u64),
    work: &Work,
) -> Result<(), DataError> {
    let mut random = Random::new(seed, purpose, number, 0);
    let class = (number % SHAPES.len() as u64) as usize;
    let traits = Traits {
        class: class as u8,
        color: random.index(COLORS.len()) as u8,
        size: 1 + random.index(SIZES.len() - 1) as u8,
    };
    let told = part == "train" && random.chance(SHORTCUT);
    let ground = if told { class } else { random.index(SHAPES.len()) } as f64 / SHAPES.len() as f64;
    let shorter = random.within(SHORTER);
    let longer = shorter * random.within(RATIO);
    let size = if random.chance(0.7) { [shorter, longer] } else { [longer, shorter] };
    let [height, width] = size.map(|side| side.round() as usize);
    let form = FORMS[random.index(FORMS.len()).min(FORMS.len() - 1)];
    let pixels = scene(traits, ground, [height, width], &mut random);
    let Some(image) = RgbImage::from_raw(width as u32, height as u32, pixels) else { return Ok(()) };
    let bytes = form.encoded(image).map_err(std::io::Error::other)?;
    let (name, _) = SHAPES[class];
    fs_err::write(folder.join(part).join(name).join(format!("{number:05}.{}", form.ending())), bytes)?;
    work.add(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_written_and_the_same_seed_gives_the_same_bytes() {
        let written = || {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(write(3, 0.02, folder.path()).unwrap(), [30, 30]);
            let mut files = Vec::new();
            for part in ["train", "val"] {
                for (class, _) in SHAPES {
                    for entry in fs_err::read_dir(folder.path().join(part).join(class)).unwrap() {
                        let path = entry.unwrap().path();
                        let name = path.strip_prefix(folder.path()).unwrap().display().to_string();
                        files.push((name, fs_err::read(path).unwrap()));
                    }
                }
            }
            files.sort();
            files
        };
        let files = written();
        assert_eq!(files.len(), 60);
        assert_eq!(files, written());
        for ending in ["JPEG", "png", "webp"] {
            assert!(files.iter().any(|(name, _)| name.ends_with(ending)), "{ending}");
        }
    }
}
