//! A run that an alarm takes back: decided once and written down, later checkpoints put aside, and from there on gone on with as
//! any run that is resumed.

use std::path::Path;
use std::time::SystemTime;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::{RunConfig, RunDir, after_rollback, flat_settings, shell_path};

use super::changes::changes;
use crate::checkpoint::CheckpointStore;
use crate::coordinator::Cause;
use crate::error::TrainError;
use crate::run::agree::{agreed, on_rank_0};
use crate::run::checkpoints::local_folder;
use crate::run::directory::{Rollback, run_id};
use crate::track::rfc3339;

/// Takes the run back. `config` is what it was asked for at this start.
///
/// # Errors
/// The same on all ranks: a checkpoint that is gone, or I/O errors.
pub(super) fn go_back(
    config: &RunConfig,
    ranks: &dyn Collective,
    run_dir: &RunDir,
    cause: Cause,
) -> Result<(), TrainError> {
    on_rank_0(ranks, || {
        let found = CheckpointStore::inspect(run_dir.checkpoints()).newest_up_to(cause.to_step)?;
        let to_step = found.ok_or_else(|| gone(run_dir, cause))?;
        let rollback = Rollback {
            at: rfc3339(SystemTime::now()),
            alarm: cause.alarm,
            since: cause.since,
            from_step: cause.step,
            to_step,
            set: config.alarms.rollback_set.clone(),
            changes: changes(config, &after(config)?),
            is_done: false,
        };
        rollback.write(run_dir)?;
        tracing::info!(from_step = cause.step, to_step, "the run goes back");
        put_aside(rollback, config.checkpoint.local_dir.as_deref(), run_dir)
    })
}

/// The way back of the run in `run_dir`, gone to its end; `config` becomes what the run does since, unless it asks for something
/// else there.
///
/// # Errors
/// The same on all ranks: what cannot be read or moved.
pub(super) fn take_over(
    config: &mut RunConfig,
    ranks: &dyn Collective,
    run_dir: &RunDir,
) -> Result<Option<Rollback>, TrainError> {
    let local_dir = config.checkpoint.local_dir.clone();
    let read = || {
        let rollback = Rollback::read(run_dir)?;
        if let Some(rollback) = rollback.clone().filter(|rollback| !rollback.is_done) {
            put_aside(rollback, local_dir.as_deref(), run_dir)?;
        }
        Ok(rollback)
    };
    let here = if ranks.world().rank == 0 { read() } else { Ok(None) };
    let here = agreed(ranks, here)?;
    let told = ranks.broadcast_bytes(serde_json::to_vec(&here).map_err(TrainError::internal)?, 0)?;
    let rollback: Option<Rollback> = serde_json::from_slice(&told).map_err(TrainError::internal)?;
    if let Some(rollback) = &rollback {
        agreed(ranks, apply(rollback, config))?;
    }
    Ok(rollback)
}

/// Settings as they were before the run went back become those of after; others are somebody's wish.
pub(super) fn apply(rollback: &Rollback, config: &mut RunConfig) -> Result<(), TrainError> {
    let flat = flat_settings(config);
    let is_as_before = |change: &crate::run::directory::Change| {
        flat.get(&change.key).unwrap_or(&serde_json::Value::Null) == &change.was
    };
    if rollback.changes.iter().all(is_as_before) {
        *config = after(config)?;
    }
    Ok(())
}

fn after(config: &RunConfig) -> Result<RunConfig, TrainError> {
    after_rollback(config).map_err(|errors| TrainError::Config { message: errors.to_string(), hint: None })
}

/// Later checkpoints and the metrics of what is not true any more go into a folder of their own.
fn put_aside(rollback: Rollback, local_dir: Option<&Path>, run_dir: &RunDir) -> Result<(), TrainError> {
    let aside = run_dir.rolled_back();
    fs_err::create_dir_all(&aside)?;
    if run_dir.metrics().exists() {
        fs_err::copy(run_dir.metrics(), aside.join("metrics.jsonl"))?;
    }
    CheckpointStore::open(run_dir.checkpoints())?.go_back_to(rollback.to_step, &aside)?;
    // Those on the fast tier are later ones, or older than what the run goes back to.
    if let Some((dir, id)) = local_dir.zip(run_id::read(run_dir)?) {
        let folder = local_folder(dir, &id);
        if folder.is_dir() {
            fs_err::remove_dir_all(folder)?;
        }
    }
    Rollback { is_done: true, ..rollback }.write(run_dir)
}

fn gone(run_dir: &RunDir, cause: Cause) -> TrainError {
    TrainError::config(
        format!(
            "alarm `{}` takes the run back to a checkpoint up to step {}, and `{}` holds none that is valid",
            cause.alarm.as_str(),
            cause.to_step,
            run_dir.checkpoints().display()
        ),
        format!(
            "they may have been removed by hand; with `alarms.on.{}=warn`, `dtrain resume {}` goes on from the newest one",
            cause.alarm.as_str(),
            shell_path(run_dir.path())
        ),
    )
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{Alarm, AlarmAction};
    use dtrain_configs::{ComposeOptions, compose};

    use super::*;

    fn config(more: &[&str]) -> RunConfig {
        let words = ["alarms.on.uniformity=rollback", "alarms.rollback_set=[optimizer.lr=0.25]"];
        let words: Vec<String> = words.iter().chain(more).map(|&word| word.to_owned()).collect();
        compose(&words, &ComposeOptions::default()).unwrap().config
    }

    fn rollback() -> Rollback {
        let before = config(&[]);
        Rollback {
            at: "2026-01-01T00:00:00Z".into(),
            alarm: Alarm::Uniformity,
            since: 30,
            from_step: 40,
            to_step: 20,
            set: before.alarms.rollback_set.clone(),
            changes: changes(&before, &after(&before).unwrap()),
            is_done: false,
        }
    }

    #[test]
    fn the_same_command_goes_on_as_the_run_does_since() {
        let keys: Vec<String> = rollback().changes.into_iter().map(|change| change.key).collect();
        assert_eq!(keys, ["alarms.on.uniformity", "alarms.rollback_set", "optimizer.lr"]);
        let mut same = config(&["tags=[later]"]);
        apply(&rollback(), &mut same).unwrap();
        assert_eq!(same.alarms.action(Alarm::Uniformity), AlarmAction::Stop);
        assert_eq!(flat_settings(&same)["optimizer.lr"], 0.25);
        let again = same.clone();
        apply(&rollback(), &mut same).unwrap();
        assert_eq!(same, again, "once");
        // Somebody who asks for something else there is not overruled.
        let mut other = config(&["optimizer.lr=0.5"]);
        let asked = other.clone();
        apply(&rollback(), &mut other).unwrap();
        assert_eq!(other, asked);
    }

    #[test]
    fn what_was_left_half_done_is_done_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let store = CheckpointStore::open(run.checkpoints()).unwrap();
        for step in [10, 20, 30, 40] {
            let mut staged = store.begin(step).unwrap();
            for name in crate::checkpoint::REQUIRED_FILES {
                staged.write_file(name, |_: &mut dyn std::io::Write| Ok(())).unwrap();
            }
            staged.commit(crate::checkpoint::ManifestInfo::default()).unwrap();
        }
        fs_err::write(run.metrics(), "{}\n").unwrap();
        rollback().write(&run).unwrap();
        // Killed after the first of two was moved.
        fs_err::create_dir_all(run.rolled_back()).unwrap();
        fs_err::rename(run.checkpoints().join("step-00000030"), run.rolled_back().join("step-00000030"))
            .unwrap();
        let found = take_over(&mut config(&[]), &dtrain_comm::Single::new(), &run).unwrap().unwrap();
        assert_eq!(found.to_step, 20);
        let steps = |store: &CheckpointStore| {
            store
                .list(crate::checkpoint::Validation::Full)
                .unwrap()
                .iter()
                .map(|l| (l.step, l.is_latest))
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(&store), [(10, false), (20, true)]);
        assert!(
            ["step-00000030", "step-00000040", "metrics.jsonl"]
                .iter()
                .all(|name| run.rolled_back().join(name).exists())
        );
        assert!(Rollback::read(&run).unwrap().unwrap().is_done);
        // What is trained from there on stays.
        let mut staged = store.begin(30).unwrap();
        for name in crate::checkpoint::REQUIRED_FILES {
            staged.write_file(name, |_: &mut dyn std::io::Write| Ok(())).unwrap();
        }
        staged.commit(crate::checkpoint::ManifestInfo::default()).unwrap();
        take_over(&mut config(&[]), &dtrain_comm::Single::new(), &run).unwrap();
        assert_eq!(steps(&store).last(), Some(&(30, true)));
    }
}
