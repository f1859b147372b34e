//! What is odd about files that are read all the same.

use dtrain_configs::schema::DataConfig;

use crate::decode::RecordingNote;
use crate::labels::Row;
use crate::scan::Header;
use crate::texts::shortened;

/// Rows of recordings whose headers could be read.
pub(super) type Readable = Vec<(Row, Header)>;

/// Files that are named; the others are counted.
const NUM_NAMED: usize = 3;

/// Warnings about headers, and about recordings in which there is nothing to hear.
pub(super) fn file_warnings(readable: &Readable, config: &DataConfig) -> Vec<String> {
    let window_secs = config.features.n_fft as f64 / f64::from(config.audio.sample_rate);
    let is_short = |header: &Header| (header.num_frames as f64) < window_secs * f64::from(header.sample_rate);
    let is_silent = |header: &Header| header.is_constant && !is_short(header);
    let mut warnings = Vec::new();
    warnings.extend(warning(readable, is_silent, |named| {
        format!(
            "recordings decode to silence or a constant, in what is heard of their channels {named}; nothing can be \
             learned from them, so remove them, or choose one channel by `data.audio.channel`"
        )
    }));
    warnings.extend(warning(readable, is_short, |named| {
        format!(
            "recordings are shorter than one window of the spectrogram, `data.features.n_fft` = {}, and mostly \
             padding {named}; remove them if that is not meant",
            config.features.n_fft
        )
    }));
    for note in RecordingNote::ALL {
        let has_note = |header: &Header| header.notes.contains(&note);
        let text = |named| format!("recordings {} {named}; {}", note.describe(), note.advice());
        warnings.extend(warning(readable, has_note, text));
    }
    warnings
}

/// The warning about the files that `is_odd`; it is given their number and the first names.
fn warning(
    readable: &Readable,
    is_odd: impl Fn(&Header) -> bool,
    text: impl FnOnce(String) -> String,
) -> Option<String> {
    let mut odd: Vec<&str> =
        readable.iter().filter(|(_, header)| is_odd(header)).map(|(row, _)| row.relative.as_str()).collect();
    // Of a file with several rows.
    odd.dedup();
    let named = || format!("({}): {}", odd.len(), shortened(odd.iter().take(NUM_NAMED), odd.len()));
    (!odd.is_empty()).then(|| text(named()))
}
