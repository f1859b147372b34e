//! Where samples begin in their recordings.

use dtrain_configs::schema::DataConfig;

use super::Begin;
use super::assign::values;
use super::cut::Cut;
use super::file_warnings::Readable;
use crate::error::{CutError, DataError};
use crate::labels::LabelColumn;

/// Microseconds of a second.
const MICROS: f64 = 1e6;

/// The beginning of each sample; empty where neither `data.offset` nor cutting tells it. With `data.offset` the time is that of the
/// recording, where a sample has both labels; without, files share no time.
///
/// # Errors
/// An offset that is no number of seconds.
pub(super) fn begins(
    config: &DataConfig,
    rows: &Readable,
    cuts: &[Cut],
    columns: &[LabelColumn],
    files: &[u32],
) -> Result<Vec<Option<Begin>>, DataError> {
    let within_file = |cut: &Cut| {
        let rate = rows.get(cut.row).map_or(1, |(_, header)| header.sample_rate.max(1));
        cut.frames.as_ref().map_or(0.0, |frames| frames.start as f64 / f64::from(rate))
    };
    let begin = |timeline: u32, secs: f64| Begin { timeline, micros: (secs * MICROS).round() as i64 };
    let Some(label) = &config.offset else {
        if !config.cuts_files() {
            return Ok(Vec::new());
        }
        return Ok(cuts.iter().zip(files).map(|(cut, &file)| Some(begin(file, within_file(cut)))).collect());
    };
    let column = |name: &String| columns.iter().position(|column| column.name == *name);
    let offsets = match column(label) {
        Some(at) => of_files(&values(rows, at), label, rows)?,
        None => vec![None; rows.len()],
    };
    let recording = config.recording.as_ref().and_then(column).and_then(|at| columns.get(at));
    let of_sample = |(id, cut): (usize, &Cut)| {
        let timeline = recording?.of_sample.get(id).copied().flatten()?;
        Some(begin(timeline, offsets.get(cut.row).copied().flatten()? + within_file(cut)))
    };
    Ok(cuts.iter().enumerate().map(of_sample).collect())
}

/// Offset of each row in its recording.
fn of_files(texts: &[Option<&str>], label: &str, rows: &Readable) -> Result<Vec<Option<f64>>, DataError> {
    let number = |(text, (row, _)): (&Option<&str>, &(_, _))| {
        let Some(text) = text else { return Ok(None) };
        match text.parse().ok().filter(|secs: &f64| secs.is_finite() && *secs >= 0.0) {
            Some(secs) => Ok(Some(secs)),
            None => Err(no_seconds(label, text, row)),
        }
    };
    texts.iter().zip(rows).map(number).collect()
}

fn no_seconds(label: &str, text: &str, row: &crate::labels::Row) -> DataError {
    CutError::Offset { label: label.to_owned(), value: text.to_owned(), file: row.relative.clone() }.into()
}
