//! Numbers that may change over the run: weight decay, momentum, temperatures, weights of losses. One kind for all of them:
//! a number, or a curve over the steps.

mod curve;
mod span;
mod teacher;
mod values;

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checks::Checks;
pub use curve::{Curve, ScheduleKind, Shape};
pub use span::Span;
pub use teacher::TeacherMomentum;
pub use values::{ScheduledSetting, ScheduledValues, ValueRange};

/// Where a run is: what every schedule is a function of, alike on all ranks and after each restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Steps that were done.
    pub step: u64,
    /// Steps of a pass over the training set.
    pub steps_per_epoch: u64,
    /// Steps that schedules are computed for.
    pub total_steps: u64,
}

/// A number that is the same in every step, or moves along a curve. It is written as a number, or as
/// `{from: 0.04, to: 0.4, kind: cosine}` with the keys of a [`Curve`]:
///
/// | key | meaning |
/// |---|---|
/// | `from` | first value after the warm-up |
/// | `to` | last value, of `linear` and `cosine` |
/// | `kind` | `cosine` (the default), `linear`, `constant` or `step` |
/// | `over` | [`Span`] from the beginning to the last value; the whole run if left out |
/// | `warmup` | [`Span`] of a linear rise from 0 to `from` at the beginning |
/// | `gamma`, `every` | of `step`: factor, and [`Span`] between two falls |
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheduled {
    /// The same in every step.
    Constant(f64),
    /// A function of the step.
    Curve(Curve),
}

impl Scheduled {
    /// Half a cosine over the whole run.
    pub fn cosine(from: f64, to: f64) -> Self {
        Self::Curve(Curve { from, warmup: None, shape: Shape::Cosine { to, over: Span::RUN } })
    }

    /// A straight line over the whole run.
    pub fn linear(from: f64, to: f64) -> Self {
        Self::Curve(Curve { from, warmup: None, shape: Shape::Linear { to, over: Span::RUN } })
    }

    /// Value at a step.
    pub fn at(&self, at: Position) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Curve(curve) => curve.at(at),
        }
    }

    /// The value, where it is the same in every step.
    pub fn constant(&self) -> Option<f64> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Curve(Curve { from, warmup: None, shape: Shape::Constant }) => Some(*from),
            Self::Curve(_) => None,
        }
    }

    /// Values that all others lie between, apart from those of a warm-up.
    pub fn ends(&self) -> [f64; 2] {
        match self {
            Self::Constant(value) => [*value; 2],
            Self::Curve(curve) => curve.ends(),
        }
    }

    /// Whether it is 0 in every step.
    pub fn is_zero(&self) -> bool {
        self.ends() == [0.0; 2]
    }

    /// Whether steps would have other values in a run of another length.
    pub fn follows_length(&self) -> bool {
        matches!(self, Self::Curve(curve) if curve.follows_length())
    }

    /// Its stretches that have to fit the run, by the keys that name them.
    pub fn spans(&self) -> impl Iterator<Item = (&'static str, Span)> {
        let curve = match self {
            Self::Constant(_) => None,
            Self::Curve(curve) => Some(curve.spans()),
        };
        curve.into_iter().flatten()
    }
}

impl Scheduled {
    /// As [`Checks::not_negative`], of every step.
    pub(crate) fn check_not_negative(&self, key: &'static str, checks: &mut Checks) {
        self.different_ends().for_each(|end| checks.not_negative(key, end));
    }

    /// As [`Checks::below_one`], of every step.
    pub(crate) fn check_below_one(&self, key: &'static str, checks: &mut Checks) {
        self.different_ends().for_each(|end| checks.below_one(key, end));
    }

    /// Those that are worth a line each.
    fn different_ends(&self) -> impl Iterator<Item = f64> {
        let [first, last] = self.ends();
        let is_one = first.to_bits() == last.to_bits();
        std::iter::once(first).chain((!is_one).then_some(last))
    }
}

impl From<f64> for Scheduled {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

impl Default for Scheduled {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl Serialize for Scheduled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(value) => value.serialize(serializer),
            Self::Curve(curve) => curve.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Scheduled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScheduledVisitor)
    }
}

struct ScheduledVisitor;

impl<'de> Visitor<'de> for ScheduledVisitor {
    type Value = Scheduled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a schedule such as `{from: 0.04, to: 0.4, kind: cosine}`")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scheduled, E> {
        Ok(Scheduled::Constant(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scheduled, E> {
        Ok(Scheduled::Constant(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scheduled, E> {
        Ok(Scheduled::Constant(value as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scheduled, A::Error> {
        Curve::deserialize(MapAccessDeserializer::new(map)).map(Scheduled::Curve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Scheduled, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_curves_are_read_and_written_back() {
        for (json, expected) in [
            ("0.5", Scheduled::Constant(0.5)),
            ("-2.0", Scheduled::Constant(-2.0)),
            (r#"{"kind":"cosine","from":0.04,"to":0.4}"#, Scheduled::cosine(0.04, 0.4)),
            (r#"{"kind":"linear","from":1.0,"to":0.0}"#, Scheduled::linear(1.0, 0.0)),
            (
                r#"{"kind":"linear","from":0.04,"to":0.07,"over":"30 epochs","warmup":"5 steps"}"#,
                Scheduled::Curve(Curve {
                    from: 0.04,
                    warmup: Some(Span::Steps(5)),
                    shape: Shape::Linear { to: 0.07, over: Span::Epochs(30.0) },
                }),
            ),
            (
                r#"{"kind":"step","from":1.0,"gamma":0.1,"every":0.25}"#,
                Scheduled::Curve(Curve {
                    from: 1.0,
                    warmup: None,
                    shape: Shape::Step { gamma: 0.1, every: Span::Fraction(0.25) },
                }),
            ),
        ] {
            assert_eq!(read(json).unwrap(), expected);
            assert_eq!(serde_json::to_string(&expected).unwrap(), json);
        }
        assert_eq!(read("3").unwrap(), 3.0.into());
        assert_eq!(read(r#"{"from": 0.1, "to": 1}"#).unwrap(), Scheduled::cosine(0.1, 1.0));
        let constant = read(r#"{"kind": "constant", "from": 2}"#).unwrap();
        assert_eq!((constant.constant(), constant.ends()), (Some(2.0), [2.0, 2.0]));
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (json, why) in [
            (r#"{"from": 1}"#, "with `kind: cosine` without `to`, its last value"),
            (r#"{"kind": "linear", "to": 1}"#, "is a schedule without `from`, a finite number"),
            (r#"{"kind": "constant", "from": 1, "to": 2}"#, "`kind: constant`, which has no `to`"),
            (r#"{"kind": "step", "from": 1, "every": "1 epoch"}"#, "without `gamma`, a factor above 0"),
            (r#"{"kind": "step", "from": 1, "gamma": 2, "every": 0.1}"#, "without `gamma`, a factor above 0"),
            (r#"{"kind": "step", "from": 1, "gamma": 0.5}"#, "without `every`, such as `10 epochs`"),
            (r#"{"from": 1, "to": 2, "gamma": 0.5}"#, "`kind: cosine`, which has no `gamma`"),
            (r#"{"from": 1, "til": 2}"#, "unknown field `til`"),
            (r#"{"from": 1, "to": 2, "over": 20}"#, "a stretch of the run, `500 steps`, `10 epochs`"),
            ("true", "a number, or a schedule such as"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn a_schedule_knows_whether_it_hangs_on_the_length_of_the_run() {
        let follows = |json: &str| read(json).unwrap().follows_length();
        assert!(follows(r#"{"from": 1, "to": 0}"#));
        assert!(follows(r#"{"from": 1, "to": 0, "over": "3 epochs", "warmup": 0.1}"#));
        assert!(follows(r#"{"kind": "step", "from": 1, "gamma": 0.1, "every": 0.3}"#));
        assert!(!follows(r#"{"from": 1, "to": 0, "over": "3 epochs", "warmup": "10 steps"}"#));
        assert!(!follows("0.5") && !follows(r#"{"kind": "constant", "from": 1}"#));
    }
}
