//! Names of the metrics of an evaluation, made here alone: what is measured and what may be asked for are the same words.

use dtrain_configs::schema::{Baseline, EvalConfig, KnnConfig, KnnVariant};

use super::{Probe, Thoroughness};
use crate::method::HeadTask;

/// The best accuracy so far; kept over a resume with the other metrics.
pub const BEST: &str = "val/acc_best";

/// `{part}/{probe}_top1` for the target, `{part}/{label}_{probe}_top1` for other labels. `label`: `None` for the target;
/// `variant` sets a probe apart from another of its kind, and is empty for the first.
pub(super) fn of_probe(part: &str, label: Option<&str>, probe: Probe, variant: &str) -> String {
    let name = match probe {
        Probe::Knn => "knn",
        Probe::Linear => "linear",
        Probe::Lightly => "linear_lightly",
        Probe::Classifier => return format!("{part}/{}acc", prefix(label)),
    };
    let underscore = if variant.is_empty() { "" } else { "_" };
    format!("{part}/{}{name}{underscore}{variant}_top1", prefix(label))
}

/// The variants of kNN as they are part of names: the first has the name of the probe.
pub(super) fn of_variants(config: &KnnConfig) -> Vec<String> {
    let names = config.variants().iter().map(KnnVariant::name).enumerate().collect::<Vec<_>>();
    names.into_iter().map(|(at, name)| if at == 0 { String::new() } else { name }).collect()
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
pub(super) const ALSO_ALONE: [&str; 6] =
    ["chance", "majority", "macro_precision", "macro_recall", "macro_f1", "worst_recall"];
/// As [`ALSO_ALONE`], of a head whose classes have values.
pub(super) const ERROR: &str = "mae";

/// Spread of the embeddings of a part.
pub(super) const EMBEDDING_STD: &str = "embedding_std";
/// RankMe.
pub(super) const EFFECTIVE_RANK: &str = "effective_rank";
/// Distance of samples of one class.
pub(super) const ALIGNMENT: &str = "alignment";
/// Spread over the sphere.
pub(super) const UNIFORMITY: &str = "uniformity";

/// Share of the input gradient of the log-probabilities within masks.
pub(super) const GRADIENT_IN_MASK: &str = "gradient_in_mask";
/// Share of integrated gradients within masks.
pub(super) const INTEGRATED_GRADIENT_IN_MASK: &str = "integrated_gradient_in_mask";
/// Share of Grad-CAM within masks.
pub(super) const GRAD_CAM_IN_MASK: &str = "grad_cam_in_mask";

/// How many codes would be in use if all that are were used alike.
pub(super) const PERPLEXITY: &str = "perplexity";
/// Share of codes that the part uses.
pub(super) const USAGE: &str = "codebook_usage";

/// Of a figure that a part has one of.
pub(super) fn of_part(part: &str, name: &str) -> String {
    format!("{part}/{name}")
}

/// The objective, then each of its losses where there are several.
pub(super) fn of_losses<'a>(part: &str, losses: impl Iterator<Item = &'a str>) -> Vec<String> {
    let each: Vec<String> = losses.map(|loss| format!("{part}/{loss}_loss")).collect();
    let several = each.len() > 1;
    std::iter::once(format!("{part}/loss")).chain(each.into_iter().filter(|_| several)).collect()
}

/// Of what trained weights are compared with: `val/untrained_knn_top1` stands beside `val/knn_top1`. `None` for what is not an
/// accuracy on a part that is asked about.
pub(super) fn of_baseline(baseline: Baseline, name: &str) -> Option<String> {
    let (part, probe) = name.split_once('/').filter(|(_, probe)| probe.ends_with("_top1"))?;
    Some(format!("{part}/{}_{probe}", baseline.as_str()))
}

/// Every metric of the probes on a part; `labels` has the target first.
pub(super) fn of_probes(
    part: &str,
    labels: &[&str],
    thoroughness: Thoroughness,
    config: &EvalConfig,
) -> Vec<String> {
    let Thoroughness { linear, train } = thoroughness;
    let mut probes: Vec<(Probe, String)> =
        of_variants(&config.knn).into_iter().map(|variant| (Probe::Knn, variant)).collect();
    probes.extend(linear.then(|| (Probe::Linear, String::new())));
    probes.extend((linear && train && config.linear.lightly).then(|| (Probe::Lightly, String::new())));
    let mut names = Vec::new();
    for (index, name) in labels.iter().enumerate() {
        let label = (index > 0).then_some(*name);
        names.push(of_chance(part, label));
        for (probe, variant) in &probes {
            let name = of_probe(part, label, *probe, variant);
            // Baselines are probed where an evaluation is in full.
            let asked = config.baseline.iter().filter(|_| train);
            let beside: Vec<String> = asked.filter_map(|baseline| of_baseline(*baseline, &name)).collect();
            names.push(name);
            names.extend(beside);
            names.extend(train.then(|| of_probe("train", label, *probe, variant)));
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
