//! What a monitor watches, a metric or a weighted sum of metrics, and which way it is better.

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
const LESS_IS_BETTER: [&str; 16] = [
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
    "alignment",
    "uniformity",
];

impl MonitorMode {
    /// By the metric's name: `val/loss` and `val/pitch_mae` are better when smaller, everything else when larger. A sum goes
    /// by its first part; see [`MetricSum::is_of_one_mind`].
    pub fn of_metric(name: &str) -> Self {
        match MetricSum::parse(name) {
            Ok(sum) if sum.is_sum() => sum.directions().next().unwrap_or_default(),
            _ => Self::of_name(name),
        }
    }

    fn of_name(name: &str) -> Self {
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

/// A metric, or a sum of metrics with factors, as a monitor names it: `val/acc`, `0.5*val/note_acc + val/class_acc`. Signs stand
/// between blanks, since labels may have a `-` in their names. A run records a sum under the text that it was given as.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSum {
    terms: Vec<(f64, String)>,
}

impl MetricSum {
    /// Takes a monitor's text apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        let mut sign = 1.0;
        let mut wants_term = true;
        for word in text.replace('*', " * ").split_whitespace() {
            match word {
                "+" | "-" if !wants_term => (sign, wants_term) = (if word == "+" { 1.0 } else { -1.0 }, true),
                "*" => match terms.pop() {
                    // What was taken for a metric is a factor.
                    Some((own, name)) if !wants_term => {
                        let name: String = name;
                        let factor = name.parse::<f64>().ok().filter(|factor| factor.is_finite());
                        sign = own * factor.ok_or_else(|| format!("`{name}` is no number"))?;
                        wants_term = true;
                    }
                    _ => return Err("`*` stands between a number and a metric".into()),
                },
                name if wants_term => {
                    terms.push((sign, name.to_owned()));
                    (sign, wants_term) = (1.0, false);
                }
                word => {
                    return Err(format!(
                        "between two metrics stands ` + ` or ` - `, before `{word}` nothing does"
                    ));
                }
            }
        }
        if wants_term {
            return Err("a metric is missing at its end".into());
        }
        match terms.iter().find(|(_, name)| name.parse::<f64>().is_ok()) {
            Some((_, number)) => Err(format!("`{number}` is a number without a metric")),
            None => Ok(Self { terms }),
        }
    }

    /// Whether it is more than the name of one metric.
    pub fn is_sum(&self) -> bool {
        self.terms.len() > 1 || self.terms.iter().any(|(factor, _)| *factor != 1.0)
    }

    /// Its metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|(_, name)| name.as_str())
    }

    /// Its value, given those of its metrics; `None` where one is not known.
    pub fn value<'a>(&'a self, of: impl Fn(&'a str) -> Option<f64>) -> Option<f64> {
        self.terms.iter().map(|(factor, name)| Some(factor * of(name)?)).sum()
    }

    /// Whether all parts pull the same way: where a loss is subtracted from an accuracy, more of both is better.
    pub fn is_of_one_mind(&self) -> bool {
        let mut directions = self.directions();
        let first = directions.next();
        directions.all(|direction| Some(direction) == first)
    }

    fn directions(&self) -> impl Iterator<Item = MonitorMode> {
        self.terms.iter().map(|(factor, name)| match (MonitorMode::of_name(name), *factor < 0.0) {
            (MonitorMode::Max, false) | (MonitorMode::Min, true) => MonitorMode::Max,
            (MonitorMode::Max, true) | (MonitorMode::Min, false) => MonitorMode::Min,
        })
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
    fn a_sum_is_taken_apart_and_computed() {
        let sum = |text: &str| MetricSum::parse(text).unwrap();
        let value = |name: &str| match name {
            "val/acc" => Some(0.5),
            "val/loss" => Some(2.0),
            "val/a-b_acc" => Some(8.0),
            _ => None,
        };
        for (text, expected, is_sum) in [
            ("val/acc", Some(0.5), false),
            ("  val/a-b_acc ", Some(8.0), false),
            ("0.5*val/acc + val/loss", Some(2.25), true),
            ("val/acc - 0.25 * val/loss", Some(0.0), true),
            ("-1*val/loss", Some(-2.0), true),
            ("val/acc + val/unknown", None, true),
        ] {
            assert_eq!((sum(text).value(value), sum(text).is_sum()), (expected, is_sum), "{text}");
        }
        assert_eq!(sum("val/acc - 2*val/loss").names().collect::<Vec<_>>(), ["val/acc", "val/loss"]);
        for (text, word) in [
            ("val/acc +", "missing"),
            ("", "missing"),
            ("val/acc val/loss", "`val/loss`"),
            ("val/acc * val/loss", "`val/acc` is no number"),
            ("2 + val/acc", "`2`"),
            ("*val/acc", "between a number"),
            ("nan*val/acc", "`nan`"),
        ] {
            let problem = MetricSum::parse(text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }

    #[test]
    fn the_direction_of_a_sum_is_that_of_all_its_parts() {
        for (text, mode, agrees) in [
            ("val/acc + val/b_acc", MonitorMode::Max, true),
            ("val/acc - val/loss", MonitorMode::Max, true),
            ("0.5*val/loss + val/b_mae", MonitorMode::Min, true),
            ("val/acc + val/loss", MonitorMode::Max, false),
        ] {
            assert_eq!(MonitorMode::of_metric(text), mode, "{text}");
            assert_eq!(MetricSum::parse(text).unwrap().is_of_one_mind(), agrees, "{text}");
        }
    }

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
