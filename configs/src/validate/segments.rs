//! Checks of samples that are cut from longer recordings.

use crate::checks::Checks;
use crate::schema::{DataConfig, LabelSource};

/// Most samples that may begin within the length of one.
const MAX_OVERLAP: f64 = 1000.0;

pub(super) fn check(data: &DataConfig, checks: &mut Checks) {
    check_columns(data, checks);
    check_lengths(data, checks);
    checks.require(
        data.offset.is_none() || data.recording.is_some(),
        ["data.offset", "data.recording"],
        || {
            "`data.offset` says where in its recording a file begins, but `data.recording` names no label"
                .into()
        },
        "set `data.recording` to the label that names a sample's recording",
    );
}

fn check_columns(data: &DataConfig, checks: &mut Checks) {
    let labels = &data.labels;
    let columns = [("data.labels.begin", &labels.begin), ("data.labels.end", &labels.end)];
    for (key, column) in columns {
        let Some(column) = column else { continue };
        checks.filled(key, column);
        checks.require(
            labels.source == LabelSource::Csv,
            [key, "data.labels.source"],
            || format!("`{key}` = `{column}` is a column of a table, but `data.labels.source` is not `csv`"),
            "`data.labels.source=csv`; without a table, `data.audio.segment_secs` cuts files into samples",
        );
        checks.require(
            *column != labels.csv_file_column,
            [key, "data.labels.csv_file_column"],
            || format!("`{key}` and `data.labels.csv_file_column` are both `{column}`"),
            "name the column with seconds, such as `Begin Time (s)`",
        );
    }
    checks.require(
        labels.end.is_none() || labels.begin.is_some(),
        ["data.labels.end", "data.labels.begin"],
        || "`data.labels.end` is set, but `data.labels.begin` is not".into(),
        "name the column that says where a sample begins too",
    );
    checks.require(
        labels.begin.is_none() || labels.begin != labels.end,
        ["data.labels.end", "data.labels.begin"],
        || "`data.labels.begin` and `data.labels.end` are one column".into(),
        None,
    );
}

fn check_lengths(data: &DataConfig, checks: &mut Checks) {
    let audio = &data.audio;
    checks.require(
        audio.segment_hop_secs.is_none() || audio.segment_secs.is_some(),
        ["data.audio.segment_hop_secs", "data.audio.segment_secs"],
        || "`data.audio.segment_hop_secs` is set, but `data.audio.segment_secs` is not".into(),
        "say how long the samples are: `data.audio.segment_secs=5`",
    );
    let Some(secs) = audio.segment_secs else { return };
    checks.positive("data.audio.segment_secs", secs);
    checks.require(
        // What is no number is reported above.
        secs.is_nan() || secs <= 0.0 || secs >= audio.clip_secs,
        ["data.audio.segment_secs", "data.audio.clip_secs"],
        || {
            format!(
                "`data.audio.segment_secs` = {secs} is shorter than a view, `data.audio.clip_secs` = {}, so that every view would \
                 end in zeros",
                audio.clip_secs
            )
        },
        "make the samples longer, or the views shorter",
    );
    let Some(hop) = audio.segment_hop_secs else { return };
    checks.positive("data.audio.segment_hop_secs", hop);
    checks.require(
        hop.is_nan() || hop <= 0.0 || secs.is_nan() || hop * MAX_OVERLAP >= secs,
        ["data.audio.segment_hop_secs", "data.audio.segment_secs"],
        || {
            format!(
                "`data.audio.segment_hop_secs` = {hop} has more than {MAX_OVERLAP} samples of `data.audio.segment_secs` = {secs} \
                 overlap"
            )
        },
        "a view is cropped at random anyway: a hop of half the length is plenty",
    );
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use crate::checks::Checks;
    use crate::schema::RunConfig;

    fn check(config: &RunConfig, checks: &mut Checks) {
        super::check(&config.data, checks);
    }

    #[test]
    fn lengths_are_checked_together() {
        let refused = |secs: Option<f64>, hop: Option<f64>| {
            messages(check, |config| {
                config.data.audio.segment_secs = secs;
                config.data.audio.segment_hop_secs = hop;
            })
        };
        for (secs, hop) in [(None, None), (Some(1.0), None), (Some(5.0), Some(9.0)), (Some(5.0), Some(0.005))]
        {
            assert_eq!(refused(secs, hop), Vec::<String>::new(), "{secs:?} {hop:?}");
        }
        for (secs, hop) in [
            (Some(0.0), None),
            (Some(-1.0), None),
            (Some(f64::NAN), None),
            (Some(0.9), None),
            (Some(5.0), Some(0.0)),
            (Some(5.0), Some(-2.0)),
            (Some(5.0), Some(f64::INFINITY)),
            (Some(5.0), Some(0.004)),
            (None, Some(5.0)),
        ] {
            assert_eq!(refused(secs, hop).len(), 1, "{secs:?} {hop:?}");
        }
    }
}
