//! Writes IDX files.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err::File;

use super::{IMAGES_MAGIC, LABELS_MAGIC};

/// Writes images of `rows` x `columns` bytes, gzipped where the name ends in `.gz`.
///
/// # Errors
/// No space, no permission, more images than the header can count, a last image that is not whole.
pub fn write_images(path: &Path, rows: u32, columns: u32, pixels: &[u8]) -> io::Result<()> {
    let image_len = (rows as usize).saturating_mul(columns as usize);
    let num_images = pixels.len().checked_div(image_len).unwrap_or(0);
    if num_images * image_len != pixels.len() {
        return Err(io::Error::other(format!(
            "{} bytes are no whole number of images of {rows}x{columns}",
            pixels.len()
        )));
    }
    write(path, &[IMAGES_MAGIC, count(num_images)?, rows, columns], pixels)
}

/// Writes labels, gzipped where the name ends in `.gz`.
///
/// # Errors
/// No space, no permission, more labels than the header can count.
pub fn write_labels(path: &Path, labels: &[u8]) -> io::Result<()> {
    write(path, &[LABELS_MAGIC, count(labels.len())?], labels)
}

fn count(num: usize) -> io::Result<u32> {
    u32::try_from(num).map_err(|_| io::Error::other(format!("an IDX file cannot hold {num} items")))
}

fn write(path: &Path, header: &[u32], body: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz")) {
        let mut encoder = GzEncoder::new(file, Compression::default());
        encoder.write_all(&header)?;
        encoder.write_all(body)?;
        encoder.finish()?.flush()
    } else {
        file.write_all(&header)?;
        file.write_all(body)?;
        file.flush()
    }
}
