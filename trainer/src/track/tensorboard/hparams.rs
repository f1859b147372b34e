//! The hyperparameters of a run for TensorBoard's HPARAMS tab, which compares runs. Field numbers are those of
//! `plugin_data.proto` and `api.proto` of the plugin.

use super::proto::{Message, plugin};

const PLUGIN: &str = "hparams";
const EXPERIMENT_TAG: &str = "_hparams_/experiment";
const SESSION_START_TAG: &str = "_hparams_/session_start_info";
const SESSION_END_TAG: &str = "_hparams_/session_end_info";

/// Value of a hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub enum HparamValue {
    /// Any number.
    Number(f64),
    /// Words.
    Text(String),
    /// Yes or no.
    Bool(bool),
}

impl HparamValue {
    /// From a resolved setting; lists and maps become their JSON, `null` is none.
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::Bool(value) => Some(Self::Bool(*value)),
            serde_json::Value::Number(value) => value.as_f64().map(Self::Number),
            serde_json::Value::String(value) => Some(Self::Text(value.clone())),
            value => Some(Self::Text(value.to_string())),
        }
    }

    /// `DataType` of the plugin.
    fn data_type(&self) -> u64 {
        match self {
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Number(_) => 3,
        }
    }

    /// `google.protobuf.Value`.
    fn message(&self) -> Message {
        match self {
            Self::Number(value) => Message::new().double(2, *value),
            Self::Text(value) => Message::new().string(3, value),
            Self::Bool(value) => Message::new().bool(4, *value),
        }
    }
}

/// How a run ended, as TensorBoard shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// As planned.
    Success,
    /// With an error.
    Failure,
}

/// The events at the start: which hyperparameters and metrics there are, and this run's values.
pub(super) fn start(hparams: &[(String, HparamValue)], metrics: &[String], start_secs: f64) -> [Message; 2] {
    let mut experiment = Message::new().double(3, start_secs);
    let mut session = Message::new();
    for (name, value) in hparams {
        experiment = experiment.message(4, &Message::new().string(1, name).uint(4, value.data_type()));
        session = session.message(1, &Message::new().string(1, name).message(2, &value.message()));
    }
    for tag in metrics {
        let name = Message::new().string(2, tag);
        experiment = experiment.message(5, &Message::new().message(1, &name));
    }
    let session = session.double(5, start_secs);
    [
        plugin(EXPERIMENT_TAG, PLUGIN, &Message::new().message(2, &experiment)),
        plugin(SESSION_START_TAG, PLUGIN, &Message::new().message(3, &session)),
    ]
}

/// The event at the end.
pub(super) fn end(status: SessionStatus, end_secs: f64) -> Message {
    let status = match status {
        SessionStatus::Success => 1,
        SessionStatus::Failure => 2,
    };
    let info = Message::new().uint(1, status).double(2, end_secs);
    plugin(SESSION_END_TAG, PLUGIN, &Message::new().message(4, &info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_values() {
        let value = |json: serde_json::Value| HparamValue::from_json(&json);
        assert_eq!(value(3.into()), Some(HparamValue::Number(3.0)));
        assert_eq!(value(true.into()), Some(HparamValue::Bool(true)));
        assert_eq!(value("lars".into()), Some(HparamValue::Text("lars".into())));
        assert_eq!(value(serde_json::json!([1, 2])), Some(HparamValue::Text("[1,2]".into())));
        assert_eq!(value(serde_json::Value::Null), None);
    }
}
