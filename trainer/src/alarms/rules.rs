//! The rules, a function each: `None` where what it looks at was not measured, else whether it is evidence, and in which words.

use dtrain_configs::schema::{Alarm, AlarmAction, AlarmsConfig, LossMarks};

use super::facts::{AlarmFacts, Measured, Score};
use super::states::Judgement;

/// From this share of the way from chance to 1 on nearest neighbours know the class, and what else they know does no harm.
const KNOWN: f64 = 0.8;

/// What a rule says.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Quiet,
    Evidence(String),
}

impl Verdict {
    fn of(is_evidence: bool, text: impl FnOnce() -> String) -> Self {
        if is_evidence { Self::Evidence(text()) } else { Self::Quiet }
    }
}

/// All rules over what an evaluation after `step` has measured, apart from alarms that are ignored and what was not measured.
/// `marks` are those of the training loss in that step.
pub fn judge_evaluation(
    config: &AlarmsConfig,
    facts: &AlarmFacts,
    marks: LossMarks,
    measured: &Measured,
    step: u64,
) -> Vec<Judgement> {
    let judge = |alarm: Alarm| {
        let verdict = match alarm {
            Alarm::EmbeddingStd => embedding_std(config, facts, measured),
            Alarm::EffectiveRank => effective_rank(config, facts, measured),
            Alarm::Uniformity => uniformity(config, measured),
            Alarm::OutputEntropy => output_entropy(config, facts, measured),
            // Of each step that is logged.
            Alarm::LossAtChance => None,
            Alarm::LossAtMinimum => loss_at_minimum(config, marks, measured),
            Alarm::LinearGap => linear_gap(config, measured),
            Alarm::RecordingShortcut => recording_shortcut(config, measured),
        };
        judgement(config, alarm, step, verdict)
    };
    Alarm::ALL.into_iter().filter_map(judge).collect()
}

/// The rule over the training loss of a logged step.
pub fn judge_step(config: &AlarmsConfig, marks: LossMarks, loss: f64, step: u64) -> Option<Judgement> {
    judgement(config, Alarm::LossAtChance, step, loss_at_chance(config, marks, loss))
}

fn judgement(config: &AlarmsConfig, alarm: Alarm, step: u64, verdict: Option<Verdict>) -> Option<Judgement> {
    if config.action(alarm) == AlarmAction::Ignore {
        return None;
    }
    let evidence = match verdict? {
        Verdict::Quiet => None,
        Verdict::Evidence(text) => Some(text),
    };
    Some(Judgement { alarm, step, evidence })
}

fn embedding_std(config: &AlarmsConfig, facts: &AlarmFacts, measured: &Measured) -> Option<Verdict> {
    let std = measured.embedding_std?;
    let share = std * (facts.embedding_width as f64).sqrt();
    Some(Verdict::of(share < config.min_embedding_std, || {
        format!(
            "`val/embedding_std` is {std:.2e}, {share:.3} of 1/sqrt({}), which is less than {}: the embeddings are nearly all \
             the same",
            facts.embedding_width, config.min_embedding_std
        )
    }))
}

fn effective_rank(config: &AlarmsConfig, facts: &AlarmFacts, measured: &Measured) -> Option<Verdict> {
    let (rank, full) = (measured.effective_rank?, facts.full_rank?);
    Some(Verdict::of(rank < config.min_effective_rank * full, || {
        format!(
            "`val/effective_rank` is {rank:.2} of {full}, a share of less than {}: the embeddings vary in few dimensions",
            config.min_effective_rank
        )
    }))
}

fn uniformity(config: &AlarmsConfig, measured: &Measured) -> Option<Verdict> {
    let value = measured.uniformity?;
    let alignment = measured.alignment.map_or_else(String::new, |alignment| {
        format!(" (`val/alignment`, between samples of a class, is {alignment:.3})")
    });
    Some(Verdict::of(value > config.max_uniformity, || {
        format!(
            "`val/uniformity` is {value:.3}, more than {}: the embeddings lie in one spot of the sphere{alignment}",
            config.max_uniformity
        )
    }))
}

fn output_entropy(config: &AlarmsConfig, facts: &AlarmFacts, measured: &Measured) -> Option<Verdict> {
    let (entropy, distribution) = (measured.entropy?, facts.entropy?);
    let largest = (distribution.num_classes as f64).ln();
    let share = entropy / largest;
    let margin = config.entropy_margin;
    let what = if share < margin { "always the same class" } else { "all classes alike" };
    Some(Verdict::of(share < margin || share > 1.0 - margin, || {
        format!(
            "`train/{}` is {entropy:.3} of at most ln {} = {largest:.3}: the output is {what}",
            distribution.metric, distribution.num_classes
        )
    }))
}

fn loss_at_chance(config: &AlarmsConfig, marks: LossMarks, loss: f64) -> Option<Verdict> {
    let chance = marks.chance?;
    let range = chance - marks.minimum.unwrap_or(0.0);
    let is_evidence = loss.is_finite() && loss > chance - config.loss_margin * range;
    Some(Verdict::of(is_evidence, || {
        format!("`train/loss` is {loss:.4} and that of a network that tells nothing is {chance:.4}")
    }))
}

/// A contrastive loss that is near its minimum is what SupCon's is meant to be; it is an alarm where the task was solved without the
/// classes.
fn loss_at_minimum(config: &AlarmsConfig, marks: LossMarks, measured: &Measured) -> Option<Verdict> {
    let (loss, chance, minimum) = (measured.loss?, marks.chance?, marks.minimum?);
    let above = measured.class?.above_chance()?;
    let is_near = loss < minimum + config.loss_margin * (chance - minimum);
    Some(Verdict::of(is_near && above < KNOWN, || {
        format!(
            "`train/loss` is {loss:.4} and cannot fall below {minimum:.4}, so that it has nothing left to teach, while nearest \
             neighbours know the class by {above:.2} of the way from chance to 1"
        )
    }))
}

fn linear_gap(config: &AlarmsConfig, measured: &Measured) -> Option<Verdict> {
    let (train, other) = (measured.linear_train?, measured.linear?);
    let gap = train.above_chance()? - other.above_chance()?;
    Some(Verdict::of(gap > config.max_linear_gap, || {
        format!(
            "a linear probe has {} on the training part and {} elsewhere, chance {}",
            percent(train.accuracy),
            percent(other.accuracy),
            percent(other.chance)
        )
    }))
}

/// Who knows the class and nothing else finds the recording as often as guessing within the class does. What is beyond that
/// is knowledge of recordings.
fn recording_shortcut(config: &AlarmsConfig, measured: &Measured) -> Option<Verdict> {
    let (class, recording) = (measured.class?, measured.recording?);
    let by_class = class.accuracy * recording.chance / class.chance;
    let excess = Score { chance: by_class, ..recording }.above_chance()?;
    let is_known = class.above_chance()? >= KNOWN;
    Some(Verdict::of(excess > config.max_recording_excess && !is_known, || {
        format!(
            "nearest neighbours know the recording in {}, where who knows the class as well as they do, in {}, reaches {}",
            percent(recording.accuracy),
            percent(class.accuracy),
            percent(by_class)
        )
    }))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{AlarmActions, EntropyFacts, LabelUse};

    use super::*;

    fn facts() -> AlarmFacts {
        AlarmFacts {
            embedding_width: 64,
            full_rank: Some(64.0),
            recording: Some("recording".into()),
            labels: LabelUse::Unused,
            entropy: Some(EntropyFacts { metric: "output_entropy", num_classes: 1000 }),
        }
    }

    /// NT-Xent of 64 samples at temperature 0.1, as in the failed run that the rules were written after.
    fn marks() -> LossMarks {
        LossMarks { chance: Some(127.0_f64.ln()), minimum: Some(0.0049) }
    }

    fn raised(metrics: &[(&str, f64)]) -> Vec<Alarm> {
        raised_by(&AlarmsConfig::default(), metrics)
    }

    fn raised_by(config: &AlarmsConfig, metrics: &[(&str, f64)]) -> Vec<Alarm> {
        let value = |name: &str| metrics.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let measured = Measured::of(&facts(), &value);
        let judged = judge_evaluation(config, &facts(), marks(), &measured, 10);
        judged.into_iter().filter(|j| j.evidence.is_some()).map(|j| j.alarm).collect()
    }

    /// 397 bird classes: linear 99.99 % against 1.06 %, kNN 0.67 %, loss 0.05.
    #[test]
    fn the_run_that_learned_recordings_is_found_out() {
        let metrics = [
            ("train/loss", 0.05),
            ("train/linear_top1", 0.9999),
            ("val/linear_top1", 0.0106),
            ("val/knn_top1", 0.0067),
            ("val/chance", 1.0 / 397.0),
        ];
        assert_eq!(raised(&metrics), [Alarm::LossAtMinimum, Alarm::LinearGap]);
    }

    #[test]
    fn each_rule_has_its_threshold() {
        let recording = |class: f64, recording: f64| {
            vec![
                ("val/knn_top1", class),
                ("val/chance", 0.1),
                ("val/recording_knn_top1", recording),
                ("val/recording_chance", 1.0 / 70.0),
            ]
        };
        for (alarm, evidence, quiet) in [
            (Alarm::EmbeddingStd, vec![("val/embedding_std", 0.00124)], vec![("val/embedding_std", 0.00126)]),
            (Alarm::EffectiveRank, vec![("val/effective_rank", 1.91)], vec![("val/effective_rank", 1.93)]),
            (Alarm::Uniformity, vec![("val/uniformity", -0.0009)], vec![("val/uniformity", -0.0011)]),
            (Alarm::OutputEntropy, vec![("train/output_entropy", 0.1)], vec![("train/output_entropy", 0.2)]),
            (Alarm::OutputEntropy, vec![("train/output_entropy", 6.8)], vec![("train/output_entropy", 6.7)]),
            (
                Alarm::RecordingShortcut,
                // Of 10 classes of 7 recordings: who knows 50 % of the classes reaches a seventh of that, 1/14; 0.3 of the way
                // from there to 1 is 0.35.
                recording(0.5, 0.351),
                recording(0.5, 0.349),
            ),
            // A class that is known is no shortcut.
            (Alarm::RecordingShortcut, recording(0.81, 0.95), recording(0.83, 0.95)),
            (
                Alarm::LossAtMinimum,
                vec![("train/loss", 0.053), ("val/knn_top1", 0.79), ("val/chance", 0.0)],
                vec![("train/loss", 0.054), ("val/knn_top1", 0.79), ("val/chance", 0.0)],
            ),
            (
                Alarm::LossAtMinimum,
                vec![("train/loss", 0.01), ("val/knn_top1", 0.79), ("val/chance", 0.0)],
                vec![("train/loss", 0.01), ("val/knn_top1", 0.81), ("val/chance", 0.0)],
            ),
        ] {
            assert_eq!(raised(&evidence), [alarm], "{evidence:?}");
            assert_eq!(raised(&quiet), [], "{quiet:?}");
            let config = AlarmsConfig { enabled: false, ..AlarmsConfig::default() };
            assert_eq!(raised_by(&config, &evidence), []);
        }
    }

    #[test]
    fn what_is_not_measured_or_no_number_is_not_judged() {
        let judged = |metrics: &[(&str, f64)]| {
            let value =
                |name: &str| metrics.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let measured = Measured::of(&facts(), &value);
            judge_evaluation(&AlarmsConfig::default(), &facts(), marks(), &measured, 10).len()
        };
        assert_eq!(judged(&[]), 0);
        assert_eq!(judged(&[("val/embedding_std", f64::NAN), ("val/uniformity", f64::NEG_INFINITY)]), 0);
        // The training part of an earlier probe says nothing.
        assert_eq!(judged(&[("train/linear_top1", 1.0), ("val/chance", 0.1)]), 0);
        // One class: there is nothing to tell.
        assert_eq!(judged(&[("val/knn_top1", 1.0), ("val/chance", 1.0), ("train/loss", 1.0)]), 0);
        assert_eq!(judged(&[("val/embedding_std", 0.1)]), 1);
    }

    #[test]
    fn a_loss_at_ln_k_is_evidence_above_and_just_below_it() {
        let config = AlarmsConfig::default();
        let ln_k = LossMarks { chance: Some(10.0_f64.ln()), minimum: None };
        let says = |loss| judge_step(&config, ln_k, loss, 3).map(|judgement| judgement.evidence.is_some());
        for (loss, expected) in [(2.28, true), (2.31, true), (9.0, true), (2.27, false), (0.1, false)] {
            assert_eq!(says(loss), Some(expected), "{loss}");
        }
        assert_eq!(says(f64::NAN), Some(false));
        assert_eq!(judge_step(&config, LossMarks::default(), 1.0, 3), None);
        let on = AlarmActions { loss_at_chance: AlarmAction::Ignore, ..AlarmActions::default() };
        assert_eq!(judge_step(&AlarmsConfig { on, ..config }, ln_k, 2.3, 3), None);
    }
}
