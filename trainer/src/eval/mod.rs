//! Probes on frozen embeddings (which labels can be read off them, and how well) and what a method's own heads predict.
//! All in evaluation mode, distributed over the ranks, each sample once.

mod batches;
mod classes;
mod embed;
mod examine;
mod heads;
mod knn;
mod linear;
mod losses;
mod names;
mod predict;
mod protocol;
mod statistics;

use std::collections::BTreeMap;

use dtrain_configs::schema::EvalConfig;
use dtrain_data::LabelColumn;
use tch::{TchError, Tensor};

pub use batches::Reading;
pub use classes::{ClassResult, MacroAverages};
pub use embed::{Embeddings, embed_part};
pub use examine::{Examiner, Findings};
pub use heads::HeadResult;
pub use knn::Hits;
pub use losses::{LossBatches, Losses, evaluate_losses};
pub use names::{BEST, final_parts, names_of_heads, names_of_losses, names_of_part};
pub use predict::{Answer, Prediction, predict};
pub use protocol::{Baselines, Protocol};
pub use statistics::{Measured, measure_statistics};

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

/// Want of memory for embeddings, with the settings that make them fewer.
fn room(error: TchError) -> TrainError {
    TrainError::from(error).wanting(
        "the embeddings that an evaluation compares",
        None,
        "`trainer.limit_eval_samples` and `trainer.limit_train_samples` make them fewer, `eval.embeddings=false` does \
         without",
    )
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
    /// Whether this is the part to report on: of several the test part.
    pub is_reported: bool,
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
struct Parts<'a> {
    /// The bank and the probe's training set.
    train: &'a Embeddings,
    /// The questions.
    queries: &'a Embeddings,
    /// `val` or `test`.
    name: &'a str,
}

/// Probes every label of interest: `target` first, then `config.probes`.
fn evaluate(
    engine: &Engine,
    parts: &Parts<'_>,
    labels: &[&LabelColumn],
    config: &EvalConfig,
    thoroughness: Thoroughness,
) -> Result<Evaluation, TrainError> {
    let collective = &**engine.collective();
    let mut evaluation = Evaluation { part: parts.name.to_owned(), ..Evaluation::default() };
    for (index, label) in labels.iter().enumerate() {
        let train = parts.train.labelled(label)?;
        let queries = parts.queries.labelled(label)?;
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
    }
    Ok(evaluation)
}

impl Evaluation {
    /// Adds a line of the table under the names of [`names`]; `train/...` beside it where it was asked.
    fn add(&mut self, row: Row, is_target: bool) {
        let label = (!is_target).then_some(row.label.as_str());
        self.metrics.insert(names::of_probe(&self.part, label, row.probe), row.accuracy);
        if let Some(train) = row.train {
            self.metrics.insert(names::of_probe("train", label, row.probe), train);
        }
        self.metrics.insert(names::of_chance(&self.part, label), row.baselines.chance);
        self.rows.push(row);
    }
}
