//! What a sweep runs: a file that is written once, read by all, and replaced as a whole when trials are added.

use std::path::PathBuf;

use dtrain_configs::schema::MonitorMode;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::folder::{SweepDir, write_atomic};
use crate::exit::Exit;
use crate::failure::Failure;

/// Of the file.
const FORMAT: u32 = 1;

/// The sweep itself: the first line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Of the file.
    pub format: u32,
    /// The metric by which trials are compared.
    pub optimize: String,
    /// Which way it is better.
    pub direction: MonitorMode,
    /// Settings of all trials.
    pub settings: Vec<String>,
    /// Where else settings may live.
    pub config_dir: Option<PathBuf>,
    /// Where paths of the settings begin.
    pub working_dir: PathBuf,
    /// Processes of a trial.
    pub ranks: usize,
    /// Seconds after which a worker that gives no sign is taken for gone.
    pub lease_secs: f64,
    /// In their order.
    pub stages: Vec<PlannedStage>,
    /// Of the lines of the trials.
    pub checksum: String,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedStage {
    /// Its name.
    pub name: String,
    /// Settings and the earlier stages that they are taken of.
    pub take: Vec<Taken>,
    /// By how much each rung thins out; absent: all trials run to their end.
    pub reduction: Option<u32>,
}

/// What a stage takes of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The setting.
    pub key: String,
    /// The earlier stage.
    pub stage: String,
    /// Not a value but the folder of the best trial's run.
    pub folder: bool,
}

/// A trial: a line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Unique in the sweep, and the beginning of its token's name.
    pub id: String,
    /// Index of its stage.
    pub stage: usize,
    /// Its folder.
    pub name: String,
    /// All settings, but for those that are taken of earlier stages: these come before its own.
    pub settings: Vec<String>,
    /// What it has of its own, in order.
    pub values: Vec<(String, String)>,
    /// Epochs after which it is judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<u64>,
}

impl Trial {
    /// For a line of talk.
    pub fn described(&self) -> String {
        let words: Vec<String> = self.values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if words.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, words.join(" ")) }
    }

    /// The value of a setting of its own.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// What it shares with those that differ from it by the seed alone.
    pub fn group(&self) -> Vec<&(String, String)> {
        self.values.iter().filter(|(key, _)| key != "seed").collect()
    }
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Of the sweep.
    pub header: Header,
    /// In the order in which they begin.
    pub trials: Vec<Trial>,
}

impl Plan {
    /// Reads the plan of a sweep.
    ///
    /// # Errors
    /// There is none, or it is not as it was written.
    pub fn read(dir: &SweepDir) -> Result<Self, Failure> {
        let path = dir.plan();
        let text = fs_err::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::agreed(
                Exit::Usage,
                format!("`{}` holds no sweep: there is no `plan.jsonl`", dir.path().display()),
                Some("give the folder that `dtrain sweep` has printed".into()),
            ),
            _ => Failure::agreed(Exit::Environment, error, None),
        })?;
        Self::parse(&text).map_err(|reason| {
            Failure::agreed(
                Exit::Usage,
                format!("`{}` is no plan of this program: {reason}", path.display()),
                Some("begin a new sweep in another folder with `--dir`".into()),
            )
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (first, rest) = text.split_once('\n').ok_or("it has one line only")?;
        let header: Header = serde_json::from_str(first).map_err(|error| error.to_string())?;
        if header.format != FORMAT {
            return Err(format!("it has format {}, and this program reads {FORMAT}", header.format));
        }
        if checksum(rest) != header.checksum {
            return Err("its trials were changed by hand; `dtrain sweep add` adds some".into());
        }
        let trials: Result<Vec<Trial>, _> = rest.lines().map(serde_json::from_str).collect();
        let trials = trials.map_err(|error| error.to_string())?;
        match trials.iter().find(|trial| trial.stage >= header.stages.len()) {
            Some(trial) => Err(format!("trial `{}` has no stage", trial.id)),
            None => Ok(Self { header, trials }),
        }
    }

    /// Writes it. Tokens of new trials have to be there before, since whoever reads the plan looks for them.
    pub fn write(&mut self, dir: &SweepDir) -> std::io::Result<()> {
        let mut lines = String::new();
        for trial in &self.trials {
            lines.push_str(&serde_json::to_string(trial)?);
            lines.push('\n');
        }
        self.header.format = FORMAT;
        self.header.checksum = checksum(&lines);
        let text = format!("{}\n{lines}", serde_json::to_string(&self.header)?);
        write_atomic(&dir.plan(), text.as_bytes())
    }

    /// The stage of a trial.
    pub fn stage_of(&self, trial: &Trial) -> Option<&PlannedStage> {
        self.header.stages.get(trial.stage)
    }

    /// Trials of a stage.
    pub fn trials_of(&self, stage: usize) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(move |trial| trial.stage == stage)
    }

    /// Index of the stage of that name.
    pub fn stage_index(&self, name: &str) -> Option<usize> {
        self.header.stages.iter().position(|stage| stage.name == name)
    }

    /// Whether `other` is the same but for trials that were added behind.
    pub fn grew_into(&self, other: &Self) -> bool {
        let about = |header: &Header| Header { checksum: String::new(), ..header.clone() };
        about(&self.header) == about(&other.header) && other.trials.starts_with(&self.trials)
    }
}

fn checksum(lines: &str) -> String {
    format!("{:016x}", xxh3_64(lines.as_bytes()))
}

#[cfg(test)]
pub(super) mod examples {
    use super::*;

    /// A plan of one stage, a trial for each of the values of `x`.
    pub fn plan(values: &[&str]) -> Plan {
        let trial = |(index, value): (usize, &&str)| Trial {
            id: format!("t-{:04}", index + 1),
            stage: 0,
            name: format!("{:04}", index + 1),
            settings: vec![format!("x={value}")],
            values: vec![("x".into(), (*value).into())],
            rungs: Vec::new(),
        };
        Plan {
            header: Header {
                format: FORMAT,
                optimize: "val/acc".into(),
                direction: MonitorMode::Max,
                settings: Vec::new(),
                config_dir: None,
                working_dir: std::env::current_dir().unwrap(),
                ranks: 1,
                lease_secs: 60.0,
                stages: vec![PlannedStage { name: "trials".into(), take: Vec::new(), reduction: None }],
                checksum: String::new(),
            },
            trials: values.iter().enumerate().map(trial).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written_and_refused_when_it_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SweepDir::new(folder.path());
        let mut plan = examples::plan(&["1", "2"]);
        plan.write(&dir).unwrap();
        assert_eq!(Plan::read(&dir).unwrap(), plan);
        let mut longer = examples::plan(&["1", "2", "3"]);
        longer.write(&dir).unwrap();
        assert!(plan.grew_into(&longer) && !longer.grew_into(&plan));
        let text = std::fs::read_to_string(dir.plan()).unwrap();
        std::fs::write(dir.plan(), text.replace("x=2", "x=9")).unwrap();
        let failure = Plan::read(&dir).unwrap_err();
        assert!(failure.message.contains("changed by hand"), "{}", failure.message);
        let nowhere = Plan::read(&SweepDir::new(folder.path().join("x"))).unwrap_err();
        assert!(nowhere.message.contains("holds no sweep"), "{}", nowhere.message);
    }
}
