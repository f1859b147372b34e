//! How often each class occurs, a chart for each head.

use dtrain_data::images::Head;
use dtrain_data::images::inspect::ClassCounts;
use dtrain_trainer::track::{BarChart, Picture, Series, TrackError};

use super::{Found, class_text, kind_of_classes};

/// Heads of more classes have bars for neighbouring classes together.
const MAX_BARS: usize = 256;

/// Nothing where there are no heads.
pub fn picture(found: &Found<'_>) -> Result<Option<Picture>, TrackError> {
    let heads = found.folder.train.heads();
    let charts: Vec<BarChart> = heads.iter().enumerate().map(|(at, head)| chart(found, at, head)).collect();
    if charts.is_empty() { Ok(None) } else { BarChart::stacked(&charts).map(Some) }
}

fn chart(found: &Found<'_>, at: usize, head: &Head) -> BarChart {
    let together = head.num_classes.div_ceil(MAX_BARS).max(1);
    let counts = found.parts.iter().filter_map(|part| Some((part.split.name(), part.counts.heads.get(at)?)));
    let series = counts.map(|(name, counts)| Series {
        name: format!("{name}: {} samples", counts.total()),
        values: shares(counts, together),
    });
    let kind = kind_of_classes(head);
    let scale = head.scale.as_ref().map_or(String::new(), |scale| format!(", {scale}"));
    let together_text = if together > 1 { format!(", {together} classes a bar") } else { String::new() };
    BarChart {
        title: format!("{}: {} classes", head.name, head.num_classes),
        x_label: format!("{kind} of {}{scale}{together_text}", head.name),
        y_label: "share of samples, %".into(),
        groups: (0..head.num_classes).step_by(together).map(|class| class_text(head, class)).collect(),
        series: series.collect(),
    }
}

/// Percent of the samples, for each bar.
fn shares(counts: &ClassCounts, together: usize) -> Vec<f64> {
    let total = counts.total().max(1) as f64;
    let bars = counts.counts().chunks(together);
    bars.map(|bar| 100.0 * bar.iter().sum::<u64>() as f64 / total).collect()
}
