//! A stretch of the run, as settings write it.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Position;

/// A stretch of the run, above 0 and counted from its beginning: `500 steps`, `10 epochs` (or part of one), or a fraction of
/// the run such as `0.1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// Optimizer steps.
    Steps(u64),
    /// Passes over the training set.
    Epochs(f64),
    /// Of the steps that schedules are computed for.
    Fraction(f64),
}

impl Span {
    /// From the first step to the last.
    pub const RUN: Self = Span::Fraction(1.0);

    /// Optimizer steps; not whole where epochs or the run are cut between two.
    pub fn steps(self, at: Position) -> f64 {
        match self {
            Span::Steps(steps) => steps as f64,
            Span::Epochs(epochs) => epochs * at.steps_per_epoch.max(1) as f64,
            Span::Fraction(fraction) => fraction * at.total_steps as f64,
        }
    }

    /// Whether it is longer in a longer run.
    pub fn follows_length(self) -> bool {
        matches!(self, Span::Fraction(_))
    }

    /// From a number without a unit.
    fn fraction(value: f64) -> Option<Self> {
        (value > 0.0 && value <= 1.0).then_some(Span::Fraction(value))
    }

    /// From a number and its unit.
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.trim().split_once(char::is_whitespace)?;
        match unit.trim_start() {
            "step" | "steps" => number.parse().ok().filter(|steps| *steps > 0).map(Span::Steps),
            "epoch" | "epochs" => {
                let is_length = |epochs: &f64| epochs.is_finite() && *epochs > 0.0;
                number.parse().ok().filter(is_length).map(Span::Epochs)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Steps(1) => f.write_str("1 step"),
            Span::Steps(steps) => write!(f, "{steps} steps"),
            Span::Epochs(1.0) => f.write_str("1 epoch"),
            Span::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Span::Fraction(fraction) => write!(f, "{fraction} of the run"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Span::Fraction(fraction) => serializer.serialize_f64(*fraction),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stretch of the run, `500 steps`, `10 epochs`, or a fraction of it above 0 and up to 1")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        Span::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Span, E> {
        Span::fraction(value).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Span, E> {
        Span::fraction(value as f64).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { step: 0, steps_per_epoch: 40, total_steps: 1000 };

    #[test]
    fn every_unit_is_read_counted_and_written_back() {
        for (json, span, steps) in [
            ("\"500 steps\"", Span::Steps(500), 500.0),
            ("\"1 step\"", Span::Steps(1), 1.0),
            ("\"2.5 epochs\"", Span::Epochs(2.5), 100.0),
            ("\"1 epoch\"", Span::Epochs(1.0), 40.0),
            ("0.1", Span::Fraction(0.1), 100.0),
            ("1.0", Span::RUN, 1000.0),
        ] {
            assert_eq!(serde_json::from_str::<Span>(json).unwrap(), span);
            assert_eq!(serde_json::to_string(&span).unwrap(), json);
            assert_eq!(span.steps(AT), steps, "{json}");
        }
        assert_eq!(serde_json::from_str::<Span>("1").unwrap(), Span::RUN);
        assert!(Span::RUN.follows_length() && !Span::Epochs(3.0).follows_length());
    }

    #[test]
    fn what_is_no_stretch_is_refused() {
        for json in [
            "0",
            "10",
            "1.5",
            "-0.1",
            "\"10\"",
            "\"0 steps\"",
            "\"-1 epochs\"",
            "\"inf epochs\"",
            "\"NaN epochs\"",
            "\"1.5 steps\"",
            "\"3 weeks\"",
            "true",
            "[1]",
        ] {
            assert!(serde_json::from_str::<Span>(json).is_err(), "{json}");
        }
    }
}
