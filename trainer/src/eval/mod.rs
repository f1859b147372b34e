//! Probes on frozen embeddings (which labels can be read off them, and how well) and what a method's own heads predict.
//! All in evaluation mode, distributed over the ranks, each sample once.

mod batches;
mod embed;
mod heads;
mod knn;
mod linear;
mod protocol;

use std::collections::BTreeMap;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::EvalConfig;
use tch::Tensor;

pub use batches::{Reading, inputs_of};
pub use embed::{Embeddings, embed_part};
pub use heads::{HeadResult, evaluate_heads};
pub use knn::Hits;
pub use protocol::{Baselines, Protocol};

use crate::data::LabelColumn;
use crate::engine::Engine;
use crate::error::TrainError;
use linear::LinearProbe;

/// This rank's rows that have a label.
pub struct Labelled {
    /// `[n, D]` on the CPU.
    pub embeddings: Tensor,
    /// Class of each row.
    pub classes: Vec<i64>,
    /// Sample of each row.
    pub ids: Vec<i64>,
}

/// How a label was read off the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// k nearest neighbours.
    Knn,
    /// Logistic regression.
    Linear,
    /// The classifier that was trained.
    Classifier,
}

impl Probe {
    /// In tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Probe::Knn => "kNN",
            Probe::Linear => "linear",
            Probe::Classifier => "classifier",
        }
    }
}

/// One line of an accuracy table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which label.
    pub label: String,
    /// Which probe.
    pub probe: Probe,
    /// Where the answers come from.
    pub protocol: Protocol,
    /// Accuracy on the training part; `None` where the protocol has none.
    pub train: Option<f64>,
    /// Accuracy on the evaluated part.
    pub accuracy: f64,
    /// What guessing reaches.
    pub baselines: Baselines,
    /// Questions asked.
    pub total: u64,
}

/// What an evaluation found; the same on all ranks.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// Part that was evaluated: `val` or `test`.
    pub part: String,
    /// Accuracy table.
    pub rows: Vec<Row>,
    /// What the method's heads predict.
    pub heads: Vec<HeadResult>,
    /// Flat metrics such as `val/knn_top1`.
    pub metrics: BTreeMap<String, f64>,
}

/// Which probes to run.
#[derive(Debug, Clone, Copy)]
pub struct Thoroughness {
    /// Linear probes besides kNN.
    pub linear: bool,
    /// Accuracies on the training part too.
    pub train: bool,
}

/// Embeddings of the two parts that an evaluation compares.
pub struct Parts<'a> {
    /// The bank and the probe's training set.
    pub train: &'a Embeddings,
    /// The questions.
    pub queries: &'a Embeddings,
    /// `val` or `test`.
    pub name: &'a str,
}

/// Probes every label of interest: `target` first, then `config.probes`.
pub fn evaluate(
    engine: &Engine,
    parts: &Parts<'_>,
    labels: &[&LabelColumn],
    config: &EvalConfig,
    thoroughness: Thoroughness,
) -> Result<Evaluation, TrainError> {
    let collective = &**engine.collective();
    let mut evaluation = Evaluation { part: parts.name.to_owned(), ..Evaluation::default() };
    for (index, label) in labels.iter().enumerate() {
        let train = parts.train.labelled(label);
        let queries = parts.queries.labelled(label);
        let counts =
            protocol::count_classes(collective, &train.classes, &queries.classes, label.classes.len())?;
        let baselines = counts.baselines();
        let mut add = |probe: Probe, protocol: Protocol, train: Option<Hits>, hits: Hits| {
            let row = Row {
                label: label.name.clone(),
                probe,
                protocol,
                train: train.map(|h| h.accuracy()),
                accuracy: hits.accuracy(),
                baselines,
                total: hits.total,
            };
            evaluation.add(row, index == 0);
        };
        let num_classes = label.classes.len();
        match counts.protocol() {
            Protocol::Transfer => {
                let hits = knn::classify(collective, &train, &queries, num_classes, &config.knn)?;
                let on_train = thoroughness
                    .train
                    .then(|| knn::classify(collective, &train, &train, num_classes, &config.knn))
                    .transpose()?;
                add(Probe::Knn, Protocol::Transfer, on_train, hits);
                if thoroughness.linear {
                    let probe = LinearProbe::fit(collective, &train, num_classes, &config.linear)?;
                    let on_train = thoroughness.train.then(|| probe.score(collective, &train)).transpose()?;
                    add(Probe::Linear, Protocol::Transfer, on_train, probe.score(collective, &queries)?);
                }
            }
            Protocol::WithinPart => {
                let hits = knn::classify(collective, &queries, &queries, num_classes, &config.knn)?;
                add(Probe::Knn, Protocol::WithinPart, None, hits);
                if thoroughness.linear {
                    let (fit, ask) = protocol::halves(collective, &queries)?;
                    let probe = LinearProbe::fit(collective, &fit, num_classes, &config.linear)?;
                    let on_train = thoroughness.train.then(|| probe.score(collective, &fit)).transpose()?;
                    add(Probe::Linear, Protocol::WithinPart, on_train, probe.score(collective, &ask)?);
                }
            }
        }
        if index == 0
            && let Some(hits) = classifier_hits(engine, &queries)?
        {
            let on_train = if thoroughness.train { classifier_hits(engine, &train)? } else { None };
            add(Probe::Classifier, Protocol::Transfer, on_train, hits);
        }
    }
    Ok(evaluation)
}

impl Evaluation {
    /// `{part}/{probe}_top1` for the target, `{part}/{label}_{probe}_top1` for other labels, `{part}/acc` for the
    /// trained classifier, `{part}/chance` for guessing; `train/...` beside them where it was asked.
    fn add(&mut self, row: Row, is_target: bool) {
        let probe = match row.probe {
            Probe::Knn => "knn_top1",
            Probe::Linear => "linear_top1",
            Probe::Classifier => "acc",
        };
        let name = if is_target { probe.to_owned() } else { format!("{}_{probe}", row.label) };
        self.metrics.insert(format!("{}/{name}", self.part), row.accuracy);
        if let Some(train) = row.train {
            // `train/acc` is the running accuracy on augmented views.
            let name = if row.probe == Probe::Classifier { "eval_acc".to_owned() } else { name };
            self.metrics.insert(format!("train/{name}"), train);
        }
        let prefix = if is_target { String::new() } else { format!("{}_", row.label) };
        self.metrics.insert(format!("{}/{prefix}chance", self.part), row.baselines.chance);
        self.rows.push(row);
    }
}

fn classifier_hits(engine: &Engine, queries: &Labelled) -> Result<Option<Hits>, TrainError> {
    let embeddings = queries.embeddings.to_device(engine.device());
    let Some(scores) = tch::no_grad(|| engine.method().classify(&embeddings))? else { return Ok(None) };
    let winner =
        if queries.classes.is_empty() { Vec::new() } else { Vec::<i64>::try_from(scores.argmax(1, false))? };
    let correct = winner.iter().zip(&queries.classes).filter(|(a, b)| a == b).count();
    let mut sums = [correct as f64, queries.classes.len() as f64];
    engine.collective().sum_f64(&mut sums)?;
    Ok(Some(Hits { correct: sums[0] as u64, total: sums[1] as u64 }))
}
