//! Momentum of a teacher, which has a usual curve.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Curve, Scheduled, Shape};

/// Share of its own weights that a teacher keeps in a step. A plain number m is where half a cosine to 1 over the whole run
/// begins, `1 - (1 - m) (cos(pi k / K) + 1) / 2` in step k of K (Grill et al. 2020, section 3.3; Caron et al. 2021 have the
/// same); any other [`Scheduled`] is written in full, a constant as `{kind: constant, from: m}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TeacherMomentum(pub Scheduled);

impl TeacherMomentum {
    /// From `first` on half a cosine to 1.
    pub fn rising_from(first: f64) -> Self {
        Self(Scheduled::cosine(first, 1.0))
    }
}

impl Serialize for TeacherMomentum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Scheduled::Curve(Curve { from, .. }) if *self == Self::rising_from(from) => {
                from.serialize(serializer)
            }
            Scheduled::Curve(curve) => curve.serialize(serializer),
            Scheduled::Constant(from) => {
                Curve { from, warmup: None, shape: Shape::Constant }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for TeacherMomentum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Scheduled::deserialize(deserializer)? {
            Scheduled::Constant(first) => Self::rising_from(first),
            curve @ Scheduled::Curve(_) => Self(curve),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Position;
    use super::*;

    #[test]
    fn a_number_is_where_a_cosine_to_one_begins() {
        let old = |first: f64, step: f64, total: f64| {
            1.0 - (1.0 - first) * ((std::f64::consts::PI * (step / total)).cos() + 1.0) / 2.0
        };
        for first in [0.0, 0.8, 0.9, 0.99, 0.996, 1.0 / 3.0] {
            let momentum: TeacherMomentum = serde_json::from_str(&first.to_string()).unwrap();
            assert_eq!(serde_json::to_string(&momentum).unwrap(), serde_json::to_string(&first).unwrap());
            for total_steps in [1, 7, 100, 1003] {
                for step in 0..=total_steps {
                    let at = Position { step, steps_per_epoch: 3, total_steps };
                    // Bit for bit, in whichever order it is added up.
                    assert_eq!(
                        momentum.0.at(at),
                        old(first, step as f64, total_steps as f64),
                        "{first} {step}"
                    );
                }
                let beyond = Position { step: 9 * total_steps, steps_per_epoch: 3, total_steps };
                assert_eq!(momentum.0.at(beyond), 1.0);
            }
        }
        let empty = Position { step: 0, steps_per_epoch: 0, total_steps: 0 };
        assert_eq!(TeacherMomentum::rising_from(0.9).0.at(empty), 0.9);
    }

    #[test]
    fn other_curves_are_written_in_full() {
        for json in [
            r#"{"kind":"constant","from":0.9}"#,
            r#"{"kind":"cosine","from":0.9,"to":0.999}"#,
            r#"{"kind":"linear","from":0.9,"to":1.0,"over":"10 epochs"}"#,
        ] {
            let momentum: TeacherMomentum = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&momentum).unwrap(), json);
        }
        let constant: TeacherMomentum = serde_json::from_str(r#"{"kind":"constant","from":0.9}"#).unwrap();
        assert_eq!(constant.0.constant(), Some(0.9));
        let built = TeacherMomentum(0.9.into());
        assert_eq!(serde_json::to_string(&built).unwrap(), r#"{"kind":"constant","from":0.9}"#);
    }
}
