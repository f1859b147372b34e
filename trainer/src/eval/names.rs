//! Names of the metrics of an evaluation, made here alone: what is measured and what may be asked for are the same words.

use dtrain_data::Dataset;

use super::{Probe, Thoroughness};
use crate::method::HeadTask;

/// The best accuracy so far; kept over a resume with the other metrics.
pub const BEST: &str = "val/acc_best";

/// `{part}/{probe}_top1` for the target, `{part}/{label}_{probe}_top1` for other labels. `label`: `None` for the target.
pub(super) fn of_probe(part: &str, label: Option<&str>, probe: Probe) -> String {
    let name = match probe {
        Probe::Knn => "knn_top1",
        Probe::Linear => "linear_top1",
        Probe::Classifier => "acc",
    };
    format!("{part}/{}{name}", prefix(label))
}

/// What guessing reaches.
pub(super) fn of_chance(part: &str, label: Option<&str>) -> String {
    format!("{part}/{}chance", prefix(label))
}

/// Of a head on the training part as evaluation sees it: `train/acc` is the running accuracy on augmented views.
pub(super) fn of_train_accuracy(head: Option<&str>) -> String {
    format!("train/{}eval_acc", prefix(head))
}

/// Before the name of what is said of one label among several.
pub(super) fn prefix(label: Option<&str>) -> String {
    label.map_or_else(String::new, |label| format!("{label}_"))
}

/// What is said of all heads together.
pub(super) const OF_ALL_HEADS: [&str; 2] = ["loss", "acc"];
/// What is said of each head.
pub(super) const OF_A_HEAD: [&str; 2] = ["acc", "loss"];
/// What is said of each head, and of one alone without its name.
pub(super) const ALSO_ALONE: [&str; 5] =
    ["chance", "majority", "macro_precision", "macro_recall", "macro_f1"];
/// As [`ALSO_ALONE`], of a head whose classes have values.
pub(super) const ERROR: &str = "mae";

/// The objective, then each of its losses where there are several.
pub(super) fn of_losses<'a>(part: &str, losses: impl Iterator<Item = &'a str>) -> Vec<String> {
    let each: Vec<String> = losses.map(|loss| format!("{part}/{loss}_loss")).collect();
    let several = each.len() > 1;
    std::iter::once(format!("{part}/loss")).chain(each.into_iter().filter(|_| several)).collect()
}

/// Every metric of the probes on a part; `labels` has the target first.
pub(super) fn of_probes(part: &str, labels: &[&str], thoroughness: Thoroughness) -> Vec<String> {
    let Thoroughness { linear, train } = thoroughness;
    let mut names = Vec::new();
    for (index, name) in labels.iter().enumerate() {
        let label = (index > 0).then_some(*name);
        names.push(of_chance(part, label));
        let probes = [(Probe::Knn, true), (Probe::Linear, linear)];
        for (probe, _) in probes.into_iter().filter(|(_, runs)| *runs) {
            names.push(of_probe(part, label, probe));
            names.extend(train.then(|| of_probe("train", label, probe)));
        }
    }
    names
}

/// Every metric of heads on a part; `train`: with the accuracies on the training part.
pub(super) fn of_heads(part: &str, heads: &[HeadTask], train: bool) -> Vec<String> {
    if heads.is_empty() {
        return Vec::new();
    }
    let alone = heads.len() == 1;
    let mut names: Vec<String> = OF_ALL_HEADS.iter().map(|name| format!("{part}/{name}")).collect();
    names.extend(train.then(|| of_train_accuracy(None)));
    for head in heads {
        names.extend((train && !alone).then(|| of_train_accuracy(Some(&head.name))));
        let prefix = prefix((!alone).then_some(&head.name));
        let own = OF_A_HEAD.iter().filter(|_| !alone).chain(&ALSO_ALONE).copied();
        let own = own.chain((!head.values.is_empty()).then_some(ERROR));
        names.extend(own.map(|name| format!("{part}/{prefix}{name}")));
    }
    names
}

/// Parts that the end of a run and `dtrain eval` report on: test, and val where there is one.
pub fn final_parts(dataset: &Dataset) -> Vec<(&'static str, &[u32])> {
    [("val", dataset.val.as_slice()), ("test", dataset.test.as_slice())]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .collect()
}
