//! Probes on frozen embeddings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::auto::AutoValue;
use super::several::word_or_list;
use super::{Auto, BankConfig, RunConfig, Several};

/// Evaluation during training and by `dtrain eval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Epochs between two evaluations; 0 switches evaluation off.
    pub every_epochs: u64,
    /// Share of the time that training takes from one evaluation to the next which an evaluation during training may take at
    /// most. What fits is measured at the first one and holds for the run; samples are drawn by class from the val and the
    /// training part. The end of a run and `dtrain eval` look at all of them. 0 = no limit.
    pub budget: f64,
    /// Samples of a part that an evaluation during training looks at in any case, whatever `budget` says.
    pub min_samples: usize,
    /// Samples of a part that an evaluation during training looks at, at most; `null` = as many as `budget` allows.
    pub max_samples: Option<usize>,
    /// Samples per forward pass over all ranks.
    pub batch_size: usize,
    /// Probe the embeddings by nearest neighbours and linear classifiers, besides what the network itself predicts; `false`
    /// saves embedding the training part at each evaluation.
    pub embeddings: bool,
    /// Which network embeds, where the method has a teacher beside the trained one; `auto` = what the method's authors
    /// evaluate, and the trained one without a teacher.
    pub encoder: Auto<Encoder>,
    /// Which weights the end of a run and `dtrain eval RUN` evaluate in full: `last`, or `best`, those of the best checkpoint by
    /// `checkpoint.monitor`. With `last` the best ones are evaluated beside them at the end of a run; with `best` the last
    /// ones are evaluated as during training, which names the best.
    pub weights: EvalWeights,
    /// What stands beside the probes of an evaluation in full, each the same probes on something else: `untrained`, the network as
    /// the seed draws it, before its first step; `inputs`, mean and standard deviation over time of each mel band, or the pixels
    /// of an image. A word or a list.
    #[serde(deserialize_with = "word_or_list")]
    pub baseline: Vec<Baseline>,
    /// Parts that the end of a run and `dtrain eval` report on, such as `[test]`; an empty list stands for val, test and the
    /// parts that the data bring under names of their own.
    pub parts: Vec<String>,
    /// Parts that evaluations during training look at besides the validation part, such as `[val_confounded]`.
    pub during: Vec<String>,
    /// Evaluate before the first step too, which tells what a run begins with; no monitor goes by it.
    pub at_start: bool,
    /// Measure how much of what an answer depends on lies within the masks of samples, of data with masks: the share of the input
    /// gradient with each evaluation, of integrated gradients and of Grad-CAM at the end, with a picture.
    pub explanations: bool,
    /// Labels to probe besides `data.target`, such as `speaker` or `recording`.
    pub probes: Vec<String>,
    /// The probe by the k nearest neighbours.
    pub knn: KnnConfig,
    /// The probe by a linear classifier.
    pub linear: LinearProbeConfig,
    /// The probe on few samples of classes that are held out of training (`data.held_out_classes`).
    pub few_shot: FewShotConfig,
    /// What else than the class can be read off the embedding.
    pub audit: AuditConfig,
    /// Pictures of the embeddings.
    pub pictures: PicturesConfig,
    /// Further labelled data by name, which are probed during training, at the end and by `dtrain eval`, and never trained on;
    /// the metrics of `birds2` are `bank_birds2/knn_top1` and so on.
    pub banks: BTreeMap<String, BankConfig>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            budget: 0.1,
            min_samples: 1000,
            max_samples: None,
            batch_size: 256,
            embeddings: true,
            encoder: Auto::Auto,
            weights: EvalWeights::Last,
            baseline: Vec::new(),
            parts: Vec::new(),
            during: Vec::new(),
            at_start: false,
            explanations: false,
            probes: Vec::new(),
            knn: KnnConfig::default(),
            linear: LinearProbeConfig::default(),
            few_shot: FewShotConfig::default(),
            audit: AuditConfig::default(),
            pictures: PicturesConfig::default(),
            banks: BTreeMap::new(),
        }
    }
}

/// Weights that a run leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalWeights {
    /// Those of the newest checkpoint.
    #[default]
    Last,
    /// Those of the best checkpoint.
    Best,
}

impl EvalWeights {
    /// As in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
        }
    }
}

/// What trained weights are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The network before its first step.
    Untrained,
    /// What the network is fed.
    Inputs,
}

impl Baseline {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Untrained, Self::Inputs];

    /// As in the settings and in the names of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untrained => "untrained",
            Self::Inputs => "inputs",
        }
    }
}

/// Networks that can embed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// The one that is trained.
    Online,
    /// Its moving average, where the method has one.
    Teacher,
}

impl AutoValue for Encoder {
    const EXPECTED: &'static str = "`auto`, `online` or `teacher`";
    const CHOICES: &'static [&'static str] = &["auto", "online", "teacher"];
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "online" => Some(Self::Online),
            "teacher" => Some(Self::Teacher),
            _ => None,
        }
    }
}

impl RunConfig {
    /// The network that evaluations embed with.
    pub fn encoder(&self) -> Encoder {
        let usual = self.method.facts().teacher.is_some_and(|teacher| teacher.is_evaluated);
        self.eval.encoder.value().unwrap_or(if usual { Encoder::Teacher } else { Encoder::Online })
    }
}

/// Weighted k-nearest-neighbour classifier on normalized embeddings (Wu et al. 2018, section 3.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnConfig {
    /// Neighbours that vote; of a list such as `[20, 200]` each is tried, and the first keeps the name `knn_top1`.
    pub k: Several<usize>,
    /// A neighbour of cosine similarity s votes with weight exp(s / temperature); of a list each is tried with each `k`.
    pub temperature: Several<f64>,
}

impl KnnConfig {
    /// Every pair of k and temperature, in the order of their lists.
    pub fn variants(&self) -> Vec<KnnVariant> {
        let of_temperature = |&temperature: &f64| {
            self.k.values().iter().map(move |&k| KnnVariant {
                k,
                temperature,
                named: [self.k.is_list(), self.temperature.is_list()],
            })
        };
        self.temperature.values().iter().flat_map(of_temperature).collect()
    }
}

/// One way to ask the neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnnVariant {
    /// Neighbours that vote.
    pub k: usize,
    /// Of their weights.
    pub temperature: f64,
    /// Whether there are others that differ in k, and in the temperature.
    named: [bool; 2],
}

impl KnnVariant {
    /// What sets it apart from the others, as part of a name: `k200_t0.1`; empty where there are no others.
    pub fn name(&self) -> String {
        let [by_k, by_temperature] = self.named;
        let k = by_k.then(|| format!("k{}", self.k));
        let temperature = by_temperature.then(|| format!("t{}", self.temperature));
        k.into_iter().chain(temperature).collect::<Vec<_>>().join("_")
    }
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { k: 20.into(), temperature: 0.07.into() }
    }
}

/// Multinomial logistic regression on standardized embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearProbeConfig {
    /// Epochs between two probes during training; 0 probes only at the end.
    pub every_epochs: u64,
    /// Iterations of L-BFGS on the full training part, at most.
    pub iterations: usize,
    /// L2 penalty on the weights (not the biases). Of a list the one is taken that is best on the val part, or on every fifth
    /// training sample of a class where the data have no val part.
    pub weight_decay: Several<f64>,
    /// Fit a second probe as lightly's benchmarks do, to compare with their figures, where linear probes are evaluated in full:
    /// 90 epochs of SGD at learning rate 0.1 x batch / 256 with momentum 0.9, without weight decay, on a cosine; on frozen
    /// embeddings, so without their random crops and flips.
    pub lightly: bool,
}

impl Default for LinearProbeConfig {
    fn default() -> Self {
        Self { every_epochs: 0, iterations: 200, weight_decay: 1e-3.into(), lightly: false }
    }
}

/// Few-shot classification of held-out classes by the nearest class mean (Snell et al. 2017; Wang et al. 2019, "SimpleShot").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FewShotConfig {
    /// Classes of an episode; all that are held out where they are fewer.
    pub ways: usize,
    /// Labelled samples of each class; of a list such as `[1, 5]` each is tried.
    pub shots: Several<usize>,
    /// Samples of each class that are asked about, at most.
    pub queries: usize,
    /// Episodes that the accuracy is a mean over.
    pub episodes: usize,
}

impl Default for FewShotConfig {
    fn default() -> Self {
        Self { ways: 5, shots: vec![1, 5].into(), queries: 15, episodes: 600 }
    }
}

/// A look for shortcuts: how well each column of the data's table, and what can be measured of a file, is known to the
/// embedding, beside the class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Ask at the end of the run and by `dtrain eval`, of the part that is reported on. `dtrain eval --audit` asks too.
    pub enabled: bool,
    /// What is asked for, such as `[device, gain_db]`; an empty list stands for every column and every measure.
    pub columns: Vec<String>,
    /// Ask by a linear probe too, as `eval.linear` fits it, besides nearest neighbours.
    pub linear: bool,
    /// Samples of the part that share a value, at least, for the accuracy of the class among them to be judged.
    pub min_group: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { enabled: false, columns: Vec::new(), linear: true, min_group: 10 }
    }
}

/// The embeddings of the part that is reported on in two dimensions, coloured by class and recording, and as tables for TensorBoard's
/// projector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PicturesConfig {
    /// Draw them at the end of the run and by `dtrain eval`. `dtrain eval --pictures` draws them too.
    pub enabled: bool,
    /// Samples that are shown, at most; of more, so many are drawn by class.
    pub max_points: usize,
    /// Besides principal components, t-SNE, which takes some seconds.
    pub tsne: bool,
}

impl Default for PicturesConfig {
    fn default() -> Self {
        Self { enabled: false, max_points: 2000, tsne: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_named_by_what_sets_them_apart() {
        let names = |k: Vec<usize>, temperature: Vec<f64>| {
            let config = KnnConfig { k: k.into(), temperature: temperature.into() };
            config.variants().iter().map(KnnVariant::name).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![20], vec![0.07]), [""]);
        assert_eq!(names(vec![20, 200], vec![0.07]), ["k20", "k200"]);
        assert_eq!(names(vec![5, 20], vec![0.1, 1.0]), ["k5_t0.1", "k20_t0.1", "k5_t1", "k20_t1"]);
    }
}
