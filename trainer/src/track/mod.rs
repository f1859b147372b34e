//! What a run writes about itself: `metrics.jsonl`, TensorBoard events, `result.json`, `environment.json`. Only rank 0
//! writes; a run that resumes goes on with the same files and forgets what came after its checkpoint. Pictures are drawn
//! here too, of whatever is handed over: [`canvas`], [`text`], [`grid`], [`chart`], [`confusion`].

pub mod audit;
pub mod canvas;
pub mod chart;
pub mod confusion;
pub mod environment;
pub mod full_evaluation;
pub mod git;
pub mod grid;
pub mod jsonl;
pub mod number;
pub mod palette;
pub mod picture;
pub mod projector;
pub mod result;
pub mod scatter;
pub mod tensorboard;
pub mod text;

pub use audit::{Audit, AuditedColumn, ColumnSource, Known, LeftOut, WorstGroup};
pub use canvas::{Area, Canvas};
pub use chart::{BarChart, Series};
pub use confusion::Confusion;
pub use environment::{Environment, Versions, rfc3339};
pub use full_evaluation::{Accuracy, ClassAccuracies, FewShotAccuracy, FullEvaluation};
pub use grid::{Color, Matrix};
pub use jsonl::{MetricsFile, last_step};
pub use palette::Rgb;
pub use picture::Picture;
pub use projector::Projector;
pub use result::{BestWeights, Optimized, RaisedAlarm, RunResult};
pub use scatter::{Coloring, Scatter};
pub use tensorboard::{EventWriter, HparamValue, SessionStatus};

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::checkpoint::CheckpointError;

/// Scalars of one moment under flat names such as `train/loss`.
pub type Metrics = BTreeMap<String, f64>;

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// The file system's error, with operation and path.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file that was to be replaced whole.
    #[error("{0}")]
    Write(#[from] CheckpointError),
    /// A file that does not hold what it should.
    #[error("`{}` {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// In which way.
        reason: String,
    },
    /// A metric with the name of a column that every line has.
    #[error("a metric cannot be called `{name}`")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A picture that cannot be drawn.
    #[error("picture: {reason}")]
    Picture {
        /// In which way.
        reason: String,
    },
}

impl TrackError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write(error) => error.hint(),
            _ => None,
        }
    }
}

/// JSON for a number; JSON has none for those that are not finite, so they become the strings `NaN`, `Infinity` and
/// `-Infinity`, which Python's `float` and pandas read.
pub(crate) fn json_number(value: f64) -> serde_json::Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => serde_json::Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// The number that [`json_number`] made.
pub(crate) fn from_json_number(value: &serde_json::Value) -> Option<f64> {
    match value.as_str() {
        None => value.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
    }
}
