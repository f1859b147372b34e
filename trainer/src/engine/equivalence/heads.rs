//! Several heads on a network with dropout: ranks do not matter, and a head of weight 0 stays
//! as it was.

use std::collections::BTreeMap;

use dtrain_configs::schema::{
    HeadConfig, HeadLoss, HeadsConfig, ModelConfig, NetworkConfig, SimpleCnnConfig,
};

use super::*;
use crate::method::HeadTask;

/// Class of each sample for each head; every fifth sample has none.
pub(super) fn labels(method: &dyn Method, samples: &[u64]) -> Vec<Vec<i64>> {
    let class = |sample: u64, head: usize, num_classes: i64| match sample % 5 {
        4 => -1,
        _ => (sample as i64 * 7 + head as i64) % num_classes,
    };
    let of_head = |(head, task): (usize, &HeadTask)| {
        samples.iter().map(|&sample| class(sample, head, task.num_classes)).collect()
    };
    method.heads().iter().enumerate().map(of_head).collect()
}

/// Labels of the data.
pub(super) const LABELS: [&str; 4] = ["class", "note", "level", "last"];

/// What the data ask of a network.
pub(super) fn task() -> Task {
    let scales = [(4, vec![]), (3, vec![40.0, 50.0, 60.0]), (5, vec![]), (2, vec![])];
    let head = |(name, (num_classes, values)): (&str, _)| HeadTask {
        name: name.to_owned(),
        num_classes,
        values,
        ..HeadTask::default()
    };
    Task {
        heads: LABELS.into_iter().zip(scales).map(head).collect(),
        ..Task::of_classes([1, SIZE, SIZE], CLASSES)
    }
}

/// Four heads on a network with dropout; the last one has weight `last`.
pub(super) fn multihead(dropout: f64, last: f64, parameters: &mut Parameters) -> Box<dyn Method> {
    let network =
        SimpleCnnConfig { conv1_channels: 4, conv2_channels: 6, pool_size: 3, fc_hidden: 16, dropout };
    let model = ModelConfig::from(NetworkConfig::from(network));
    let head = |weight, loss| HeadConfig { weight, loss: Some(loss), ..HeadConfig::default() };
    let heads = [
        ("class", head(1.0, HeadLoss::CrossEntropy)),
        ("note", head(0.5, HeadLoss::OrdinalRegression)),
        ("level", head(0.25, HeadLoss::QuantizedRegression)),
        ("last", head(last, HeadLoss::CrossEntropy)),
    ];
    let heads: BTreeMap<String, HeadConfig> =
        heads.into_iter().map(|(name, head)| (name.to_owned(), head)).collect();
    let config = HeadsConfig { heads, ..HeadsConfig::default() };
    method::build(&MethodConfig::Multihead(config), &model, &task(), parameters)
}

fn case(dropout: f64, last: f64) -> Case {
    whole(adam(), built_by(move |p| multihead(dropout, last, p)))
}

#[test]
fn one_to_four_ranks_train_the_same_heads() {
    assert_ranks_do_not_matter("multihead", &case(0.25, 0.3), 4);
}

#[test]
fn dropout_takes_part_and_depends_on_the_seed_alone() {
    let with = train(&case(0.25, 0.3), &batches(1));
    let again = train(&case(0.25, 0.3), &batches(1));
    let without = train(&case(0.0, 0.3), &batches(1));
    let loss = |trained: &Trained| trained.outcomes[0].loss;
    assert_eq!(loss(&with), loss(&again));
    assert!((loss(&with) - loss(&without)).abs() > 1e-6);
}

#[test]
fn a_head_of_weight_0_stays_and_is_told_about() {
    let trained = train(&case(0.25, 0.0), &batches(1));
    let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
    let method = multihead(0.25, 0.0, &mut fresh);
    let mut moved = BTreeMap::new();
    for (name, weight) in &trained.weights {
        let before = &fresh.parameters().iter().find(|parameter| parameter.name == *name).unwrap().tensor;
        moved.insert(name.as_str(), weight != before);
    }
    assert!(!moved["heads.last.weight"] && !moved["heads.last.bias"]);
    assert!(moved["heads.note.weight"] && moved["heads.level.bias"] && moved["backbone.conv1.weight"]);

    let outcome = &trained.outcomes[0];
    assert_eq!(method.loss_names(), ["class", "note", "level", "last"]);
    let weighted = outcome.losses.iter().zip([1.0, 0.5, 0.25, 0.0]).map(|(loss, weight)| loss * weight);
    assert!((outcome.loss - weighted.sum::<f64>()).abs() < 1e-12);
    assert!(outcome.losses[3] > 0.0);
    let names: Vec<&str> = outcome.means.iter().map(|mean| mean.0.as_str()).collect();
    assert_eq!(names, ["class_acc", "note_acc", "level_acc", "last_acc", "acc"]);
    let mean = |name: &str| outcome.means.iter().find(|mean| mean.0 == name).unwrap().1;
    let expected = (mean("class_acc") + 0.5 * mean("note_acc") + 0.25 * mean("level_acc")) / 1.75;
    assert!((mean("acc") - expected).abs() < 1e-12);
}
