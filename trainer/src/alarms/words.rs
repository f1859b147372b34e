//! What is told of an alarm: its evidence, where to look, and what helps in which order. The order of the remedies, and the
//! three that do not help, are those of the study of 397 bird species whose SimCLR learned recordings.

use dtrain_configs::schema::{Alarm, LabelUse};

use super::facts::AlarmFacts;
use super::states::{AlarmEvent, Raised};

/// Whether a method that takes this from the labels does it already.
type IsDone = fn(LabelUse) -> bool;

/// What helps, the first first.
const REMEDIES: [(&str, IsDone); 5] = [
    ("supervised training (`method=supervised`)", LabelUse::classifies),
    ("SupCon (`method=supcon`)", |labels| labels != LabelUse::Unused),
    ("fine-tuning the whole model (`method=supervised init_from=RUN`)", |_| false),
    ("BYOL or SimSiam (`method=byol`, `method=simsiam`)", |_| false),
    ("a batch of 1024 and more (`trainer.batch_size=1024`)", |_| false),
];

/// What is tried first and changes nothing.
const NO_REMEDIES: &str = "more epochs, other augmentations and another linear probe will not help";

/// What follows from an alarm that is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence<'a> {
    /// Nothing besides the message.
    None,
    /// The run ends.
    Ends,
    /// The run goes back and on from there.
    GoesBack {
        /// Step of the checkpoint.
        to_step: u64,
        /// What it does otherwise.
        set: &'a [String],
    },
    /// The run would go back, and there is no checkpoint from before.
    NoWayBack,
}

impl AlarmEvent {
    /// What rank 0 says.
    pub fn message(&self, facts: &AlarmFacts, consequence: Consequence<'_>) -> String {
        let name = self.alarm.as_str();
        let Some(Raised { since, evidence, .. }) = &self.raised else {
            return format!("alarm `{name}` has cleared at step {}", self.step);
        };
        let ending = match consequence {
            Consequence::Ends => format!("the run ends, as `alarms.on.{name}=stop` asks"),
            Consequence::GoesBack { to_step, set } => format!(
                "the run goes back to its checkpoint of step {to_step} and on from there with {}, as \
                 `alarms.on.{name}=rollback` asks",
                set.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
            ),
            Consequence::NoWayBack => format!(
                "the run ends: `alarms.on.{name}=rollback` has no checkpoint from before to go back to; start a new run with \
                 what `alarms.rollback_set` names, or save more often (`checkpoint.every_steps`)"
            ),
            Consequence::None => {
                format!("`alarms.on.{name}=stop` would end the run, `alarms.on.{name}=ignore` silences this")
            }
        };
        let advice = advice(self.alarm, facts.labels);
        format!("alarm `{name}`, evidence since step {since}: {evidence}\n  {advice}\n  {ending}")
    }
}

/// What helps.
fn advice(alarm: Alarm, labels: LabelUse) -> String {
    if alarm == Alarm::LossAtChance && labels.classifies() {
        return "a classifier that does not begin to learn has a learning rate that is too high or too low (`optimizer.lr`, \
                `schedule.warmup_epochs`), or labels that do not belong to the samples (`dtrain data inspect`)"
            .into();
    }
    let look = match alarm {
        Alarm::EmbeddingStd | Alarm::EffectiveRank | Alarm::Uniformity | Alarm::LossAtChance => {
            "a lower learning rate with warm-up (`optimizer.lr`, `schedule.warmup_epochs`) may keep it from collapsing; "
        }
        Alarm::OutputEntropy => "centring and temperatures of the teacher balance each other; ",
        Alarm::LossAtMinimum | Alarm::LinearGap | Alarm::RecordingShortcut => "",
    };
    let remedies: Vec<String> = REMEDIES
        .iter()
        .filter(|(_, is_done)| !is_done(labels))
        .zip(1..)
        .map(|((remedy, _), number)| format!("{number}. {remedy}"))
        .collect();
    format!("{look}what helps, in this order: {}; {NO_REMEDIES}", remedies.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(labels: LabelUse) -> AlarmFacts {
        AlarmFacts { embedding_width: 8, full_rank: None, recording: None, labels, entropy: None }
    }

    fn event(alarm: Alarm) -> AlarmEvent {
        let raised = Raised { step: 9, since: 6, evidence: "it is so".into() };
        AlarmEvent { alarm, step: 9, raised: Some(raised) }
    }

    #[test]
    fn the_message_names_evidence_remedies_in_order_and_what_does_not_help() {
        let text = event(Alarm::RecordingShortcut).message(&facts(LabelUse::Unused), Consequence::None);
        assert_eq!(
            text,
            "alarm `recording_shortcut`, evidence since step 6: it is so\n  what helps, in this order: 1. supervised training \
             (`method=supervised`), 2. SupCon (`method=supcon`), 3. fine-tuning the whole model (`method=supervised \
             init_from=RUN`), 4. BYOL or SimSiam (`method=byol`, `method=simsiam`), 5. a batch of 1024 and more \
             (`trainer.batch_size=1024`); more epochs, other augmentations and another linear probe will not help\n  \
             `alarms.on.recording_shortcut=stop` would end the run, `alarms.on.recording_shortcut=ignore` silences this"
        );
        for alarm in Alarm::ALL {
            let text = event(alarm).message(&facts(LabelUse::Unused), Consequence::Ends);
            assert!(text.contains("1. supervised training") && text.contains("will not help"), "{text}");
            assert!(text.ends_with(&format!("the run ends, as `alarms.on.{}=stop` asks", alarm.as_str())));
        }
    }

    #[test]
    fn a_way_back_names_its_end_and_what_changes() {
        let says = |consequence| {
            let text = event(Alarm::Uniformity).message(&facts(LabelUse::Unused), consequence);
            text.lines().last().unwrap().trim().to_owned()
        };
        let set = ["optimizer.lr=0.1".to_owned(), "schedule.warmup_epochs=2".to_owned()];
        assert_eq!(
            says(Consequence::GoesBack { to_step: 40, set: &set }),
            "the run goes back to its checkpoint of step 40 and on from there with `optimizer.lr=0.1` \
             `schedule.warmup_epochs=2`, as `alarms.on.uniformity=rollback` asks"
        );
        assert!(
            says(Consequence::NoWayBack)
                .starts_with("the run ends: `alarms.on.uniformity=rollback` has no checkpoint")
        );
    }

    #[test]
    fn what_a_run_does_already_is_no_remedy() {
        let text = event(Alarm::EmbeddingStd).message(&facts(LabelUse::Groups), Consequence::None);
        assert!(text.contains("1. supervised") && !text.contains("method=supcon"), "{text}");
        let text = event(Alarm::LossAtChance).message(&facts(LabelUse::Target), Consequence::None);
        assert!(text.contains("learning rate") && !text.contains("1024"), "{text}");
        let cleared = AlarmEvent { raised: None, ..event(Alarm::Uniformity) };
        let text = cleared.message(&facts(LabelUse::Unused), Consequence::None);
        assert_eq!(text, "alarm `uniformity` has cleared at step 9");
    }
}
