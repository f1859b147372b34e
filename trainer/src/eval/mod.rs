//! Probes on frozen embeddings (which labels can be read off them, and how well) and what a method's own heads predict.
//! All in evaluation mode, distributed over the ranks, each sample once.

mod anomalies;
mod answers;
mod area;
mod audit;
mod batches;
mod classes;
mod classifiers;
mod codes;
mod effective_rank;
mod embed;
mod embedder;
mod embedding_std;
mod evaluator;
mod examine;
mod explain;
mod explanations;
mod few_shot;
mod figure;
mod heads;
mod interval;
mod knn;
mod lightly;
mod linear;
mod losses;
mod names;
mod parts;
mod plane;
mod predict;
mod probes;
mod protocol;
mod rows;
mod statistics;
mod uniformity;

use std::collections::BTreeMap;

use dtrain_configs::schema::Baseline;
use tch::{TchError, Tensor};

pub use answers::Hits;
pub use audit::audit_columns;
pub use batches::Reading;
pub use classes::{ClassResult, MacroAverages};
pub use embed::{Embeddings, embed_part};
pub use embedder::Embedder;
pub use evaluator::{Asks, Conclusion, Evaluator, LossBatches, Role, Seen, Subject};
pub use examine::{Examiner, Findings};
pub use explanations::ExplainedSample;
pub use few_shot::FewShot;
pub use heads::HeadResult;
pub use interval::Interval;
pub(crate) use knn::classify as classify_by_neighbours;
pub(crate) use linear::LinearProbe;
pub use losses::Losses;
pub use names::BEST;
pub use parts::{
    HELD_OUT, Part, final_parts, part_named, parts_at_end, parts_during, test_stands_in, validation_part,
};
pub use plane::Plane;
pub use predict::{Answer, Prediction, predict};
pub use protocol::{Baselines, Protocol};
pub use statistics::{Measured, measure_statistics};

use crate::error::TrainError;
use crate::track::Audit;
use anomalies::Anomalies;
use audit::ShortcutAudit;
use classifiers::Classifiers;
use codes::Codes;
use effective_rank::effective_rank;
use embedding_std::embedding_std;
use explanations::Explanations;
use few_shot::FewShots;
use figure::Figure;
use losses::Objectives;
use plane::Planes;
use probes::Probes;
use uniformity::Uniformity;

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
    /// Logistic regression as lightly's benchmarks fit it.
    Lightly,
    /// The classifier that was trained.
    Classifier,
}

impl Probe {
    /// In tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Probe::Knn => "kNN",
            Probe::Linear => "linear",
            Probe::Lightly => "linear (lightly)",
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
    /// With which setting, where several were tried: `k 200`, `weight decay 0.01`.
    pub setting: Option<String>,
    /// Where the answers come from.
    pub protocol: Protocol,
    /// Accuracy on the training part; `None` where the protocol has none.
    pub train: Option<f64>,
    /// Accuracy on the evaluated part.
    pub accuracy: f64,
    /// The same of what it is compared with, as far as that was asked for.
    pub beside: Vec<(Baseline, f64)>,
    /// What guessing reaches.
    pub baselines: Baselines,
    /// Questions asked.
    pub total: u64,
    /// Of each class that was asked about, for the target; none for other labels.
    pub by_class: Vec<ClassHits>,
}

/// What a probe says of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassHits {
    /// Its name.
    pub class: String,
    /// Right answers and questions.
    pub hits: Hits,
}

impl Row {
    /// The probe, with its setting where several were tried.
    pub fn probe_name(&self) -> String {
        match &self.setting {
            Some(setting) => format!("{}, {setting}", self.probe.as_str()),
            None => self.probe.as_str().to_owned(),
        }
    }

    /// Accuracy of `baseline`, where that was asked for.
    pub fn of_baseline(&self, baseline: Baseline) -> Option<f64> {
        self.beside.iter().find_map(|(of, accuracy)| (*of == baseline).then_some(*accuracy))
    }

    /// How far off the accuracy may be; `None` without samples.
    pub fn interval(&self) -> Option<Interval> {
        Interval::of_accuracy(self.accuracy, self.total)
    }
}

/// What an evaluation found; the same on all ranks.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// Part that was evaluated, such as `val` or `test`.
    pub part: String,
    /// Whether `val/...` is measured on this part although it is the test part, for want of a validation part.
    pub stands_in: bool,
    /// How much of the parts was looked at, where that is not all.
    pub coverage: Option<Coverage>,
    /// Accuracy table.
    pub rows: Vec<Row>,
    /// What the method's heads predict.
    pub heads: Vec<HeadResult>,
    /// Of the classes that are held out of training, with one evaluation of several.
    pub few_shot: Vec<FewShot>,
    /// What else than the class the embedding knows; with one evaluation of several.
    pub audit: Option<Audit>,
    /// Its embeddings in two dimensions; with one evaluation of several, on rank 0 alone.
    pub plane: Option<Plane>,
    /// Samples with masks, and what the answers depend on; with one evaluation of several, each rank's own.
    pub explained: Vec<ExplainedSample>,
    /// Whether this is the part to report on: of several the test part.
    pub is_reported: bool,
    /// Flat metrics such as `val/knn_top1`.
    pub metrics: BTreeMap<String, f64>,
}

impl Evaluation {
    /// Puts what the same probes find of `baseline` beside their lines and metrics.
    pub fn put_beside(&mut self, baseline: Baseline, found: &Evaluation) {
        let of_probes = self.rows.iter_mut().filter(|row| row.probe != Probe::Classifier);
        for (row, beside) in of_probes.zip(&found.rows) {
            row.beside.push((baseline, beside.accuracy));
        }
        let of_part = format!("{}/", self.part);
        let named = found.metrics.iter().filter(|(name, _)| name.starts_with(&of_part));
        let beside = named.filter_map(|(name, value)| Some((names::of_baseline(baseline, name)?, *value)));
        self.metrics.extend(beside);
    }
}

/// What an evaluation looked at, of how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Samples of the part, and how many it has.
    pub questions: (usize, usize),
    /// The same of the training part; `None` where nothing is asked of it.
    pub bank: Option<(usize, usize)>,
}

/// Which probes to run.
#[derive(Debug, Clone, Copy)]
pub struct Thoroughness {
    /// Linear probes besides kNN.
    pub linear: bool,
    /// Accuracies on the training part too.
    pub train: bool,
}

/// Names of what the probes alone measure of `part`.
pub fn probe_metrics(subject: &Subject<'_>, part: &str, thoroughness: Thoroughness) -> Vec<String> {
    Probes::new(subject).metrics(part, thoroughness)
}

/// Every piece of an evaluation, in the order in which they conclude: probes make the table that heads have their rows in.
pub fn evaluators<'a>(subject: &Subject<'a>) -> Vec<Box<dyn Evaluator + 'a>> {
    vec![
        Box::new(Probes::new(subject)),
        Box::new(Classifiers::new(subject)),
        Box::new(Objectives::new(subject)),
        Box::new(Codes::new(subject)),
        Box::new(Anomalies::new(subject)),
        Box::new(FewShots::new(subject)),
        Box::new(Figure::new(subject, names::EMBEDDING_STD, embedding_std)),
        Box::new(Figure::new(subject, names::EFFECTIVE_RANK, effective_rank)),
        Box::new(Uniformity::new(subject)),
        Box::new(Explanations::new(subject)),
        Box::new(ShortcutAudit::new(subject)),
        Box::new(Planes::new(subject)),
    ]
}
