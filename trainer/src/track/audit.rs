//! What an audit found: how much an embedding knows of each column beside the class, as `result.json`, `dtrain eval --json` and
//! `audit.csv` have it.

use serde::{Deserialize, Serialize};

/// What the embeddings of a part know. All shares are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// The part.
    pub part: String,
    /// The label that is learned, one of the columns where it has several values.
    pub class: String,
    /// Best known first.
    pub columns: Vec<AuditedColumn>,
    /// Columns that cannot be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// How well a column is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditedColumn {
    /// Its name.
    pub column: String,
    /// Where it comes from.
    pub source: ColumnSource,
    /// Values that are told apart.
    pub values: usize,
    /// Where numbers are cut into so many values, rising; empty for other columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<f64>,
    /// `train`, or `part` where the answers come from other samples of the part.
    pub answers_from: String,
    /// Share of the most frequent value among the samples that answer.
    pub chance: f64,
    /// By nearest neighbours.
    pub knn: Known,
    /// By a linear probe, where that was asked too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<Known>,
    /// Samples of the part without a value, which nobody was asked about.
    pub without_value: u64,
    /// The value among whose samples the class is known worst; absent where no value has samples enough, or no class is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_group: Option<WorstGroup>,
    /// Values of the part with too few samples to be judged by themselves.
    pub small_groups: usize,
}

/// What a column is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnSource {
    /// A label of the data, or a column that `data.labels.columns` leaves out.
    Table,
    /// Measured of each sample.
    Measured,
}

/// What a probe says of a column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Share of right answers.
    pub accuracy: f64,
    /// Ends of its 95 % interval (Wilson).
    pub interval: [f64; 2],
    /// Samples that were asked about.
    pub samples: u64,
    /// How far the accuracy is on the way from chance (0) to 1; below 0 where guessing is better.
    pub beyond_chance: f64,
    /// The same of the ends of the interval.
    pub beyond_chance_interval: [f64; 2],
}

/// The samples of a part that share a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstGroup {
    /// The value.
    pub value: String,
    /// Samples with it.
    pub samples: u64,
    /// Share of them whose class nearest neighbours find.
    pub class_accuracy: f64,
}

/// A column that an audit cannot ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub column: String,
    /// Why.
    pub reason: String,
}

impl AuditedColumn {
    /// What the better of the probes knows beyond chance, which columns are ordered by.
    pub fn known(&self) -> f64 {
        self.linear.iter().fold(self.knn.beyond_chance, |most, linear| most.max(linear.beyond_chance))
    }
}
