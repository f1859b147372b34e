//! Which way a monitored metric is better.

use serde::{Deserialize, Serialize};

use super::auto::AutoValue;

/// Direction of a monitored metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MonitorMode {
    /// Larger is better.
    #[default]
    Max,
    /// Smaller is better.
    Min,
}

/// What a metric is called whose smaller values are better; the last word of a name, or the last two, is the metric, what
/// stands before says of what.
const LESS_IS_BETTER: [&str; 14] = [
    "loss",
    "error",
    "error_rate",
    "err",
    "mae",
    "mse",
    "rmse",
    "nll",
    "perplexity",
    "ece",
    "eer",
    "wer",
    "cer",
    "brier",
];

impl MonitorMode {
    /// By the metric's name: `val/loss` and `val/pitch_mae` are better when smaller, everything else when larger.
    pub fn of_metric(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name);
        let is_less = |metric: &str| {
            let before = name.strip_suffix(metric);
            before.is_some_and(|before| before.is_empty() || before.ends_with(['_', '-', '.']))
        };
        if LESS_IS_BETTER.into_iter().any(is_less) { Self::Min } else { Self::Max }
    }

    /// As in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    /// For sentences such as "less is better".
    pub fn word(self) -> &'static str {
        match self {
            Self::Max => "more",
            Self::Min => "less",
        }
    }

    /// Whether `value` beats `best`.
    pub fn is_better(self, value: f64, best: f64) -> bool {
        match self {
            Self::Max => value > best,
            Self::Min => value < best,
        }
    }
}

impl AutoValue for MonitorMode {
    const EXPECTED: &'static str = "`auto`, `max` or `min`";
    const CHOICES: &'static [&'static str] = &["auto", "max", "min"];
    fn from_word(word: &str) -> Option<Self> {
        [Self::Max, Self::Min].into_iter().find(|mode| mode.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_errors_are_better_when_smaller() {
        for name in [
            "val/loss",
            "train/supcon_loss",
            "val/pitch_mae",
            "mean_error",
            "val/error_rate",
            "test/digit_loss",
        ] {
            assert_eq!(MonitorMode::of_metric(name), MonitorMode::Min, "{name}");
        }
        // The metric is at the end: a label may be called anything, and other words end alike.
        for name in [
            "val/acc",
            "val/error_type_acc",
            "val/knn_top1",
            "loss/acc",
            "val/gloss",
            "val/f1",
            "val/acc_best",
        ] {
            assert_eq!(MonitorMode::of_metric(name), MonitorMode::Max, "{name}");
        }
    }
}
