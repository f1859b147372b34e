//! Checks of the settings that name a metric or a weighted sum of metrics.

use crate::checks::Checks;
use crate::schema::{Auto, MetricSum, RunConfig};

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let (checkpoint, stop) = (&config.checkpoint, &config.stop);
    let best = checkpoint.monitor.as_ref().and_then(|monitor| monitor.chosen());
    let settings: [(&str, Option<&str>, bool); 3] = [
        ("checkpoint.monitor", best.map(String::as_str), checkpoint.mode == Auto::Auto),
        ("stop.monitor", stop.monitor.as_deref(), stop.mode == Auto::Auto),
        ("optimized_metric", config.optimized_metric.as_deref(), false),
    ];
    for (key, text, goes_by_name) in settings {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { continue };
        match MetricSum::parse(text) {
            Err(problem) => checks.require(
                false,
                [key],
                || format!("`{key}` is `{text}`, which is no metric and no sum of metrics: {problem}"),
                "such as `val/acc` or `0.5*val/note_acc + val/class_acc`",
            ),
            Ok(sum) => checks.require(
                !goes_by_name || sum.is_of_one_mind(),
                [key],
                || format!("`{key}` is `{text}`: more of one part is better and less of another"),
                if key == "stop.monitor" {
                    "say which way the sum is better: `stop.mode=max` or `min`, or subtract what should be small"
                } else {
                    "say which way the sum is better: `checkpoint.mode=max` or `min`, or subtract what should be small"
                },
            ),
        }
    }
}
