//! Which rows of a batch drew which change, found on the host.

use std::ops::Range;

use dtrain_data::ImageRecipe;
use dtrain_data::augment::image::jitter::NUM_CHANGES;
use dtrain_data::augment::image::{DrawnCrop, ImageChange};
use tch::{Device, TchError, Tensor};

use crate::torch_extra::Upload;

/// Pixels that are worked on at once, so that what lies between two changes takes little memory.
const PIXELS_AT_ONCE: usize = 1 << 24;

/// Rows of views by what they drew, chunk by chunk.
#[derive(Debug)]
pub(in crate::batch) struct ChangedRows {
    chunks: Vec<Chunk>,
    /// Rows within their chunk, one list after the other.
    rows: Tensor,
}

/// Rows that are worked on together.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Of the batch.
    pub rows: Range<usize>,
    /// For each part of each change, in their order, its list: places in [`ChangedRows::rows`].
    pub lists: Vec<Range<usize>>,
}

/// Something that a change does to all rows of a list.
pub(super) struct Part {
    /// Which of several things it does.
    pub number: usize,
    /// The parameter of the change that it goes by.
    pub parameter: usize,
    /// The parameter by which it is known that a row has drawn it, and its value then.
    known_by: (usize, f32),
}

/// What a change may do, in the order in which it does it: of a jitter each of its changes at each place of their order.
pub(super) fn parts(change: &ImageChange) -> Vec<Part> {
    match change {
        ImageChange::Jitter(_) => (0..NUM_CHANGES)
            .flat_map(|place| (0..NUM_CHANGES).map(move |number| (1 + 2 * place, number)))
            .map(|(at, number)| Part { number, parameter: at + 1, known_by: (at, number as f32) })
            .collect(),
        ImageChange::Blur(_) => vec![Part { number: 0, parameter: 1, known_by: (0, 1.0) }],
        ImageChange::Flip(_) | ImageChange::Grayscale(_) | ImageChange::Solarize(_) => {
            vec![Part { number: 0, parameter: 0, known_by: (0, 1.0) }]
        }
    }
}

impl ChangedRows {
    /// Of `slots`, [n, slot] row-major.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn of(recipe: &ImageRecipe, slots: &[f32]) -> Result<Self, TchError> {
        let slot_len = recipe.num_words().max(1);
        let of_row = recipe.num_bytes().max(recipe.shape.iter().product()).max(1);
        let rows_at_once = (PIXELS_AT_ONCE / of_row).max(1);
        let (mut chunks, mut rows) = (Vec::new(), Vec::new());
        let num_rows = slots.len() / slot_len;
        for begin in (0..num_rows).step_by(rows_at_once) {
            let end = (begin + rows_at_once).min(num_rows);
            let slots: Vec<&[f32]> = slots.chunks_exact(slot_len).skip(begin).take(end - begin).collect();
            let mut lists = Vec::new();
            let mut offset = DrawnCrop::NUM_PARAMETERS;
            for change in &recipe.augmentations.of_view {
                for Part { known_by: (at, value), .. } in parts(change) {
                    let first = rows.len();
                    let is_drawn = |slot: &&[f32]| {
                        slot.get(offset) == Some(&1.0) && slot.get(offset + at) == Some(&value)
                    };
                    rows.extend((0_i64..).zip(&slots).filter(|(_, slot)| is_drawn(slot)).map(|(row, _)| row));
                    lists.push(first..rows.len());
                }
                offset += change.num_parameters();
            }
            chunks.push(Chunk { rows: begin..end, lists });
        }
        Ok(Self { chunks, rows: Tensor::f_from_slice(&rows)? })
    }

    /// Starts to bring the lists to `device`; they may be used when [`Upload::arrived`] has been asked for.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn upload(&self, device: Device) -> Result<Upload, TchError> {
        Upload::start(&self.rows, device)
    }

    /// The same with the lists where they have arrived.
    pub fn arrived(self, upload: Upload) -> Result<Self, TchError> {
        Ok(Self { rows: upload.arrived()?, ..self })
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The rows of a list, [m].
    pub(super) fn rows(&self, list: &Range<usize>) -> Result<Tensor, TchError> {
        self.rows.f_narrow(0, list.start as i64, list.len() as i64)
    }
}
