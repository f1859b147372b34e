//! A run that has ended, as its directory tells it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dtrain_configs::schema::Role;
use dtrain_configs::{RunDir, flat_settings, shell_path};
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

/// Metrics by name; one that is not finite is a word in the file, and NaN here.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// What is compared of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EndedRun {
    /// As it was typed or found.
    pub path: PathBuf,
    /// Settings that make a run what it is, by dotted key, without the seed.
    pub settings: BTreeMap<String, String>,
    /// `seed`.
    pub seed: String,
    /// Of the last weights.
    pub last: Metrics,
    /// Of the best weights, where a metric has chosen some.
    pub best: Option<Metrics>,
    /// The metric that chose them.
    pub monitor: Option<String>,
    /// Hash of the data; runs of earlier versions do not tell.
    pub data: Option<String>,
}

/// Why a run cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Unfit {
    /// There is no result.
    #[error("it has not ended; `dtrain resume {}` goes on with it", shell_path(.0))]
    Unfinished(PathBuf),
    /// It was stopped to go on later.
    #[error("it stopped after {step} steps to go on later ({reason}); `dtrain resume {}` goes on with it", shell_path(.path))]
    Stopped {
        /// The run.
        path: PathBuf,
        /// Steps that were done.
        step: u64,
        /// As in `result.json`.
        reason: String,
    },
    /// Its loss was no number.
    #[error("its loss was not finite after {0} steps")]
    Diverged(u64),
    /// A file that cannot be understood.
    #[error("{0}")]
    Unreadable(String),
    /// It learned something else.
    #[error("it has seen other data than `{}`: files or labels differ", .0.display())]
    OtherData(PathBuf),
}

#[derive(Deserialize)]
struct ResultFile {
    world_size: u64,
    stop_reason: String,
    step: u64,
    metrics: BTreeMap<String, Value>,
    #[serde(default)]
    best: Option<BestOfFile>,
    #[serde(default)]
    data_fingerprint: Option<String>,
}

#[derive(Deserialize)]
struct BestOfFile {
    monitor: String,
    metrics: BTreeMap<String, Value>,
}

impl EndedRun {
    /// Reads the run in `path`.
    pub fn read(path: &Path) -> Result<Self, Unfit> {
        let run_dir = RunDir::new(path);
        let text = match fs_err::read_to_string(run_dir.result()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Unfit::Unfinished(path.into()));
            }
            Err(error) => return Err(Unfit::Unreadable(error.to_string())),
        };
        let result: ResultFile = serde_json::from_str(&text)
            .map_err(|error| Unfit::Unreadable(format!("`{}`: {error}", run_dir.result().display())))?;
        match result.stop_reason.as_str() {
            "interrupted" | "requeue" => {
                return Err(Unfit::Stopped {
                    path: path.into(),
                    step: result.step,
                    reason: result.stop_reason,
                });
            }
            "non_finite" => return Err(Unfit::Diverged(result.step)),
            _ => {}
        }
        let config = dtrain_configs::load(&run_dir.config()).map_err(|errors| {
            let text = errors.to_string();
            Unfit::Unreadable(text.lines().next().unwrap_or("its settings cannot be read").to_owned())
        })?;
        let mut settings: BTreeMap<String, String> = flat_settings(&config)
            .into_iter()
            .filter(|(key, _)| tells_runs_apart(key))
            .map(|(key, value)| (key, as_text(&value)))
            .collect();
        let seed = settings.remove("seed").unwrap_or_default();
        settings.insert("ranks".into(), result.world_size.to_string());
        let (monitor, best) = result.best.map(|best| (best.monitor, numbers(&best.metrics))).unzip();
        Ok(Self {
            path: path.into(),
            settings,
            seed,
            last: numbers(&result.metrics),
            best,
            monitor,
            data: result.data_fingerprint,
        })
    }
}

/// Where a run is, and what each start says anew, is nothing that came of it; the weights it started from are.
fn tells_runs_apart(key: &str) -> bool {
    key == "init_from" || !matches!(Role::of(key), Role::Start | Role::Location)
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn numbers(metrics: &BTreeMap<String, Value>) -> Metrics {
    metrics.iter().map(|(name, value)| (name.clone(), value.as_f64().unwrap_or(f64::NAN))).collect()
}

/// The run directories that `paths` name: each itself, or those right below it, sorted.
///
/// # Errors
/// A path that is neither.
pub(crate) fn run_dirs(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        let mut here = if RunDir::new(path).holds_a_run() { vec![path.clone()] } else { runs_below(path) };
        if here.is_empty() {
            let message = format!(
                "`{}` is not a run directory and holds none: there is no config.yaml",
                path.display()
            );
            let hint = "give folders that runs printed, such as `runs/<experiment>/<date_time>`, or `runs/<experiment>` \
                        for all of them";
            return Err(Failure::agreed(Exit::Usage, message, Some(hint.to_owned())));
        }
        here.retain(|run| !found.contains(run));
        found.append(&mut here);
    }
    Ok(found)
}

fn runs_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| RunDir::new(path).holds_a_run()).collect();
    runs.sort();
    runs
}
