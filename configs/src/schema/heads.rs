//! Heads of a network that tells several things about a sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Several classifiers on one backbone: every label of the data has a head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadsConfig {
    /// Settings of single heads, by the name of their label; a head that is not named has the defaults.
    pub heads: BTreeMap<String, HeadConfig>,
    /// Loss of the heads whose classes are steps of a scale, such as quantized parameters. Those of other heads have no
    /// order: theirs is cross-entropy unless `heads` says otherwise.
    pub loss: HeadLoss,
    /// `cross_entropy`: share of the target probability that is spread over all classes (PyTorch's formula).
    pub label_smoothing: f64,
    /// `ordinal_regression`: factor on the cross-entropy that is added.
    pub cross_entropy_weight: f64,
    /// `distance_weighted`: power of the distance between two classes.
    pub distance_power: f64,
    /// `soft_targets`: standard deviation of the target distribution, in classes.
    pub target_width: f64,
}

impl Default for HeadsConfig {
    fn default() -> Self {
        Self {
            heads: BTreeMap::new(),
            loss: HeadLoss::CrossEntropy,
            label_smoothing: 0.0,
            cross_entropy_weight: 0.1,
            distance_power: 2.0,
            target_width: 1.0,
        }
    }
}

/// What differs in one head; `null` = as in the method's settings of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// Factor on its loss, and its weight in the mean accuracy; 0: the head is not trained.
    pub weight: f64,
    /// Its loss; `null` = `method.loss` where its classes are steps of a scale, else cross-entropy.
    pub loss: Option<HeadLoss>,
    /// `cross_entropy`: as `method.label_smoothing`, for this head; `null` = that one.
    pub label_smoothing: Option<f64>,
    /// `ordinal_regression`: as `method.cross_entropy_weight`, for this head; `null` = that one.
    pub cross_entropy_weight: Option<f64>,
    /// `distance_weighted`: as `method.distance_power`, for this head; `null` = that one.
    pub distance_power: Option<f64>,
    /// `soft_targets`: as `method.target_width`, for this head; `null` = that one.
    pub target_width: Option<f64>,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            weight: 1.0,
            loss: None,
            label_smoothing: None,
            cross_entropy_weight: None,
            distance_power: None,
            target_width: None,
        }
    }
}

/// What a head is trained by. All but cross-entropy take the classes as steps of one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadLoss {
    /// Cross-entropy over the classes, without regard to their order.
    #[default]
    CrossEntropy,
    /// Distance of the expected value under the softmax from the target, plus a small cross-entropy.
    OrdinalRegression,
    /// Squared distance of one number, the head's only output, from the target.
    QuantizedRegression,
    /// Cross-entropy, and a penalty on the probability of classes that grows with their distance.
    DistanceWeighted,
    /// Cross-entropy against a Gaussian around the target class.
    SoftTargets,
}

impl HeadLoss {
    /// Every loss.
    pub const ALL: [Self; 5] = [
        Self::CrossEntropy,
        Self::OrdinalRegression,
        Self::QuantizedRegression,
        Self::DistanceWeighted,
        Self::SoftTargets,
    ];
}

/// Everything about one head, with the defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadSettings {
    /// Factor on its loss.
    pub weight: f64,
    /// Its loss.
    pub loss: HeadLoss,
    /// See [`HeadsConfig`].
    pub label_smoothing: f64,
    /// See [`HeadsConfig`].
    pub cross_entropy_weight: f64,
    /// See [`HeadsConfig`].
    pub distance_power: f64,
    /// See [`HeadsConfig`].
    pub target_width: f64,
}

impl HeadsConfig {
    /// The settings of the head `name`; `has_scale`: its classes are steps of a scale.
    pub fn settings(&self, name: &str, has_scale: bool) -> HeadSettings {
        let head = self.heads.get(name).cloned().unwrap_or_default();
        let usual = if has_scale { self.loss } else { HeadLoss::CrossEntropy };
        HeadSettings {
            weight: head.weight,
            loss: head.loss.unwrap_or(usual),
            label_smoothing: head.label_smoothing.unwrap_or(self.label_smoothing),
            cross_entropy_weight: head.cross_entropy_weight.unwrap_or(self.cross_entropy_weight),
            distance_power: head.distance_power.unwrap_or(self.distance_power),
            target_width: head.target_width.unwrap_or(self.target_width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_takes_what_it_does_not_say_from_the_method() {
        let named = HeadConfig { weight: 0.5, target_width: Some(3.0), ..HeadConfig::default() };
        let config = HeadsConfig {
            heads: BTreeMap::from([("note".to_owned(), named)]),
            loss: HeadLoss::SoftTargets,
            ..HeadsConfig::default()
        };
        let note = config.settings("note", true);
        assert_eq!((note.weight, note.loss, note.target_width), (0.5, HeadLoss::SoftTargets, 3.0));
        let other = config.settings("other", true);
        assert_eq!((other.weight, other.target_width), (1.0, 1.0));
        assert_eq!(config.settings("other", false).loss, HeadLoss::CrossEntropy);
    }
}
