//! Recordings of real runs judged again: those that went wrong are found out by the epoch named here and by no other alarm, and
//! those that went well are left alone. `scripts/record_alarms.py` makes the recordings anew.

use std::collections::BTreeMap;
use std::path::Path;

use dtrain_configs::schema::{Alarm, AlarmsConfig, EntropyFacts, LabelUse, LossMarks};
use serde::Deserialize;

use super::{AlarmEvent, AlarmFacts, AlarmStates, Measured, judge_evaluation, judge_step};

/// The first line: what was run, and what the run's log says that alarms go by.
#[derive(Deserialize)]
struct Header {
    command: String,
    embedding_width: u64,
    full_rank: Option<f64>,
    recording: Option<String>,
    entropy_metric: Option<String>,
    num_classes: Option<usize>,
    loss_at_chance: Option<f64>,
    loss_at_minimum: Option<f64>,
}

/// Another line: one of `metrics.jsonl`, with the metrics that rules look at.
#[derive(Deserialize)]
struct Line {
    step: u64,
    epoch: u64,
    #[serde(flatten)]
    metrics: BTreeMap<String, f64>,
}

/// Alarms that are raised, with the epoch that had just ended, from 1.
fn raised(name: &str) -> Vec<(Alarm, u64)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/alarms/recordings").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    let header: Header = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert!(header.command.starts_with("dtrain "), "{name}");
    let facts = AlarmFacts {
        embedding_width: header.embedding_width,
        full_rank: header.full_rank,
        recording: header.recording,
        labels: LabelUse::Unused,
        entropy: header
            .entropy_metric
            .zip(header.num_classes)
            .map(|(metric, num_classes)| EntropyFacts { metric: metric.leak(), num_classes }),
    };
    let marks = LossMarks { chance: header.loss_at_chance, minimum: header.loss_at_minimum };
    let lines: Vec<Line> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_evaluation = |line: &Line| line.metrics.keys().any(|name| name.starts_with("val/"));
    assert!(lines.iter().filter(|line| is_evaluation(line)).count() > 2, "{name}");

    let config = AlarmsConfig::default();
    let mut states = AlarmStates::default();
    let mut known: BTreeMap<&str, f64> = BTreeMap::new();
    let mut events: Vec<(AlarmEvent, u64)> = Vec::new();
    for line in &lines {
        // What probes say is of one evaluation.
        known.retain(|name, _| name.starts_with("train/"));
        known.extend(line.metrics.iter().map(|(name, value)| (name.as_str(), *value)));
        let judged = if is_evaluation(line) {
            let measured = Measured::of(&facts, &|name| known.get(name).copied());
            judge_evaluation(&config, &facts, marks, &measured, line.step)
        } else {
            let loss = line.metrics.get("train/loss").filter(|_| line.epoch > 0);
            loss.and_then(|loss| judge_step(&config, marks, *loss, line.step)).into_iter().collect()
        };
        for judgement in judged {
            let event = states.take_in(&judgement, config.patience(judgement.alarm));
            events.extend(event.map(|event| (event, line.epoch + 1)));
        }
    }
    let on = events.into_iter().filter(|(event, _)| event.raised.is_some());
    on.map(|(event, epoch)| (event.alarm, epoch)).collect()
}

#[test]
fn runs_that_go_wrong_are_found_out_and_others_are_left_alone() {
    let expected: [(&str, &[(Alarm, u64)]); 8] = [
        ("simclr_birdsong.jsonl", &[(Alarm::RecordingShortcut, 5)]),
        (
            "simsiam_without_stop_gradient.jsonl",
            &[(Alarm::EffectiveRank, 2), (Alarm::EmbeddingStd, 2), (Alarm::Uniformity, 2)],
        ),
        ("supervised_that_does_not_learn.jsonl", &[(Alarm::LossAtChance, 2), (Alarm::RecordingShortcut, 3)]),
        ("dino_without_centering.jsonl", &[(Alarm::OutputEntropy, 3)]),
        ("dino_that_becomes_uniform.jsonl", &[(Alarm::RecordingShortcut, 4), (Alarm::OutputEntropy, 6)]),
        ("supervised_birdsong.jsonl", &[]),
        ("simsiam_birdsong.jsonl", &[]),
        ("supcon_birdsong.jsonl", &[]),
    ];
    for (name, alarms) in expected {
        let raised = raised(name);
        let late = alarms.iter().find(|(alarm, by)| !raised.iter().any(|(on, at)| on == alarm && at <= by));
        assert!(late.is_none(), "{name}: {late:?} is not among {raised:?}");
        let false_alarm = raised.iter().find(|(on, _)| !alarms.iter().any(|(alarm, _)| on == alarm));
        assert!(false_alarm.is_none(), "{name}: {false_alarm:?}");
    }
}

/// Six methods, two sets without a trap, three seeds.
#[test]
fn healthy_runs_are_left_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/alarms/recordings/healthy");
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 36, "{names:?}");
    for name in names {
        let raised = raised(&format!("healthy/{name}"));
        assert!(raised.is_empty(), "{name}: {raised:?}");
    }
}
