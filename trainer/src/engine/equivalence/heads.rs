//! Several heads on a network with dropout: ranks do not matter, and a head of weight 0 stays
//! as it was.

use std::collections::BTreeMap;

use dtrain_configs::schema::{HeadConfig, HeadLoss, ModelConfig, MultiheadConfig};

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

/// Four heads; the last one has weight `last`.
fn multihead(dropout: f64, last: f64, parameters: &mut Parameters) -> Box<dyn Method> {
    let head = |weight, loss| HeadConfig { weight, loss: Some(loss), ..HeadConfig::default() };
    let heads = [
        ("class", head(1.0, HeadLoss::CrossEntropy)),
        ("note", head(0.5, HeadLoss::OrdinalRegression)),
        ("level", head(0.25, HeadLoss::QuantizedRegression)),
        ("last", head(last, HeadLoss::CrossEntropy)),
    ];
    let heads: BTreeMap<String, HeadConfig> =
        heads.into_iter().map(|(name, head)| (name.to_owned(), head)).collect();
    let tasks = [
        ("class", 4, vec![]),
        ("note", 3, vec![40.0, 50.0, 60.0]),
        ("level", 5, vec![]),
        ("last", 2, vec![]),
    ];
    let task = Task {
        in_channels: 1,
        num_classes: 4,
        heads: tasks
            .into_iter()
            .map(|(name, num_classes, values)| HeadTask { name: name.into(), num_classes, values })
            .collect(),
    };
    let model = ModelConfig {
        name: ModelName::SimpleCnn,
        conv1_channels: 4,
        conv2_channels: 6,
        pool_size: 3,
        fc_hidden: 16,
        dropout,
        ..ModelConfig::default()
    };
    let config = MultiheadConfig { heads, ..MultiheadConfig::default() };
    method::build(&MethodConfig::Multihead(config), &model, &task, parameters)
}

fn case(build: Build) -> Case {
    whole(adam(), build)
}

#[test]
fn one_to_four_ranks_train_the_same_heads() {
    assert_ranks_do_not_matter("multihead", &case(|p| multihead(0.25, 0.3, p)), 4);
}

#[test]
fn dropout_takes_part_and_depends_on_the_seed_alone() {
    let with = train(&case(|p| multihead(0.25, 0.3, p)), &batches(1));
    let again = train(&case(|p| multihead(0.25, 0.3, p)), &batches(1));
    let without = train(&case(|p| multihead(0.0, 0.3, p)), &batches(1));
    let loss = |trained: &Trained| trained.outcomes[0].loss;
    assert_eq!(loss(&with), loss(&again));
    assert!((loss(&with) - loss(&without)).abs() > 1e-6);
}

#[test]
fn a_head_of_weight_0_stays_and_is_told_about() {
    let trained = train(&case(|p| multihead(0.25, 0.0, p)), &batches(1));
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
    let weighed = outcome.losses.iter().zip([1.0, 0.5, 0.25, 0.0]).map(|(loss, weight)| loss * weight);
    assert!((outcome.loss - weighed.sum::<f64>()).abs() < 1e-12);
    assert!(outcome.losses[3] > 0.0);
    let names: Vec<&str> = outcome.means.iter().map(|mean| mean.0.as_str()).collect();
    assert_eq!(names, ["class_acc", "note_acc", "level_acc", "last_acc", "acc"]);
    let mean = |name: &str| outcome.means.iter().find(|mean| mean.0 == name).unwrap().1;
    let expected = (mean("class_acc") + 0.5 * mean("note_acc") + 0.25 * mean("level_acc")) / 1.75;
    assert!((mean("acc") - expected).abs() < 1e-12);
}
