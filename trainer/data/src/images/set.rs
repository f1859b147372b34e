//! Images with labels, opened: whatever the format, samples are read by index from mapped records.

use std::ops::Range;
use std::path::Path;

use super::bytes::Column;
use super::error::{FormatError, FormatProblem};
use super::head::Head;
use super::shape::{ImageShape, StatedShape};
use super::strictness::Strictness;

/// Images with labels. Opening reads headers and the first and last sample; the others are checked when they are read.
#[derive(Debug, Clone)]
pub struct ImageSet {
    shape: ImageShape,
    heads: Vec<Head>,
    shards: Vec<Shard>,
    notes: Vec<String>,
    stated: Vec<StatedBy>,
    is_sound: bool,
    masks: Option<Column>,
}

/// What one source says about the shape of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedBy {
    /// The folder's name, the metadata, the file.
    pub source: String,
    /// What it says.
    pub shape: StatedShape,
}

/// The samples of one file.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    /// Number of samples before this shard, over all shards.
    pub first: usize,
    pub num_samples: usize,
    pub pixels: Column,
    /// One byte a sample for each head.
    pub labels: Vec<Column>,
    /// What each record must repeat of the first one.
    pub fixed: Option<Fixed>,
}

/// Bytes that are alike in all records, as ranges within a record; `expected` is the first record up to their end.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub records: Column,
    pub ranges: Vec<Range<usize>>,
    pub expected: Vec<u8>,
    /// What the bytes of a record say, for the message.
    pub describe: fn(&[u8]) -> String,
}

impl ImageSet {
    /// Joins shards and, where that is asked for, reads their first and last samples.
    ///
    /// # Errors
    /// No samples, or one of those samples is bad.
    pub(super) fn new(
        path: &Path,
        shape: ImageShape,
        heads: Vec<Head>,
        mut shards: Vec<Shard>,
        notes: Vec<String>,
        strictness: Strictness,
    ) -> Result<Self, FormatError> {
        let mut num_samples = 0;
        for shard in &mut shards {
            shard.first = num_samples;
            num_samples += shard.num_samples;
        }
        if num_samples == 0 {
            return Err(FormatProblem::Empty.of(path));
        }
        for column in shards.iter().flat_map(|shard| shard.labels.iter().chain([&shard.pixels])) {
            column.bytes.check_intact().map_err(|problem| problem.of(column.bytes.path()))?;
        }
        let set = Self { shape, heads, shards, notes, stated: Vec::new(), is_sound: false, masks: None };
        if strictness == Strictness::Strict {
            set.check_ends()?;
        }
        Ok(set)
    }

    fn check_ends(&self) -> Result<(), FormatError> {
        let (mut pixels, mut labels) = (vec![0; self.shape.num_bytes()], vec![0; self.heads.len()]);
        for shard in self.shards.iter().filter(|shard| shard.num_samples > 0) {
            for index in [shard.first, shard.first + shard.num_samples - 1] {
                self.pixels(index, &mut pixels)?;
                self.labels(index, &mut labels)?;
            }
        }
        Ok(())
    }

    /// With what the sources of the set say beside the samples.
    pub(super) fn described(self, stated: Vec<StatedBy>, is_sound: bool) -> Self {
        Self { stated, is_sound, ..self }
    }

    /// With a mask of each sample, of one byte a position; there are as many as samples.
    pub(super) fn with_masks(self, masks: Column) -> Self {
        Self { masks: Some(masks), ..self }
    }

    /// Whether its samples have masks.
    pub fn has_masks(&self) -> bool {
        self.masks.is_some()
    }

    /// Copies the mask of a sample, row by row: 0 outside, and zeros throughout where the set has no masks. `out` has a byte for
    /// each position.
    ///
    /// # Errors
    /// No such sample, or a file that has become shorter.
    pub fn mask(&self, index: usize, out: &mut [u8]) -> Result<(), FormatError> {
        self.locate(index)?;
        let Some(masks) = &self.masks else {
            out.fill(0);
            return Ok(());
        };
        let read = || {
            out.copy_from_slice(masks.of(index as u64, out.len(), "a mask")?);
            masks.bytes.check_intact()
        };
        let mut read = read;
        read().map_err(|problem: FormatProblem| problem.of(masks.bytes.path()))
    }

    /// Shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// What is to be told about each image.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Number of samples.
    pub fn num_samples(&self) -> usize {
        self.shards.last().map_or(0, |shard| shard.first + shard.num_samples)
    }

    /// Things worth knowing, such as metadata that state another number of samples.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What each source says about the shape, where the format has several.
    pub fn stated_shapes(&self) -> &[StatedBy] {
        &self.stated
    }

    /// The metadata tell of sound: rows are frequencies, the lowest first.
    pub fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// Files that hold the images.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.pixels.bytes.path())
    }

    /// Copies the pixels of a sample: planes, rows, columns. `out` has [`ImageShape::num_bytes`] bytes.
    ///
    /// # Errors
    /// No such sample, or a record of another shape or other heads than the first.
    pub fn pixels(&self, index: usize, out: &mut [u8]) -> Result<(), FormatError> {
        let (shard, record) = self.locate(index)?;
        let read = || {
            shard.check_fixed(record)?;
            let pixels = shard.pixels.of(record, self.shape.num_bytes(), "pixels")?;
            match out.len() == pixels.len() {
                true => {
                    out.copy_from_slice(pixels);
                    shard.pixels.bytes.check_intact()?;
                }
                false => {
                    let expected = format!("room for {} bytes", pixels.len());
                    return Err(FormatProblem::unexpected(
                        shard.pixels.offset(record),
                        expected,
                        format!("room for {}", out.len()),
                    ));
                }
            }
            Ok(())
        };
        let mut read = read;
        read().map_err(|problem: FormatProblem| problem.of(shard.pixels.bytes.path()))
    }

    /// Classes of a sample, one for each head.
    ///
    /// # Errors
    /// No such sample, a record of another shape or other heads than the first, a label out of range.
    pub fn labels(&self, index: usize, out: &mut [u32]) -> Result<(), FormatError> {
        let (shard, record) = self.locate(index)?;
        shard.check_fixed(record).map_err(|problem| problem.of(shard.pixels.bytes.path()))?;
        for ((class, head), column) in out.iter_mut().zip(&self.heads).zip(&shard.labels) {
            let read = || {
                let byte = column.byte(record, "a label")?;
                head.class_of(byte).map(|class| class as u32).ok_or_else(|| FormatProblem::Label {
                    sample: record,
                    offset: column.place(record),
                    head: head.name.clone(),
                    value: byte.into(),
                    num_classes: head.num_classes,
                })
            };
            *class = read().map_err(|problem| problem.of(column.bytes.path()))?;
        }
        Ok(())
    }

    /// Label bytes of a sample as they are stored, one for each head; [`Head::value_of`] gives their values in units.
    ///
    /// # Errors
    /// As [`ImageSet::labels`].
    pub fn label_bytes(&self, index: usize, out: &mut [u8]) -> Result<(), FormatError> {
        let (shard, record) = self.locate(index)?;
        shard.check_fixed(record).map_err(|problem| problem.of(shard.pixels.bytes.path()))?;
        for (byte, column) in out.iter_mut().zip(&shard.labels) {
            *byte = column.byte(record, "a label").map_err(|problem| problem.of(column.bytes.path()))?;
        }
        Ok(())
    }

    /// Reads the labels of all samples.
    ///
    /// # Errors
    /// The first bad sample.
    pub fn check_all(&self) -> Result<(), FormatError> {
        let mut classes = vec![0; self.heads.len()];
        (0..self.num_samples()).try_for_each(|index| self.labels(index, &mut classes))
    }

    fn locate(&self, index: usize) -> Result<(&Shard, u64), FormatError> {
        let after = self.shards.partition_point(|shard| shard.first <= index);
        let shard = after.checked_sub(1).and_then(|at| self.shards.get(at));
        match shard {
            Some(shard) if index - shard.first < shard.num_samples => {
                Ok((shard, (index - shard.first) as u64))
            }
            _ => {
                let problem = FormatProblem::NoSuchSample { index, num_samples: self.num_samples() };
                Err(problem.of(self.files().next().unwrap_or(Path::new(""))))
            }
        }
    }
}

impl Shard {
    fn check_fixed(&self, record: u64) -> Result<(), FormatProblem> {
        let Some(Fixed { records, ranges, expected, describe }) = &self.fixed else { return Ok(()) };
        let found = records.of(record, expected.len(), "the header of a sample")?;
        let alike = ranges.iter().all(|range| found.get(range.clone()) == expected.get(range.clone()));
        records.bytes.check_intact()?;
        if alike {
            return Ok(());
        }
        Err(FormatProblem::SampleDiffers {
            sample: record,
            offset: records.offset(record),
            expected: describe(expected),
            found: describe(found),
        })
    }
}
