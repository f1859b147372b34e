//! What is reported while it happens: embeddings that collapse, losses that say that nothing is learned any more, and
//! shortcuts. Where the thresholds come from is told at each, and in docs/alarms.md.

use serde::{Deserialize, Serialize};

/// Alarms: rules over the metrics that a run records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmsConfig {
    /// Watch at all.
    pub enabled: bool,
    /// What each alarm does.
    pub on: AlarmActions,
    /// What a run that goes back by `rollback` does otherwise from there on, as on the command line: `[optimizer.lr=0.0003]`.
    pub rollback_set: Vec<String>,
    /// Evaluations in a row whose metrics are evidence before an alarm is raised; of `linear_gap` one is enough.
    pub patience: u64,
    /// Logged training steps in a row that are evidence before `loss_at_chance` is raised; those of the first epoch do not count.
    pub loss_patience: u64,
    /// `embedding_std`: standard deviation of normalized embeddings, in units of 1/sqrt(width), below which they have collapsed.
    /// A healthy projection is at 1 and a collapsed one at 0 (Chen & He 2021, figure 2); the embedding behind a ReLU, which
    /// is not centred, is lower than a projection.
    pub min_embedding_std: f64,
    /// `effective_rank`: share of the rank that the embeddings could have below which they have collapsed into few
    /// dimensions (RankMe of Garrido et al. 2023, who compare ranks and name no threshold).
    pub min_effective_rank: f64,
    /// `uniformity`: value above which the embeddings lie in one spot of the sphere: 0 is a point, -4 uniform in many
    /// dimensions (Wang & Isola 2020).
    pub max_uniformity: f64,
    /// `output_entropy`: share of the largest entropy, at either end, within which the output has collapsed (Caron et al. 2021,
    /// section 5.3: to one dimension without centring, to the uniform distribution without sharpening).
    pub entropy_margin: f64,
    /// `loss_at_chance` and `loss_at_minimum`: share of the way between the loss of a network that tells nothing and the
    /// smallest one, at either end, within which the loss stands there.
    pub loss_margin: f64,
    /// `linear_gap`: by how much a linear probe is better on what it was fitted to than elsewhere, both as shares of the way from
    /// chance to 1.
    pub max_linear_gap: f64,
    /// `recording_shortcut`: how far nearest neighbours may know the recording, as a share of the way to 1 from what who knows the
    /// class as well and nothing else reaches.
    pub max_recording_excess: f64,
}

impl Default for AlarmsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            on: AlarmActions::default(),
            rollback_set: Vec::new(),
            patience: 2,
            loss_patience: 10,
            min_embedding_std: 0.01,
            min_effective_rank: 0.03,
            max_uniformity: -0.001,
            entropy_margin: 0.02,
            loss_margin: 0.01,
            max_linear_gap: 0.5,
            max_recording_excess: 0.3,
        }
    }
}

/// What is done when an alarm is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlarmAction {
    /// Nothing: it is not watched for.
    Ignore,
    /// It is told once, with its evidence and the remedies, until it clears.
    #[default]
    Warn,
    /// It is told, and the run ends as by early stopping.
    Stop,
    /// It is told, and the run goes on from its last checkpoint before the evidence began, with `alarms.rollback_set`; once, and
    /// from there on it is `stop`.
    Rollback,
}

/// An action for each alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmActions {
    /// All embeddings are nearly the same.
    pub embedding_std: AlarmAction,
    /// Embeddings vary in few dimensions.
    pub effective_rank: AlarmAction,
    /// Embeddings lie in one spot of the sphere.
    pub uniformity: AlarmAction,
    /// What a method puts out as a distribution is always the same class, or all classes alike.
    pub output_entropy: AlarmAction,
    /// The training loss is that of a network that tells nothing, such as ln K of K classes.
    pub loss_at_chance: AlarmAction,
    /// A contrastive loss has nearly reached its smallest value, and yet nearest neighbours do not know the class.
    pub loss_at_minimum: AlarmAction,
    /// A linear classifier tells the training part and fails elsewhere.
    pub linear_gap: AlarmAction,
    /// Nearest neighbours know the recording, and not the class.
    pub recording_shortcut: AlarmAction,
}

/// An alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// All embeddings are nearly the same.
    EmbeddingStd,
    /// Embeddings vary in few dimensions.
    EffectiveRank,
    /// Embeddings lie in one spot of the sphere.
    Uniformity,
    /// A distribution that is always the same class, or all classes alike.
    OutputEntropy,
    /// The loss of a network that tells nothing.
    LossAtChance,
    /// A contrastive loss that has nothing left to teach.
    LossAtMinimum,
    /// A linear classifier that tells the training part only.
    LinearGap,
    /// Recordings in place of classes.
    RecordingShortcut,
}

impl Alarm {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::EmbeddingStd,
        Self::EffectiveRank,
        Self::Uniformity,
        Self::OutputEntropy,
        Self::LossAtChance,
        Self::LossAtMinimum,
        Self::LinearGap,
        Self::RecordingShortcut,
    ];

    /// As in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmbeddingStd => "embedding_std",
            Self::EffectiveRank => "effective_rank",
            Self::Uniformity => "uniformity",
            Self::OutputEntropy => "output_entropy",
            Self::LossAtChance => "loss_at_chance",
            Self::LossAtMinimum => "loss_at_minimum",
            Self::LinearGap => "linear_gap",
            Self::RecordingShortcut => "recording_shortcut",
        }
    }
}

impl AlarmsConfig {
    /// What an alarm does.
    pub fn action(&self, alarm: Alarm) -> AlarmAction {
        let on = &self.on;
        let action = match alarm {
            Alarm::EmbeddingStd => on.embedding_std,
            Alarm::EffectiveRank => on.effective_rank,
            Alarm::Uniformity => on.uniformity,
            Alarm::OutputEntropy => on.output_entropy,
            Alarm::LossAtChance => on.loss_at_chance,
            Alarm::LossAtMinimum => on.loss_at_minimum,
            Alarm::LinearGap => on.linear_gap,
            Alarm::RecordingShortcut => on.recording_shortcut,
        };
        if self.enabled { action } else { AlarmAction::Ignore }
    }

    /// The alarms that the run goes back for.
    pub fn rolling_back(&self) -> impl Iterator<Item = Alarm> {
        Alarm::ALL.into_iter().filter(|alarm| self.action(*alarm) == AlarmAction::Rollback)
    }

    /// Once the run has gone back: it does not do so again.
    pub(crate) fn forget_rollback(&mut self) {
        let on = &mut self.on;
        for action in [
            &mut on.embedding_std,
            &mut on.effective_rank,
            &mut on.uniformity,
            &mut on.output_entropy,
            &mut on.loss_at_chance,
            &mut on.loss_at_minimum,
            &mut on.linear_gap,
            &mut on.recording_shortcut,
        ] {
            if *action == AlarmAction::Rollback {
                *action = AlarmAction::Stop;
            }
        }
        self.rollback_set.clear();
    }

    /// Judgements in a row that are evidence before an alarm is raised.
    pub fn patience(&self, alarm: Alarm) -> u64 {
        match alarm {
            Alarm::LossAtChance => self.loss_patience,
            // Probes that are fitted are rare.
            Alarm::LinearGap => 1,
            _ => self.patience,
        }
        .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serialize::to_node;

    /// The names of the settings and of the alarms are the same words, each with its own action.
    #[test]
    fn every_alarm_has_its_own_setting() {
        let node = to_node(&AlarmActions::default());
        let keys: Vec<&str> = node.as_map().unwrap().entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, Alarm::ALL.map(Alarm::as_str));
        for alarm in Alarm::ALL {
            let text = format!("{{\"{}\": \"stop\"}}", alarm.as_str());
            let on: AlarmActions = serde_json::from_str(&text).unwrap();
            let config = AlarmsConfig { on, ..AlarmsConfig::default() };
            let stops = Alarm::ALL.into_iter().filter(|other| config.action(*other) == AlarmAction::Stop);
            assert_eq!(stops.collect::<Vec<_>>(), [alarm]);
            assert_eq!(serde_json::to_value(alarm).unwrap(), alarm.as_str());
            let off = AlarmsConfig { enabled: false, ..config };
            assert_eq!(off.action(alarm), AlarmAction::Ignore);
        }
    }

    #[test]
    fn what_was_a_rollback_is_a_stop_afterwards() {
        for alarm in Alarm::ALL {
            let text = format!("{{\"{}\": \"rollback\"}}", alarm.as_str());
            let on: AlarmActions = serde_json::from_str(&text).unwrap();
            let mut config =
                AlarmsConfig { on, rollback_set: vec!["seed=1".into()], ..AlarmsConfig::default() };
            assert_eq!(config.rolling_back().collect::<Vec<_>>(), [alarm]);
            config.forget_rollback();
            let actions = Alarm::ALL.map(|other| config.action(other));
            let expected =
                Alarm::ALL.map(|other| if other == alarm { AlarmAction::Stop } else { AlarmAction::Warn });
            assert_eq!((actions, config.rollback_set.len()), (expected, 0));
        }
    }
}
