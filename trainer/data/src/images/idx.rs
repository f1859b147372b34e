//! IDX, the format of MNIST and its kin: a big-endian magic number, the sizes, then bytes. A file may be gzipped.
//!
//! | file | magic | then |
//! |---|---|---|
//! | images | `0x00000803` | u32 count, rows, columns; count x rows x columns bytes |
//! | labels | `0x00000801` | u32 count; count bytes |
//!
//! A folder holds `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and `t10k-...` or `test-...` for the test part,
//! all of them behind one name of a set where they have one, as `emnist-letters-train-...`. Further
//! heads are label files of the same form beside them, `train-thickness-idx1-ubyte` for one named `thickness`; a
//! `heads.json` may name their classes. `val-images-idx3-ubyte` with its labels is a part named `val`, and
//! `train-masks-idx3-ubyte` marks positions in each image of a part: 0 outside, anything else within.

mod folder;
mod write;

use std::path::Path;

use super::bytes::{Bytes, Column};
use super::error::{FormatError, FormatProblem};
use super::gzip::inflate;
use super::shape::ImageShape;

pub use folder::open;
pub(super) use folder::{has_images, open_own_part, open_split, own_parts, prefixes};
pub use write::{write_images, write_labels};

const IMAGES_MAGIC: u32 = 0x0000_0803;
const LABELS_MAGIC: u32 = 0x0000_0801;
const IMAGES_HEADER: usize = 16;
const LABELS_HEADER: usize = 8;

/// An images file, its header read.
#[derive(Debug, Clone)]
pub(super) struct IdxImages {
    pub num_images: u64,
    pub shape: ImageShape,
    pub pixels: Column,
}

/// A labels file, its header read.
#[derive(Debug, Clone)]
pub(super) struct IdxLabels {
    pub num_labels: u64,
    pub labels: Column,
}

pub(super) fn read_images(path: &Path) -> Result<IdxImages, FormatError> {
    parse_images(load(path, IMAGES_HEADER, images_len)?)
}

pub(super) fn read_labels(path: &Path) -> Result<IdxLabels, FormatError> {
    parse_labels(load(path, LABELS_HEADER, labels_len)?)
}

/// Of bytes that are inflated already.
pub(super) fn parse_images(bytes: Bytes) -> Result<IdxImages, FormatError> {
    let path = bytes.path().to_path_buf();
    let parse = || {
        let [num_images, rows, columns] = images_header(&bytes)?;
        let shape = ImageShape::new(rows, columns, 1)?;
        check_len(&bytes, images_len(&bytes)?, "images")?;
        let pixels = Column { bytes, start: IMAGES_HEADER as u64, stride: shape.num_bytes() as u64 };
        Ok(IdxImages { num_images, shape, pixels })
    };
    parse().map_err(|problem: FormatProblem| problem.of(&path))
}

/// Of bytes that are inflated already.
pub(super) fn parse_labels(bytes: Bytes) -> Result<IdxLabels, FormatError> {
    let path = bytes.path().to_path_buf();
    let parse = || {
        let end = labels_len(&bytes)?;
        check_len(&bytes, end, "labels")?;
        let num_labels = end - LABELS_HEADER as u64;
        Ok(IdxLabels { num_labels, labels: Column { bytes, start: LABELS_HEADER as u64, stride: 1 } })
    };
    parse().map_err(|problem: FormatProblem| problem.of(&path))
}

fn load(
    path: &Path,
    header_len: usize,
    total_len: fn(&Bytes) -> Result<u64, FormatProblem>,
) -> Result<Bytes, FormatError> {
    let bytes = Bytes::map(path)?;
    if bytes.is_gzip() { inflate(&bytes, header_len, total_len) } else { Ok(bytes) }
}

/// Count, rows and columns.
fn images_header(bytes: &Bytes) -> Result<[u64; 3], FormatProblem> {
    check_magic(bytes, IMAGES_MAGIC, "images")?;
    let mut sizes = [0; 3];
    for (size, offset) in sizes.iter_mut().zip([4, 8, 12]) {
        *size = u64::from(u32::from_be_bytes(bytes.array(offset, "the header")?));
    }
    Ok(sizes)
}

/// Length of a file of images, by its header.
pub(super) fn images_len(bytes: &Bytes) -> Result<u64, FormatProblem> {
    let [num_images, rows, columns] = images_header(bytes)?;
    let image_len = ImageShape::new(rows, columns, 1)?.num_bytes() as u64;
    // At most 2^32 images of 2^28 bytes.
    Ok(IMAGES_HEADER as u64 + num_images * image_len)
}

fn labels_len(bytes: &Bytes) -> Result<u64, FormatProblem> {
    check_magic(bytes, LABELS_MAGIC, "labels")?;
    let num_labels = u32::from_be_bytes(bytes.array(4, "the header")?);
    Ok(LABELS_HEADER as u64 + u64::from(num_labels))
}

fn check_magic(bytes: &Bytes, magic: u32, what: &str) -> Result<(), FormatProblem> {
    match u32::from_be_bytes(bytes.array(0, "the magic number")?) {
        found if found == magic => Ok(()),
        found => Err(FormatProblem::unexpected(
            0,
            format!("the magic number {magic:#010x} of IDX {what}"),
            format!("{found:#010x}"),
        )),
    }
}

fn check_len(bytes: &Bytes, end: u64, what: &str) -> Result<(), FormatProblem> {
    let (len, header) =
        (bytes.len() as u64, if what == "images" { IMAGES_HEADER } else { LABELS_HEADER } as u64);
    match len.checked_sub(end) {
        None => {
            let found = len.saturating_sub(header);
            Err(FormatProblem::truncated(header, format!("the {what}"), end - header, found))
        }
        Some(0) => Ok(()),
        Some(extra_bytes) => Err(FormatProblem::Trailing { offset: end, extra_bytes }),
    }
}
