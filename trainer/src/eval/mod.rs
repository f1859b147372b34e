//! Probes on frozen embeddings (which labels can be read off them, and how well) and what a method's own heads predict.
//! All in evaluation mode, distributed over the ranks, each sample once.

mod batches;
mod classes;
mod classifiers;
mod embed;
mod evaluator;
mod examine;
mod heads;
mod knn;
mod linear;
mod losses;
mod names;
mod predict;
mod probes;
mod protocol;
mod statistics;

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

pub use batches::Reading;
pub use classes::{ClassResult, MacroAverages};
pub use embed::{Embeddings, embed_part};
pub use evaluator::{Asks, Conclusion, Evaluator, LossBatches, Role, Seen, Subject};
pub use examine::{Examiner, Findings};
pub use heads::HeadResult;
pub use knn::Hits;
pub use losses::Losses;
pub use names::{BEST, final_parts};
pub use predict::{Answer, Prediction, predict};
pub use protocol::{Baselines, Protocol};
pub use statistics::{Measured, measure_statistics};

use crate::error::TrainError;
use classifiers::Classifiers;
use losses::Objectives;
use probes::Probes;

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

/// Every piece of an evaluation, in the order in which they conclude: probes make the table that heads have their rows in.
pub fn evaluators<'a>(subject: &Subject<'a>) -> Vec<Box<dyn Evaluator + 'a>> {
    vec![
        Box::new(Probes::new(subject)),
        Box::new(Classifiers::new(subject)),
        Box::new(Objectives::new(subject)),
    ]
}
