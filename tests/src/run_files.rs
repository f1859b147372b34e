//! What a run directory holds, read back without the program's own code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// A run directory.
#[derive(Debug, Clone)]
pub struct RunFiles {
    root: PathBuf,
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone)]
pub struct MetricsLine {
    /// Optimizer steps done.
    pub step: u64,
    /// All columns.
    pub values: Map<String, Value>,
}

/// Tensors of a safetensors file, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Vec<f64>>,
}

impl RunFiles {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// As an argument of the command line.
    pub fn text(&self) -> String {
        self.root.display().to_string()
    }

    /// A path below it.
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of a file.
    #[track_caller]
    pub fn read(&self, relative: &str) -> String {
        let path = self.join(relative);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
    }

    /// `result.json`.
    #[track_caller]
    pub fn result(&self) -> Value {
        serde_json::from_str(&self.read("result.json")).expect("result.json is JSON")
    }

    /// A whole number of `result.json`.
    #[track_caller]
    pub fn result_count(&self, key: &str) -> u64 {
        self.result()[key].as_u64().unwrap_or_else(|| panic!("result.json has no count `{key}`"))
    }

    /// `metrics.jsonl`, whole lines only; empty while there is none.
    pub fn metrics(&self) -> Vec<MetricsLine> {
        let text = std::fs::read_to_string(self.join("metrics.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                let values: Map<String, Value> = serde_json::from_str(line).expect("each line is an object");
                MetricsLine { step: values["step"].as_u64().expect("each line has a step"), values }
            })
            .collect()
    }

    /// Steps and values of one metric, in the order of the lines.
    pub fn series(&self, name: &str) -> Vec<(u64, f64)> {
        let lines = self.metrics();
        lines.iter().filter_map(|line| Some((line.step, line.values.get(name)?.as_f64()?))).collect()
    }

    /// Steps of the checkpoints, ascending.
    pub fn checkpoint_steps(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(self.join("checkpoints")) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut steps: Vec<u64> =
            names.filter_map(|name| name.strip_prefix("step-").and_then(|step| step.parse().ok())).collect();
        steps.sort_unstable();
        steps
    }

    /// The folder of a checkpoint.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.join(format!("checkpoints/step-{step:08}"))
    }

    /// The step that `checkpoints/latest` names; `None` while there is none.
    pub fn latest_step(&self) -> Option<u64> {
        let name = std::fs::read_to_string(self.join("checkpoints/latest")).ok()?;
        name.trim().strip_prefix("step-")?.parse().ok()
    }

    /// The bytes of a file of the newest checkpoint.
    #[track_caller]
    pub fn newest(&self, file: &str) -> Vec<u8> {
        let step = self.latest_step().expect("there is a checkpoint");
        let path = self.checkpoint(step).join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
    }

    /// The weights of the newest checkpoint.
    #[track_caller]
    pub fn weights(&self) -> Weights {
        Weights::parse(&self.newest("model.safetensors"))
    }
}

impl Weights {
    /// From the bytes of a safetensors file.
    pub fn parse(bytes: &[u8]) -> Self {
        let file = SafeTensors::deserialize(bytes).expect("a safetensors file");
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let bytes = view.data();
            let values: Vec<f64> = match view.dtype() {
                Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
                other => panic!("`{name}` is {other:?}"),
            };
            (name, values)
        });
        Self { tensors: tensors.collect() }
    }

    /// Largest relative difference: of all tensors as one vector, and of the tensor that differs most, with its name.
    /// Each is the norm of the difference over the norm of the second.
    #[track_caller]
    pub fn distance(&self, other: &Weights) -> (f64, (String, f64)) {
        assert_eq!(self.names(), other.names());
        let mut total = [0.0, 0.0];
        let mut worst = (String::new(), 0.0);
        for (name, values) in &self.tensors {
            let reference = &other.tensors[name];
            assert_eq!(values.len(), reference.len(), "{name}");
            assert!(values.iter().chain(reference).all(|value| value.is_finite()), "`{name}` is not finite");
            let difference: f64 = values.iter().zip(reference).map(|(a, b)| (a - b).powi(2)).sum();
            let norm: f64 = reference.iter().map(|b| b * b).sum();
            total = [total[0] + difference, total[1] + norm];
            let relative = if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() };
            if relative > worst.1 {
                worst = (name.clone(), relative);
            }
        }
        ((total[0] / total[1]).sqrt(), worst)
    }

    /// Those in the scope `prefix`.
    pub fn below(&self, prefix: &str) -> Self {
        let scope = format!("{prefix}.");
        let inside = self.tensors.iter().filter(|(name, _)| name.starts_with(&scope));
        Self { tensors: inside.map(|(name, values)| (name.clone(), values.clone())).collect() }
    }

    /// The values of a tensor.
    #[track_caller]
    pub fn tensor(&self, name: &str) -> &[f64] {
        self.tensors.get(name).unwrap_or_else(|| panic!("there is no tensor `{name}`"))
    }

    /// Names of the tensors.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }
}
