//! The pickled form: a dictionary of an array with one row of pixels for each sample, and a list with one row of labels
//! `[N, id, value, id, value, ...]` for each.

use super::super::bytes::{Bytes, Column};
use super::super::error::FormatProblem;
use super::super::head::Head;
use super::super::pickle::Pickle;
use super::super::set::Shard;
use super::super::shape::StatedShape;
use super::super::strictness::Strictness;
use super::labels::HeadsConfig;
use crate::pickle::{Array, Value};

/// Where the rows of labels may be, in this order.
const LABEL_KEYS: [&str; 4] = ["labels", "vimh_labels", "cifar100mh_labels", "multihead_labels"];
/// A label's id is a byte.
const MAX_HEADS: usize = 255;

/// A pickled part of a set.
#[derive(Debug)]
pub struct PickledFile {
    pickle: Pickle,
    /// The list of the rows of labels.
    rows: Value,
    /// What the file states about the shape.
    pub stated: StatedShape,
    /// Bytes of an image.
    pub image_len: u64,
    pub num_samples: usize,
    pixels: Column,
    /// Ids of the labels, in their order.
    pub ids: Vec<u8>,
    /// One byte for each sample and head.
    labels: Vec<u8>,
    /// Classes that the file itself counts.
    pub heads_config: HeadsConfig,
}

impl PickledFile {
    /// # Errors
    /// No such pickle, rows of different lengths, different heads.
    pub fn parse(bytes: Bytes) -> Result<Self, FormatProblem> {
        let pickle = Pickle::parse(bytes)?;
        let (pixels, num_samples, image_len) = pixels(&pickle)?;
        let label_key = LABEL_KEYS.into_iter().find(|key| pickle.get(key).is_some());
        let label_key =
            label_key.ok_or_else(|| FormatProblem::key("vimh_labels", "rows of labels", "no such key"))?;
        let rows = pickle.get(label_key).unwrap_or(Value::None);
        let (ids, labels) = label_rows(&pickle, label_key, num_samples)?;
        let stated = StatedShape {
            height: pickle.number("height")?,
            width: pickle.number("width")?,
            channels: pickle.number("channels")?,
        };
        check_count(&pickle, "num_samples", num_samples as u64)?;
        check_count(&pickle, "image_size", image_len)?;
        let heads_config = pickle.numbers("heads_config", MAX_HEADS)?.into_iter().collect();
        Ok(Self { pickle, rows, stated, image_len, num_samples, pixels, ids, labels, heads_config })
    }

    /// The largest value of each label.
    pub fn largest(&self) -> Vec<u8> {
        let mut largest = vec![0; self.ids.len()];
        for row in self.labels.chunks_exact(self.ids.len().max(1)) {
            for (largest, &value) in largest.iter_mut().zip(row) {
                *largest = value.max(*largest);
            }
        }
        largest
    }

    /// All samples. Their labels are checked, or keep their places in the file so that a bad one can be named later.
    ///
    /// # Errors
    /// A label out of range.
    pub fn shard(self, heads: &[Head], strictness: Strictness) -> Result<Shard, FormatProblem> {
        let places = match strictness {
            Strictness::Strict => {
                self.check_labels(heads)?;
                Vec::new()
            }
            Strictness::Lenient => (0..self.num_samples).map(|sample| self.row_offset(sample)).collect(),
        };
        let num_heads = self.ids.len();
        let labels = Bytes::gathered(self.pickle.bytes().path(), self.labels, places);
        let column =
            |head: usize| Column { bytes: labels.clone(), start: head as u64, stride: num_heads as u64 };
        Ok(Shard {
            first: 0,
            num_samples: self.num_samples,
            pixels: self.pixels,
            labels: (0..num_heads).map(column).collect(),
            fixed: None,
        })
    }

    fn check_labels(&self, heads: &[Head]) -> Result<(), FormatProblem> {
        let valid: Vec<[bool; 256]> = heads
            .iter()
            .map(|head| std::array::from_fn(|byte| head.class_of(byte as u8).is_some()))
            .collect();
        let is_bad = |row: &[u8]| row.iter().zip(&valid).position(|(&byte, valid)| !valid[usize::from(byte)]);
        let mut rows = self.labels.chunks_exact(self.ids.len().max(1)).enumerate();
        if let Some((sample, row, head)) = rows.find_map(|(sample, row)| Some((sample, row, is_bad(row)?))) {
            let (head, value) = (heads.get(head), row.get(head).copied().unwrap_or_default());
            return Err(FormatProblem::Label {
                sample: sample as u64,
                offset: self.row_offset(sample),
                head: head.map_or_else(String::new, |head| head.name.clone()),
                value: value.into(),
                num_classes: head.map_or(0, |head| head.num_classes),
            });
        }
        Ok(())
    }

    /// Where the labels of a sample are in the file.
    fn row_offset(&self, sample: usize) -> u64 {
        row_offset(self.pickle.list(self.rows).and_then(|rows| rows.get(sample)).copied())
    }
}

/// The begin of a row; 0 where the row is not kept in the file.
fn row_offset(row: Option<Value>) -> u64 {
    match row {
        Some(Value::Row { offset, .. }) => offset,
        _ => 0,
    }
}

fn check_count(pickle: &Pickle, key: &str, expected: u64) -> Result<(), FormatProblem> {
    // `image_size` may also be a text.
    match pickle.get(key) {
        Some(Value::Int(_)) => {}
        _ => return Ok(()),
    }
    match pickle.number(key)? {
        Some(found) if found != expected => {
            Err(FormatProblem::key(key, format!("{expected}, as `data` has it"), found.to_string()))
        }
        _ => Ok(()),
    }
}

/// Pixels, number of samples, bytes of an image.
fn pixels(pickle: &Pickle) -> Result<(Column, usize, u64), FormatProblem> {
    let key = |expected: &str, found: String| FormatProblem::key("data", expected, found);
    let Some(data) = pickle.get("data") else { return Err(key("an array of pixels", "no such key".into())) };
    if let Some(array) = pickle.array(data) {
        return match *array {
            Array { ref shape, ref dtype, is_fortran: false, offset: Some(start) } if dtype == "|u1" => {
                match **shape {
                    [num_samples, image_len] if num_samples > 0 && image_len > 0 => {
                        let bytes = pickle.bytes().clone();
                        Ok((Column { bytes, start, stride: image_len }, num_samples as usize, image_len))
                    }
                    [0, _] => Err(FormatProblem::Empty),
                    _ => Err(key("one row of bytes for each sample", pickle.describe(data))),
                }
            }
            Array { is_fortran: true, .. } => {
                Err(key("an array of rows", "one of columns (Fortran order)".into()))
            }
            _ => Err(key("an array of `uint8`", pickle.describe(data))),
        };
    }
    let Some(rows) = pickle.list(data) else { return Err(key("an array of pixels", pickle.describe(data))) };
    let mut owned = Vec::new();
    let mut image_len = 0;
    for (sample, &row) in rows.iter().enumerate() {
        let begin = owned.len();
        if pickle.extend_bytes(row, &mut owned).is_none() {
            let found = format!("{} for sample {sample}", pickle.describe(row));
            return Err(key("a list of numbers from 0 to 255 for each sample", found));
        }
        let len = owned.len() - begin;
        if sample == 0 {
            image_len = len;
        } else if len != image_len {
            return Err(FormatProblem::SampleDiffers {
                sample: sample as u64,
                offset: row_offset(Some(row)),
                expected: format!("{image_len} pixels"),
                found: len.to_string(),
            });
        }
    }
    if image_len == 0 {
        return Err(FormatProblem::Empty);
    }
    let bytes = Bytes::owned(pickle.bytes().path(), owned);
    Ok((Column { bytes, start: 0, stride: image_len as u64 }, rows.len(), image_len as u64))
}

/// Ids of the first row, and the values of all rows.
fn label_rows(pickle: &Pickle, key: &str, num_samples: usize) -> Result<(Vec<u8>, Vec<u8>), FormatProblem> {
    let value = pickle.get(key).unwrap_or(Value::None);
    let Some(rows) = pickle.list(value) else {
        return Err(FormatProblem::key(
            key,
            "a list with a list of labels for each sample",
            pickle.describe(value),
        ));
    };
    if rows.len() != num_samples {
        let expected = format!("{num_samples} rows, as `data` has");
        return Err(FormatProblem::key(key, expected, rows.len().to_string()));
    }
    let mut ids: Vec<u8> = Vec::new();
    let mut labels = Vec::new();
    let mut row = Vec::new();
    for (sample, &value) in rows.iter().enumerate() {
        row.clear();
        let wrong = |expected: String, found: String| {
            let offset = row_offset(Some(value));
            Err(FormatProblem::unexpected(offset, format!("{expected} as `{key}` of sample {sample}"), found))
        };
        if pickle.extend_bytes(value, &mut row).is_none() {
            return wrong("a list of numbers from 0 to 255".into(), pickle.describe(value));
        }
        let Some((&num_heads, pairs)) = row.split_first().filter(|(num_heads, _)| **num_heads > 0) else {
            return wrong("the number of heads and their labels".into(), format!("{row:?}"));
        };
        let num_heads = usize::from(num_heads);
        if pairs.len() != 2 * num_heads {
            return wrong(
                format!("{} numbers for {num_heads} heads", 1 + 2 * num_heads),
                row.len().to_string(),
            );
        }
        let (pairs, _) = pairs.as_chunks::<2>();
        if sample == 0 {
            ids = pairs.iter().map(|&[id, _]| id).collect();
            labels.reserve_exact(num_samples * num_heads);
        } else if !pairs.iter().map(|[id, _]| id).eq(&ids) {
            let found: Vec<u8> = pairs.iter().map(|&[id, _]| id).collect();
            return Err(FormatProblem::SampleDiffers {
                sample: sample as u64,
                offset: row_offset(Some(value)),
                expected: format!("{} heads of ids {ids:?}", ids.len()),
                found: format!("{} of ids {found:?}", found.len()),
            });
        }
        labels.extend(pairs.iter().map(|&[_, value]| value));
    }
    Ok((ids, labels))
}
