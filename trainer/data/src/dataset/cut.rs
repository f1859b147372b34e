//! Files cut into samples: what a row of a table says, and a grid within that.

use std::ops::Range;

use dtrain_configs::schema::AudioConfig;

use super::file_warnings::Readable;
use crate::error::{CutError, DataError};
use crate::labels::{Row, Span};
use crate::scan::Header;
use crate::texts::{NUM_LISTED, shortened};

/// A sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// Its row.
    pub row: usize,
    /// Frames of the file, where files are cut; else the sample is the file.
    pub frames: Option<Range<u64>>,
}

/// The samples of all rows, in their order. What is worth knowing goes to `notes`.
///
/// # Errors
/// A row that begins where its file has ended; more samples than can be numbered.
pub(super) fn cut(
    rows: &Readable,
    audio: &AudioConfig,
    notes: &mut Vec<String>,
) -> Result<Vec<Cut>, DataError> {
    let mut cuts = Vec::with_capacity(rows.len());
    let mut too_long = Vec::new();
    for (at, (row, header)) in rows.iter().enumerate() {
        let Some(pieces) = pieces_of_row(row, header, audio, &mut too_long)? else {
            cuts.push(Cut { row: at, frames: None });
            continue;
        };
        if cuts.len().saturating_add(pieces.len()) > u32::MAX as usize {
            return Err(DataError::TooManyRecordings { num_files: cuts.len().saturating_add(pieces.len()) });
        }
        cuts.extend(pieces.into_iter().map(|frames| Cut { row: at, frames: Some(frames) }));
    }
    if !too_long.is_empty() {
        notes.push(format!(
            "rows of the table end after their file and are cut there ({}): {}; check `data.labels.end` if that is not meant",
            too_long.len(),
            shortened(too_long.iter().take(NUM_LISTED), too_long.len())
        ));
    }
    Ok(cuts)
}

/// The pieces of a whole file, where files are cut into a grid.
pub(super) fn pieces_of_file(header: &Header, audio: &AudioConfig) -> Option<Vec<Range<u64>>> {
    Some(pieces(0..header.num_frames, Grid::of(audio, header.sample_rate)?))
}

/// `None`: the file is one sample.
fn pieces_of_row(
    row: &Row,
    header: &Header,
    audio: &AudioConfig,
    too_long: &mut Vec<String>,
) -> Result<Option<Vec<Range<u64>>>, DataError> {
    let Some(span) = &row.span else { return Ok(pieces_of_file(header, audio)) };
    let Span { begin_secs, end_secs, line } = *span;
    let frame = |secs: f64| (secs * f64::from(header.sample_rate)).round() as u64;
    let (begin, end) = (frame(begin_secs), end_secs.map_or(header.num_frames, frame));
    if begin >= header.num_frames {
        return Err(CutError::BeginsBeyondEnd {
            file: row.relative.clone(),
            line,
            begin_secs,
            length_secs: header.num_frames as f64 / f64::from(header.sample_rate),
        }
        .into());
    }
    // A frame is what tables round to at best.
    if end > header.num_frames + 1 {
        too_long.push(format!("{} (line {line})", row.relative));
    }
    let whole = begin..end.clamp(begin + 1, header.num_frames);
    Ok(Some(match Grid::of(audio, header.sample_rate) {
        Some(grid) => pieces(whole, grid),
        None => vec![whole],
    }))
}

/// Lengths in frames.
#[derive(Debug, Clone, Copy)]
struct Grid {
    len: u64,
    hop: u64,
}

impl Grid {
    fn of(audio: &AudioConfig, sample_rate: u32) -> Option<Self> {
        let frames = |secs: f64| ((secs * f64::from(sample_rate)).round() as u64).max(1);
        let len = frames(audio.segment_secs?);
        Some(Self { len, hop: audio.segment_hop_secs.map_or(len, frames) })
    }
}

/// Pieces of `grid.len` frames, `grid.hop` apart. What is left at the end is a piece if it has half that length at least, as is a
/// whole that is shorter.
fn pieces(whole: Range<u64>, grid: Grid) -> Vec<Range<u64>> {
    let mut pieces = Vec::new();
    let mut begin = whole.start;
    while begin < whole.end {
        let piece = begin..begin.saturating_add(grid.len).min(whole.end);
        let is_long_enough = 2 * (piece.end - piece.start) >= grid.len || pieces.is_empty();
        let is_last = piece.end == whole.end;
        if is_long_enough {
            pieces.push(piece);
        }
        if is_last {
            break;
        }
        begin = begin.saturating_add(grid.hop.max(1));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_at_the_end_is_kept_from_half_on() {
        let cut = |len: u64, hop: u64, end: u64| pieces(0..end, Grid { len, hop });
        assert_eq!(cut(10, 10, 30), [0..10, 10..20, 20..30]);
        assert_eq!(cut(10, 10, 25), [0..10, 10..20, 20..25]);
        assert_eq!(cut(10, 10, 24), [0..10, 10..20]);
        assert_eq!(cut(10, 10, 3).as_slice(), std::slice::from_ref(&(0..3)), "a short file is a sample");
        assert_eq!(cut(10, 4, 20), [0..10, 4..14, 8..18, 12..20], "nothing lies within another piece");
        assert_eq!(cut(10, 15, 45), [0..10, 15..25, 30..40]);
        assert_eq!(cut(10, 15, 36), [0..10, 15..25, 30..36]);
        assert_eq!(pieces(7..12, Grid { len: 3, hop: 3 }), [7..10, 10..12]);
        assert_eq!(cut(10, 10, 0), Vec::<Range<u64>>::new());
    }

    proptest! {
        #[test]
        fn pieces_lie_on_the_grid_and_leave_out_less_than_half_a_piece(
            start in 0_u64..50,
            num_frames in 1_u64..500,
            len in 1_u64..80,
            hop in 1_u64..120,
        ) {
            let whole = start..start + num_frames;
            let pieces = pieces(whole.clone(), Grid { len, hop });
            for (at, piece) in pieces.iter().enumerate() {
                prop_assert_eq!(piece.start, start + at as u64 * hop);
                prop_assert!(piece.end <= whole.end);
                let frames = piece.end - piece.start;
                prop_assert!(frames == len || at + 1 == pieces.len() && (2 * frames >= len || at == 0));
            }
            if hop <= len {
                let end = pieces.last().unwrap().end;
                prop_assert!(2 * (whole.end - end) < len);
            }
        }
    }
}
