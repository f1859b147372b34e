//! The binary form: samples back to back, no header of the file, little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 6 | u16 rows, columns, channels |
//! | 8 | f32 least and largest dB of the spectrogram; missing in older files |
//! | 1 | N, the number of heads |
//! | 2N | id and value of each label |
//! | H*W*C | pixels, planes of rows |

use super::super::bytes::{Bytes, Column};
use super::super::error::FormatProblem;
use super::super::set::{Fixed, Shard};
use super::super::shape::{ImageShape, StatedShape};

/// Bytes of the shape.
pub const SHAPE_BYTES: usize = 6;
/// Bytes before the number of heads, with the scale.
pub const METADATA_BYTES: usize = 14;

/// A binary file, its first record read.
#[derive(Debug)]
pub struct BinaryFile {
    pub shape: ImageShape,
    /// Ids of the labels, in their order.
    pub ids: Vec<u8>,
    pub shard: Shard,
}

impl BinaryFile {
    pub fn stated_shape(&self) -> StatedShape {
        stated(self.shape)
    }

    /// Finds out which of the two headers the records have: the one with which they fill the file. `metadata_bytes`,
    /// from the metadata, decides where both would.
    ///
    /// # Errors
    /// No samples, a shape that no image has, a file that is no whole number of records.
    pub fn parse(bytes: &Bytes, metadata_bytes: Option<u64>) -> Result<Self, FormatProblem> {
        if bytes.is_empty() {
            return Err(FormatProblem::Empty);
        }
        let shape = read_shape(bytes, 0)?;
        let is_old = metadata_bytes.is_some_and(|num_bytes| num_bytes < METADATA_BYTES as u64);
        let order = if is_old { [SHAPE_BYTES, METADATA_BYTES] } else { [METADATA_BYTES, SHAPE_BYTES] };
        let layouts = order.map(|num_bytes| Layout::of_first(bytes, shape, num_bytes));
        let [likely, _] = &layouts;
        match layouts.iter().flatten().find(|layout| layout.fills(bytes)) {
            Some(layout) => Ok(layout.file(bytes, shape)),
            None => Err(likely.as_ref().map_or_else(Clone::clone, |layout| layout.truncated(bytes))),
        }
    }
}

/// A shape, stated.
pub fn stated(shape: ImageShape) -> StatedShape {
    StatedShape::whole(shape.height as u64, shape.width as u64, shape.channels as u64)
}

fn read_shape(bytes: &Bytes, offset: u64) -> Result<ImageShape, FormatProblem> {
    let [h0, h1, w0, w1, c0, c1] = bytes.array(offset, "the shape of a sample")?;
    let [height, width, channels] = [[h0, h1], [w0, w1], [c0, c1]].map(u16::from_le_bytes);
    Ok(ImageShape::new(height.into(), width.into(), channels.into())?)
}

/// Where the parts of a record are.
#[derive(Debug, Clone)]
struct Layout {
    /// Bytes before the number of heads.
    num_metadata: usize,
    num_heads: usize,
    record_len: u64,
}

impl Layout {
    fn of_first(bytes: &Bytes, shape: ImageShape, num_metadata: usize) -> Result<Self, FormatProblem> {
        let [num_heads] = bytes.array(num_metadata as u64, "the number of heads")?;
        let num_heads = usize::from(num_heads);
        if num_heads == 0 {
            return Err(FormatProblem::unexpected(num_metadata as u64, "a number of heads", "0"));
        }
        let record_len = (num_metadata + 1 + 2 * num_heads + shape.num_bytes()) as u64;
        Ok(Self { num_metadata, num_heads, record_len })
    }

    /// Bytes before the pixels.
    fn header_len(&self) -> usize {
        self.num_metadata + 1 + 2 * self.num_heads
    }

    /// The file is a whole number of records, and the last one has the shape and the heads of the first.
    fn fills(&self, bytes: &Bytes) -> bool {
        let len = bytes.len() as u64;
        let fixed = self.fixed(bytes);
        let last = (len / self.record_len).saturating_sub(1);
        let found =
            fixed.records.of(last, fixed.expected.len(), "the header of a sample").unwrap_or_default();
        len.is_multiple_of(self.record_len)
            && fixed.ranges.iter().all(|range| found.get(range.clone()) == fixed.expected.get(range.clone()))
    }

    /// Why it does not fill the file; the last record where all are whole.
    fn truncated(&self, bytes: &Bytes) -> FormatProblem {
        let len = bytes.len() as u64;
        let (num_records, rest) = (len / self.record_len, len % self.record_len);
        if rest > 0 {
            let what = format!("record {num_records}");
            return FormatProblem::truncated(num_records * self.record_len, what, self.record_len, rest);
        }
        let fixed = self.fixed(bytes);
        let last = num_records.saturating_sub(1);
        let found =
            fixed.records.of(last, fixed.expected.len(), "the header of a sample").unwrap_or_default();
        FormatProblem::SampleDiffers {
            sample: last,
            offset: fixed.records.offset(last),
            expected: (fixed.describe)(&fixed.expected),
            found: (fixed.describe)(found),
        }
    }

    /// Shape, number of heads and their ids are those of the first record.
    fn fixed(&self, bytes: &Bytes) -> Fixed {
        let num_heads_at = self.num_metadata;
        let ids = (0..self.num_heads).map(|head| num_heads_at + 1 + 2 * head).map(|at| at..at + 1);
        let expected = bytes.get(..self.header_len()).unwrap_or_default().to_vec();
        Fixed {
            records: Column { bytes: bytes.clone(), start: 0, stride: self.record_len },
            ranges: [0..SHAPE_BYTES, num_heads_at..num_heads_at + 1].into_iter().chain(ids).collect(),
            expected,
            describe: if self.num_metadata == METADATA_BYTES { describe_new } else { describe_old },
        }
    }

    fn file(&self, bytes: &Bytes, shape: ImageShape) -> BinaryFile {
        let column =
            |start: usize| Column { bytes: bytes.clone(), start: start as u64, stride: self.record_len };
        let ids_at = self.num_metadata + 1;
        let ids = (0..self.num_heads).filter_map(|head| bytes.get(ids_at + 2 * head).copied()).collect();
        let shard = Shard {
            first: 0,
            num_samples: (bytes.len() as u64 / self.record_len) as usize,
            pixels: column(self.header_len()),
            labels: (0..self.num_heads).map(|head| column(ids_at + 2 * head + 1)).collect(),
            fixed: Some(self.fixed(bytes)),
        };
        BinaryFile { shape, ids, shard }
    }
}

fn describe_new(header: &[u8]) -> String {
    describe(header, METADATA_BYTES)
}

fn describe_old(header: &[u8]) -> String {
    describe(header, SHAPE_BYTES)
}

/// `32x32x1 with heads [0, 1]`
fn describe(header: &[u8], num_metadata: usize) -> String {
    let word = |at: usize| header.get(at..at + 2).map_or(0, |word| u16::from_le_bytes([word[0], word[1]]));
    let num_heads = usize::from(header.get(num_metadata).copied().unwrap_or(0));
    let pairs = header.get(num_metadata + 1..).unwrap_or_default().chunks_exact(2);
    let ids: Vec<u8> = pairs.take(num_heads).map(|pair| pair[0]).collect();
    format!("{}x{}x{} with {num_heads} heads of ids {ids:?}", word(0), word(2), word(4))
}
