//! `result.json`: how a run ended, for scripts, sweeps and reports.

use std::path::Path;

use dtrain_configs::schema::{Alarm, MonitorMode};
use fs_err as fs;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FullEvaluation, Metrics, TrackError, from_json_number, json_number};
use crate::checkpoint::durable::write_atomic;

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Number of ranks.
    pub world_size: usize,
    /// Why training ended, such as `max_epochs`.
    pub stop_reason: String,
    /// Optimizer steps that were done.
    pub step: u64,
    /// Epochs that were completed.
    pub epoch: u64,
    /// Samples that the optimizer has seen, over all ranks and starts.
    pub samples_seen: u64,
    /// Seconds of training, over all starts.
    pub wall_s: f64,
    /// The metric that a search over runs maximizes, where the settings name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimized: Option<Optimized>,
    /// Last value of each metric: what the last weights reach, those after `step`.
    #[serde(serialize_with = "metrics_to_json", deserialize_with = "metrics_from_json")]
    pub metrics: Metrics,
    /// The best weights; absent where no metric names them or no checkpoint has its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestWeights>,
    /// The evaluation in full that the run ended with, of the weights that `eval.weights` says; absent where it ended without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<FullEvaluation>,
    /// Alarms that were on at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<RaisedAlarm>,
    /// Hash of the names, sizes and labels of the data, in hexadecimal digits: runs are compared on the same data only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_fingerprint: Option<String>,
}

/// The weights that `checkpoint.monitor` has chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestWeights {
    /// Optimizer steps that they have seen.
    pub step: u64,
    /// Epochs that were completed by then.
    pub epoch: u64,
    /// The metric.
    pub monitor: String,
    /// Which way it is better.
    pub mode: MonitorMode,
    /// Its value there.
    pub value: f64,
    /// What these weights reach: as of the last ones where the run has ended for good, else what was measured on the way.
    #[serde(serialize_with = "metrics_to_json", deserialize_with = "metrics_from_json")]
    pub metrics: Metrics,
}

/// An alarm that was on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaisedAlarm {
    /// Its name in `alarms.on`.
    pub name: Alarm,
    /// Optimizer steps done when it was raised.
    pub step: u64,
    /// When the evidence began.
    pub since: u64,
    /// What it was raised for.
    pub evidence: String,
}

/// What a search over runs looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimized {
    /// `optimized_metric`.
    pub name: String,
    /// Its last value; `None` if it was not measured.
    pub value: Option<f64>,
}

impl RunResult {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, path: &Path) -> Result<(), TrackError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        json.push(b'\n');
        Ok(write_atomic(path, &json)?)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// I/O errors, and [`TrackError::Invalid`] for anything else.
    pub fn read(path: &Path) -> Result<Self, TrackError> {
        let invalid =
            |error: serde_json::Error| TrackError::Invalid { path: path.into(), reason: error.to_string() };
        serde_json::from_slice(&fs::read(path)?).map_err(invalid)
    }
}

fn metrics_to_json<S: Serializer>(metrics: &Metrics, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|(name, value)| (name, json_number(*value))))
}

fn metrics_from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Metrics, D::Error> {
    let map = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
    let number = |(name, value): (String, serde_json::Value)| match from_json_number(&value) {
        Some(number) => Ok((name, number)),
        None => Err(serde::de::Error::custom(format!("`{name}` is not a number"))),
    };
    map.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_also_when_the_loss_is_not_finite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        let metrics: Metrics =
            [("train/loss".to_owned(), f64::INFINITY), ("val/knn_top1".to_owned(), 0.5)].into();
        let result = RunResult {
            world_size: 8,
            stop_reason: "non_finite_loss".into(),
            step: 1200,
            epoch: 3,
            samples_seen: 153_600,
            wall_s: 12.5,
            optimized: Some(Optimized { name: "val/acc".into(), value: None }),
            metrics: metrics.clone(),
            best: Some(BestWeights {
                step: 900,
                epoch: 2,
                monitor: "val/knn_top1".into(),
                mode: MonitorMode::Max,
                value: 0.5,
                metrics,
            }),
            evaluation: None,
            alarms: vec![RaisedAlarm {
                name: Alarm::LinearGap,
                step: 1200,
                since: 1200,
                evidence: "a linear probe".into(),
            }],
            data_fingerprint: Some("00ab".into()),
        };
        result.write(&path).unwrap();
        assert_eq!(RunResult::read(&path).unwrap(), result);
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["metrics"]["train/loss"], "Infinity");
        assert_eq!(json["metrics"]["val/knn_top1"], 0.5);
        assert_eq!(json["alarms"][0]["name"], "linear_gap");
        fs::write(&path, "{\"world_size\": 1").unwrap();
        assert!(RunResult::read(&path).unwrap_err().to_string().contains("result.json"));
    }
}
