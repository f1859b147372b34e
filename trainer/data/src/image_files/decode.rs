//! From a file to planes of bytes, upright, in grey or red, green and blue.
//!
//! JPEG, PNG, WebP and BMP by the `image` crate, whose decoders are written in safe Rust. The header is read first, and an image
//! of too many pixels is refused before anything is allocated for it. Damage is found where the decoder tells it; a JPEG
//! whose end is missing, which decoders fill with grey, is told by its markers.
//!
//! What becomes of pixels: the EXIF orientation is applied, as a viewer does; 16 bits become 8; a palette becomes its colours;
//! CMYK becomes RGB by the decoder's formula, without a colour profile; transparency is dropped, as PIL's `convert("RGB")` does.

use std::io::{Cursor, Read};
use std::path::Path;

use fs_err::File;
use image::codecs::{bmp::BmpDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits};

use super::MAX_PIXELS;
use super::error::{ImageFileError, ImageFileProblem};
use super::planes::planes;
use crate::sniff::FileKind;

/// Most bytes that a decoder may allocate: eight for each pixel, and what it needs besides.
const MAX_DECODER_BYTES: u64 = 8 * MAX_PIXELS + (64 << 20);

/// Longest file: an image of [`MAX_PIXELS`] that nothing compressed.
const MAX_FILE_BYTES: u64 = MAX_DECODER_BYTES;

/// First bytes by which a format is told.
const FIRST_BYTES: usize = 64;

/// An image that was decoded. Its buffers are used again for the next one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    /// [C, H, W], row-major.
    pub pixels: Vec<u8>,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
    file: Vec<u8>,
}

/// Decodes a file into `image`, with 1 or 3 `channels`.
///
/// # Errors
/// A file that gives no image.
pub fn decode(path: &Path, channels: usize, image: &mut DecodedImage) -> Result<(), ImageFileError> {
    let DecodedImage { file, .. } = image;
    let decoded = read(path, file).and_then(|()| decoded(file));
    let decoded = decoded.map_err(|problem| problem.of(path))?;
    (image.height, image.width) = (decoded.height() as usize, decoded.width() as usize);
    planes(decoded, channels, &mut image.pixels);
    Ok(())
}

/// Rows and columns of the image in a file, before it is turned upright, and bytes of the file. Only its header is looked at.
///
/// # Errors
/// A file that cannot give an image, as far as its header tells.
pub fn survey(path: &Path) -> Result<([u32; 2], u64), ImageFileError> {
    surveyed(path).map_err(|problem| problem.of(path))
}

fn surveyed(path: &Path) -> Result<([u32; 2], u64), ImageFileProblem> {
    let unreadable = |error: std::io::Error| ImageFileProblem::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let num_bytes = file.metadata().map_err(unreadable)?.len();
    let mut first = Vec::new();
    file.take(FIRST_BYTES as u64).read_to_end(&mut first).map_err(unreadable)?;
    let format = format_of(&first)?;
    let reader = std::io::BufReader::new(File::open(path).map_err(unreadable)?);
    let [width, height] = with_decoder(format, reader, |decoder| {
        let (width, height) = decoder.dimensions();
        Ok([width, height])
    })?;
    Ok(([height, width], num_bytes))
}

fn read(path: &Path, bytes: &mut Vec<u8>) -> Result<(), ImageFileProblem> {
    let unreadable = |error: std::io::Error| ImageFileProblem::Unreadable(error.to_string());
    bytes.clear();
    File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES).read_to_end(bytes).map_err(unreadable)?;
    Ok(())
}

fn decoded(bytes: &[u8]) -> Result<DynamicImage, ImageFileProblem> {
    let format = format_of(bytes)?;
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err(ImageFileProblem::Truncated);
    }
    with_decoder(format, Cursor::new(bytes), |mut decoder| {
        let orientation = decoder.orientation().map_err(problem)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(problem)?;
        image.apply_orientation(orientation);
        Ok(image)
    })
}

/// A decoder whose header has been read and found to be of a single image of a size that is decoded.
fn with_decoder<R: std::io::BufRead + std::io::Seek, T>(
    format: ImageFormat,
    reader: R,
    work: impl FnOnce(Box<dyn ImageDecoder + '_>) -> Result<T, ImageFileProblem>,
) -> Result<T, ImageFileProblem> {
    let mut decoder: Box<dyn ImageDecoder + '_> = match format {
        ImageFormat::Jpeg => Box::new(JpegDecoder::new(reader).map_err(problem)?),
        ImageFormat::Bmp => Box::new(BmpDecoder::new(reader).map_err(problem)?),
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(reader).map_err(problem)?;
            refuse_animation(decoder.has_animation())?;
            Box::new(decoder)
        }
        _ => {
            let decoder = PngDecoder::with_limits(reader, limits()).map_err(problem)?;
            refuse_animation(decoder.is_apng().map_err(problem)?)?;
            Box::new(decoder)
        }
    };
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageFileProblem::TooLarge { width, height });
    }
    if width == 0 || height == 0 {
        return Err(ImageFileProblem::Damaged("it has no pixels".into()));
    }
    decoder.set_limits(limits()).map_err(problem)?;
    work(decoder)
}

fn refuse_animation(is_animation: bool) -> Result<(), ImageFileProblem> {
    if is_animation { Err(ImageFileProblem::Animated) } else { Ok(()) }
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    limits
}

/// The format of a file, by its first bytes.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, ImageFileProblem> {
    if bytes.is_empty() {
        return Err(ImageFileProblem::Empty);
    }
    let starts = |first: &[u8]| bytes.starts_with(first);
    let container = |name: &[u8]| bytes.get(8..8 + name.len()) == Some(name);
    if starts(b"\xff\xd8\xff") {
        Ok(ImageFormat::Jpeg)
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        Ok(ImageFormat::Png)
    } else if starts(b"RIFF") && container(b"WEBP") {
        Ok(ImageFormat::WebP)
    } else if starts(b"BM") {
        Ok(ImageFormat::Bmp)
    } else if starts(b"GIF8") {
        Err(ImageFileProblem::OtherFormat("GIF"))
    } else if starts(b"II*\0") || starts(b"MM\0*") {
        Err(ImageFileProblem::OtherFormat("TIFF"))
    } else if bytes.get(4..8) == Some(b"ftyp") {
        Err(ImageFileProblem::OtherFormat("HEIF or AVIF"))
    } else if starts(b"\xff\x0a") || starts(b"\0\0\0\x0cJXL ") {
        Err(ImageFileProblem::OtherFormat("JPEG XL"))
    } else {
        let what = FileKind::of(bytes).map(|kind| kind.describe().to_owned());
        Err(ImageFileProblem::NoImage(what.unwrap_or_else(|| "not an image".into())))
    }
}

/// Whether the last scan of a JPEG ends with the marker of the end. In a scan itself neither marker occurs, and a thumbnail's
/// come before the image's.
fn has_end(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    let (scan, end) = (last(0xda), last(0xd9));
    scan.is_some() && end > scan
}

fn problem(error: ImageError) -> ImageFileProblem {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageFileProblem::Truncated
        }
        // Some of its messages have several lines.
        error => {
            ImageFileProblem::Damaged(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
        }
    }
}
