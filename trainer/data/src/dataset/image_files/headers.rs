//! Files that are looked at before training: all of a small set, of a large one as many, spread over it.

use rayon::prelude::*;

use crate::image_files::{ImageFileError, survey};
use crate::labels::Row;
use crate::progress::Work;
use crate::share::spread;

/// Headers that are read. Of a larger set the rest is found bad when it is read, and drops out then.
pub(super) const MOST_HEADERS: usize = 10_000;

/// What a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Rows and columns, as stored.
    pub size: [u32; 2],
    /// Bytes of the file.
    pub num_bytes: u64,
}

/// For each row what its header tells, or why its file gives no image; `Ok(None)` where it was not looked at.
pub(super) fn headers(rows: &[Row]) -> Vec<Result<Option<Header>, ImageFileError>> {
    let all: Vec<u32> = (0u32..).take(rows.len()).collect();
    let chosen = spread(&all, MOST_HEADERS);
    let work = Work::begin("reading headers", "files", chosen.len() as u64);
    let read: Vec<Result<Option<Header>, ImageFileError>> = chosen
        .par_iter()
        .with_min_len(16)
        .filter_map(|&at| rows.get(at as usize))
        .map(|row| {
            let surveyed = survey(&row.path);
            work.add(1);
            surveyed.map(|(size, num_bytes)| Some(Header { size, num_bytes }))
        })
        .collect();
    let mut headers: Vec<Result<Option<Header>, ImageFileError>> = Vec::with_capacity(rows.len());
    headers.resize(rows.len(), Ok(None));
    for (&at, header) in chosen.iter().zip(read) {
        if let Some(slot) = headers.get_mut(at as usize) {
            *slot = header;
        }
    }
    headers
}
