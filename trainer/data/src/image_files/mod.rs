//! Image files as people have them: one image in each, of any size, in the formats of cameras, browsers and paint programs.

mod decode;
mod error;
mod planes;
#[cfg(test)]
mod tests;

pub use decode::{DecodedImage, decode, survey};
pub use error::{ImageFileError, ImageFileProblem};

/// Most pixels of an image that is decoded: three times those of a camera of 40 megapixels.
pub const MAX_PIXELS: u64 = 1 << 27;

/// Endings of files that are read, without regard to case. What a file is, its first bytes tell.
pub(crate) const IMAGE_ENDINGS: [&str; 6] = ["jpg", "jpeg", "jpe", "png", "webp", "bmp"];

/// Endings of images that are not read; seen in a folder, they explain why it seems empty.
pub(crate) const OTHER_IMAGE_ENDINGS: [&str; 8] =
    ["gif", "tif", "tiff", "heic", "heif", "avif", "jp2", "jxl"];
