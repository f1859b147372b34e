//! One classifier for each label of the data; the settings themselves are those of heads.

use super::super::{HeadConfig, HeadLoss, HeadsConfig, RunConfig};
use super::{LabelUse, MethodConfig, MethodFacts, MethodSettings};
use crate::checks::Checks;

impl MethodSettings for HeadsConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts { labels: LabelUse::EveryLabel, ..MethodFacts::default() }
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        checks.below_one("method.label_smoothing", self.label_smoothing);
        checks.not_negative("method.cross_entropy_weight", self.cross_entropy_weight);
        checks.positive("method.distance_power", self.distance_power);
        checks.positive("method.target_width", self.target_width);
        let keys = ["method.heads"];
        for (name, head) in &self.heads {
            let mut within = |key: &str, value: Option<f64>, holds: fn(f64) -> bool, range: &str| {
                let Some(value) = value.filter(|value| !value.is_finite() || !holds(*value)) else { return };
                checks.require(
                    false,
                    keys,
                    || format!("`method.heads.{name}.{key}` must be {range}, not {value}"),
                    None,
                );
            };
            within("weight", Some(head.weight), |value| value >= 0.0, "at least 0 and finite");
            within(
                "label_smoothing",
                head.label_smoothing,
                |value| (0.0..1.0).contains(&value),
                "at least 0 and below 1",
            );
            within(
                "cross_entropy_weight",
                head.cross_entropy_weight,
                |value| value >= 0.0,
                "at least 0 and finite",
            );
            within("distance_power", head.distance_power, |value| value > 0.0, "above 0 and finite");
            within("target_width", head.target_width, |value| value > 0.0, "above 0 and finite");
        }
    }

    fn heads(&self) -> Option<&HeadsConfig> {
        Some(self)
    }

    fn heads_mut(&mut self) -> Option<&mut HeadsConfig> {
        Some(self)
    }

    /// A head for every loss, as far as there are labels.
    fn for_proofs(&self, labels: &[&str]) -> MethodConfig {
        let heads = labels.iter().zip(HeadLoss::ALL.into_iter().cycle()).map(|(label, loss)| {
            ((*label).to_owned(), HeadConfig { loss: Some(loss), ..HeadConfig::default() })
        });
        MethodConfig::Multihead(Self { heads: heads.collect(), label_smoothing: 0.1, ..self.clone() })
    }
}
