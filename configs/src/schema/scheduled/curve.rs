//! The shapes that a number takes over the run, in the words and conventions of PyTorch's schedulers.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{Position, Span};

/// Shape of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine down (or up) to the last value.
    #[default]
    Cosine,
    /// A straight line to the last value.
    Linear,
    /// Stays at the first value.
    Constant,
    /// Falls by a factor at equal distances, counted from the beginning (PyTorch's `StepLR`).
    Step,
}

/// A number over the run: a warm-up, then a shape.
///
/// With a warm-up of W steps, step 0 has `from / W`, and step W - 1 and step W have `from` (Goyal et al. 2017, arXiv
/// 1706.02677). From there a line or a cosine moves to `to`, which it reaches at `over`, one step past the last of its
/// stretch, as PyTorch's `LinearLR` and `CosineAnnealingLR` do, and stays there. A cosine is half a period (Loshchilov & Hutter
/// 2017, arXiv 1608.03983). Stretches are counted from the beginning of the run, so that `over` has the warm-up in it.
///
/// Departure: the warm-up of DINO's `cosine_scheduler` begins with a step of 0; its cosine is this one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Curve {
    /// First value after the warm-up.
    pub from: f64,
    /// Linear rise from 0 to `from`.
    pub warmup: Option<Span>,
    /// What follows.
    pub shape: Shape,
}

/// What follows a warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// The first value.
    Constant,
    /// A straight line.
    Linear {
        /// Last value.
        to: f64,
        /// Where it has it.
        over: Span,
    },
    /// Half a cosine.
    Cosine {
        /// Last value.
        to: f64,
        /// Where it has it.
        over: Span,
    },
    /// `from * gamma^n` after n times `every`, warm-up included.
    Step {
        /// Factor.
        gamma: f64,
        /// Distance of two falls.
        every: Span,
    },
}

impl Curve {
    /// Value at a step.
    pub fn at(&self, at: Position) -> f64 {
        self.times(1.0, at)
    }

    /// `scale` times the value at a step. Beyond its end a curve stays at its last value; a warm-up that is longer than the
    /// stretch stays where it is then.
    pub fn times(&self, scale: f64, at: Position) -> f64 {
        let from = self.from;
        let end = self.end(at);
        let step = end.map_or(at.step as f64, |end| (at.step as f64).min(end));
        let warmup = self.warmup.map_or(0.0, |warmup| warmup.steps(at));
        if step + 1.0 <= warmup {
            return scale * from * (step + 1.0) / warmup;
        }
        let length = end.unwrap_or(0.0) - warmup;
        let progress = if length > 0.0 { ((step - warmup) / length).clamp(0.0, 1.0) } else { 0.0 };
        match self.shape {
            Shape::Constant => scale * from,
            Shape::Linear { to, .. } => scale * (from * (1.0 - progress) + to * progress),
            Shape::Cosine { to, .. } => scale * (to + (from - to) * 0.5 * (1.0 + (PI * progress).cos())),
            Shape::Step { gamma, every } => {
                let num_falls = (step / every.steps(at).max(1.0)).floor();
                scale * from * gamma.powi(num_falls.min(f64::from(i32::MAX)) as i32)
            }
        }
    }

    /// Where it has its last value, in steps.
    fn end(&self, at: Position) -> Option<f64> {
        match self.shape {
            Shape::Linear { over, .. } | Shape::Cosine { over, .. } => Some(over.steps(at)),
            Shape::Constant | Shape::Step { .. } => None,
        }
    }

    /// Its stretches that have to fit the run, by the keys that name them.
    pub fn spans(&self) -> impl Iterator<Item = (&'static str, Span)> {
        let over = match self.shape {
            Shape::Linear { over, .. } | Shape::Cosine { over, .. } => Some(over),
            Shape::Constant | Shape::Step { .. } => None,
        };
        [("warmup", self.warmup), ("over", over)]
            .into_iter()
            .filter_map(|(key, span)| span.map(|span| (key, span)))
    }

    /// Whether steps would have other values in a run of another length.
    pub fn follows_length(&self) -> bool {
        let every = match self.shape {
            Shape::Step { every, .. } => Some(every),
            _ => None,
        };
        every.is_some_and(Span::follows_length) || self.spans().any(|(_, span)| span.follows_length())
    }

    /// Values that all others lie between, apart from those of the warm-up.
    pub fn ends(&self) -> [f64; 2] {
        match self.shape {
            Shape::Linear { to, .. } | Shape::Cosine { to, .. } => [self.from, to],
            Shape::Constant | Shape::Step { .. } => [self.from; 2],
        }
    }
}

/// A curve as it is written.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ScheduleKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gamma: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<Span>,
}

impl From<Curve> for Written {
    fn from(Curve { from, warmup, shape }: Curve) -> Self {
        let common = Self { from: Some(from), warmup, ..Self::default() };
        let ending = |kind, to, over| Self {
            kind: Some(kind),
            to: Some(to),
            over: Some(over).filter(|over| *over != Span::RUN),
            ..common
        };
        match shape {
            Shape::Constant => Self { kind: Some(ScheduleKind::Constant), ..common },
            Shape::Linear { to, over } => ending(ScheduleKind::Linear, to, over),
            Shape::Cosine { to, over } => ending(ScheduleKind::Cosine, to, over),
            Shape::Step { gamma, every } => {
                Self { kind: Some(ScheduleKind::Step), gamma: Some(gamma), every: Some(every), ..common }
            }
        }
    }
}

impl TryFrom<Written> for Curve {
    type Error = String;

    /// What is missing, or has no meaning in a curve of that kind.
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { kind, from, to, over, warmup, gamma, every } = written;
        let kind = kind.unwrap_or_default();
        let finite = |value: f64| value.is_finite().then_some(value);
        let ends = matches!(kind, ScheduleKind::Linear | ScheduleKind::Cosine);
        let falls = kind == ScheduleKind::Step;
        let word = match kind {
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::Linear => "linear",
            ScheduleKind::Constant => "constant",
            ScheduleKind::Step => "step",
        };
        for (key, given, meant) in [
            ("to", to.is_some(), ends),
            ("over", over.is_some(), ends),
            ("gamma", gamma.is_some(), falls),
            ("every", every.is_some(), falls),
        ] {
            if given && !meant {
                return Err(format!("is a schedule with `kind: {word}`, which has no `{key}`"));
            }
        }
        let wants = |key: &str| format!("is a schedule without `{key}`, a finite number");
        let from = from.and_then(finite).ok_or_else(|| wants("from"))?;
        let last = || {
            let hint = format!("is a schedule with `kind: {word}` without `to`, its last value");
            to.and_then(finite).ok_or(hint)
        };
        let shape = match kind {
            ScheduleKind::Constant => Shape::Constant,
            ScheduleKind::Linear => Shape::Linear { to: last()?, over: over.unwrap_or(Span::RUN) },
            ScheduleKind::Cosine => Shape::Cosine { to: last()?, over: over.unwrap_or(Span::RUN) },
            ScheduleKind::Step => Shape::Step {
                gamma: gamma.filter(|gamma| *gamma > 0.0 && *gamma <= 1.0).ok_or_else(|| {
                    "is a schedule with `kind: step` without `gamma`, a factor above 0 and up to 1".to_owned()
                })?,
                every: every.ok_or_else(|| {
                    "is a schedule with `kind: step` without `every`, such as `10 epochs`".to_owned()
                })?,
            },
        };
        Ok(Self { from, warmup, shape })
    }
}

#[cfg(test)]
mod tests;
