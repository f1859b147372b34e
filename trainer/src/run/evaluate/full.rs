//! An evaluation in full, as files keep it.

use dtrain_configs::schema::{Baseline, EvalWeights};
use dtrain_data::Dataset;

use crate::eval::{
    ClassHits, Evaluation, FewShot, HeadResult, Interval, Probe, Protocol, Row, validation_part,
};
use crate::track::{Accuracy, ClassAccuracies, FewShotAccuracy, FullEvaluation};

/// What `evaluations` of the weights of `step` have found.
pub fn full_evaluation(
    dataset: &Dataset,
    weights: EvalWeights,
    step: u64,
    evaluations: &[Evaluation],
) -> FullEvaluation {
    FullEvaluation {
        weights,
        step,
        validation_part: validation_part(dataset).map(|(name, _)| name.to_owned()),
        accuracies: evaluations.iter().flat_map(accuracies).collect(),
        per_class: evaluations.iter().flat_map(per_class).collect(),
        few_shot: evaluations.iter().flat_map(|evaluation| &evaluation.few_shot).map(of_few_shot).collect(),
        audit: evaluations.iter().find_map(|evaluation| evaluation.audit.clone()),
    }
}

/// Classes in the order of their numbers.
fn per_class(evaluation: &Evaluation) -> Vec<ClassAccuracies> {
    let mut classes: Vec<ClassAccuracies> = Vec::new();
    for row in &evaluation.rows {
        for ClassHits { class, hits } in &row.by_class {
            let at = classes.iter().position(|known| known.class == *class).unwrap_or_else(|| {
                let (part, class) = (evaluation.part.clone(), class.clone());
                let (samples, accuracies) = Default::default();
                classes.push(ClassAccuracies { part, class, samples, accuracies });
                classes.len() - 1
            });
            if let Some(of_class) = classes.get_mut(at) {
                of_class.samples.insert(row.probe_name(), hits.total);
                of_class.accuracies.insert(row.probe_name(), hits.accuracy());
            }
        }
    }
    classes
}

/// Those of the table, then of the heads that are not in it.
fn accuracies(evaluation: &Evaluation) -> Vec<Accuracy> {
    let part = &evaluation.part;
    let of_rows = evaluation.rows.iter().map(|row| of_row(part, row));
    let in_table = |head: &&HeadResult| !evaluation.rows.iter().any(|row| row.label == head.name);
    let of_heads = evaluation.heads.iter().filter(in_table).map(|head| of_head(part, head));
    of_rows.chain(of_heads).collect()
}

fn of_row(part: &str, row: &Row) -> Accuracy {
    let answers_from = match row.protocol {
        Protocol::Transfer => "train",
        Protocol::WithinPart => "part",
    };
    Accuracy {
        part: part.to_owned(),
        label: row.label.clone(),
        probe: row.probe_name(),
        answers_from: answers_from.to_owned(),
        train: row.train.and_then(number),
        accuracy: number(row.accuracy),
        untrained: row.of_baseline(Baseline::Untrained).and_then(number),
        inputs: row.of_baseline(Baseline::Inputs).and_then(number),
        interval: row.interval().map(ends),
        chance: number(row.baselines.chance),
        majority: number(row.baselines.majority),
        samples: row.total,
    }
}

fn of_head(part: &str, head: &HeadResult) -> Accuracy {
    Accuracy {
        part: part.to_owned(),
        label: head.name.clone(),
        probe: Probe::Classifier.as_str().to_owned(),
        answers_from: "train".to_owned(),
        train: head.train_accuracy.and_then(number),
        accuracy: number(head.accuracy),
        untrained: None,
        inputs: None,
        interval: head.interval.map(ends),
        chance: number(head.chance),
        majority: number(head.majority),
        samples: head.total,
    }
}

fn of_few_shot(found: &FewShot) -> FewShotAccuracy {
    let FewShot { ways, shots, episodes, accuracy, interval } = *found;
    FewShotAccuracy { ways, shots, episodes, accuracy, interval: interval.map(ends) }
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}

/// JSON has no word for what is not a number.
fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
