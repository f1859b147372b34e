//! The comparison of ways to train, from the settings of an experiment to the report.

use std::sync::Arc;

use dtrain_comm::{Collective, World as Place, gpus};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Auto, DeviceChoice, GroupConfig, Norm, Precision};
use dtrain_data::DataError;

use super::batches::{GlobalBatch, draw};
use super::groups::{Facts, Group, Judgement};
use super::judge::Judge;
use super::report::{Report, Verdict};
use super::training::Setup;
use super::trials::Trials;
use super::worlds::World;
use crate::error::TrainError;
use crate::run::{Purpose, agreed, prepare};

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct EquivalenceRequest {
    /// Settings of the experiment, as composed.
    pub config: RunConfig,
    /// Numbers of ranks; `None`: 1 to 4, or those of the job.
    pub num_ranks: Option<Vec<usize>>,
    /// Samples of a global batch; `None`: [`DEFAULT_BATCH`], or `trainer.batch_size` where that is smaller.
    pub batch: Option<usize>,
    /// Optimizer steps.
    pub steps: usize,
}

/// What is being trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Trainings that are done.
    pub done: usize,
    /// Trainings in all.
    pub total: usize,
    /// The next one.
    pub next: String,
}

/// Samples of a global batch where nothing is asked for.
const DEFAULT_BATCH: usize = 16;
/// Numbers of ranks of one process where nothing is asked for.
const DEFAULT_RANKS: [usize; 4] = [1, 2, 3, 4];
/// Most ranks of one process.
const MAX_RANKS: usize = 64;

/// Compares. All ranks call it and get the same report.
///
/// # Errors
/// What [`prepare`] finds; a batch that the data do not give; a rank that fails. Differences are no errors.
pub fn equivalence(
    request: EquivalenceRequest,
    collective: &Arc<dyn Collective>,
    on_progress: &mut dyn FnMut(&Progress),
) -> Result<Report, TrainError> {
    let worlds = worlds(request.num_ranks, collective.world())?;
    let steps = request.steps.max(1);
    let batch = request.batch.unwrap_or(DEFAULT_BATCH.min(request.config.trainer.batch_size));
    if batch < 2 {
        return Err(TrainError::config(
            format!("a batch of {batch} cannot be divided between ranks"),
            "give `--batch 2` or more",
        ));
    }
    let mut notes = Vec::new();
    let mut config = adapted(request.config, batch, &worlds, collective.world(), &mut notes);
    let freezes = config.optimizer.groups().iter().any(|group| group.freezes().next().is_some());
    if config.phases.enabled || freezes {
        // Every phase is compared, and every group both free and frozen, whatever their lengths in the run.
        config.phases.share_evenly();
        config.optimizer.groups_mut().iter_mut().for_each(GroupConfig::freeze_in_part);
        (config.trainer.max_epochs, config.trainer.max_steps) = (None, Some(steps as u64));
    }
    let prepared = prepare(config, collective, Purpose::Train, None).map_err(in_words_of_the_command)?;

    let largest = worlds.last().copied().unwrap_or(1);
    let last_len = if largest > 2 { largest - 1 } else { 2 };
    let batches = agreed(&**collective, draw(&prepared, steps, last_len.min(batch)))?;
    let setup = Setup::of(&prepared);
    let world = World::of(prepared.engine.ranks(), prepared.resolved.threads)?;
    let method = prepared.engine.method();
    let (stated, num_views) = (method.facts(), method.num_views() as usize);
    let num_samples = batches.first().map_or(batch, GlobalBatch::len);
    let facts = Facts {
        worlds,
        batch: num_samples,
        num_steps: batches.len(),
        pair_rows: stated.pairs.map(|_| num_views * num_samples),
        queue_rows: stated.pairs.map_or(0, |pairs| pairs.queue_size),
        batch_norm: prepared.config.model.norm == Norm::Batch,
    };
    let mut report = Report {
        method: prepared.config.method.name(),
        batch,
        samples_per_step: batches.iter().map(GlobalBatch::len).collect(),
        ranks_are: world.name(),
        device: format!("{:?}", setup.device).to_lowercase(),
        comparisons: Vec::new(),
        zero_gradients: Vec::new(),
        notes,
    };
    // Frees the network and the cache of recordings.
    drop(prepared);
    compare_all(&facts.groups(), &setup, &world, &batches, &mut report, on_progress)?;
    Ok(report)
}

fn compare_all(
    groups: &[Group],
    setup: &Setup,
    world: &World,
    batches: &[GlobalBatch],
    report: &mut Report,
    on_progress: &mut dyn FnMut(&Progress),
) -> Result<(), TrainError> {
    let total = groups.iter().map(|group| 1 + group.members.len()).sum();
    let mut done = 0;
    let mut step_on = |precision: Precision, next: String| {
        let precision = format!("{precision:?}").to_lowercase();
        on_progress(&Progress { done, total, next: format!("{precision}, {next}") });
        done += 1;
    };
    let mut judge: Option<Judge> = None;
    for Group { reference: way, members } in groups {
        step_on(way.arithmetic.precision(), "reference".into());
        let reference = world.record(setup, way, batches)?;
        // The first reference is that of f64, which tells rounding from gradients.
        let judge = match &mut judge {
            Some(judge) => judge,
            None => judge.insert(Judge::new(reference.layout().names.clone(), reference.zero_gradients()?)),
        };
        for member in members {
            let plural = if member.way.world_size == 1 { "" } else { "s" };
            let next = format!("{} rank{plural}: {}", member.way.world_size, member.name);
            step_on(member.way.arithmetic.precision(), next);
            let differences = world.compare(setup, &member.way, batches, &reference)?;
            let mut comparison = judge.judge(member, &differences);
            if comparison.verdict == Verdict::Beyond && member.judgement == Judgement::Single {
                let trials = Trials { setup, world, batches, noise: noise_of(groups) };
                if let Some((all, note)) = trials.judge(way, member, judge, differences)? {
                    comparison = all;
                    report.notes.push(note);
                }
            }
            report.comparisons.push(comparison);
        }
    }
    report.zero_gradients = judge.map_or_else(Vec::new, |judge| judge.zero_gradients());
    Ok(())
}

/// The group whose members measure the noise.
fn noise_of(groups: &[Group]) -> Option<&Group> {
    groups.iter().find(|group| group.members.iter().any(|member| member.judgement == Judgement::Noise))
}

/// Numbers of ranks, ascending.
fn worlds(asked: Option<Vec<usize>>, place: &Place) -> Result<Vec<usize>, TrainError> {
    match asked {
        None if place.world_size > 1 => Ok(vec![place.world_size]),
        None => Ok(DEFAULT_RANKS.to_vec()),
        Some(_) if place.world_size > 1 => Err(TrainError::config(
            format!("`--ranks` is for one process, and {} were started", place.world_size),
            "leave it out: the processes are the ranks",
        )),
        Some(mut worlds) => {
            worlds.sort_unstable();
            worlds.dedup();
            match worlds.iter().find(|n| !(1..=MAX_RANKS).contains(*n)) {
                None if !worlds.is_empty() => Ok(worlds),
                None => Err(TrainError::config("`--ranks` is empty", "give for instance `--ranks 1,2,3`")),
                Some(n) => Err(TrainError::config(
                    format!("`--ranks` has {n}: expected 1 to {MAX_RANKS}"),
                    "start more ranks with `mpirun`",
                )),
            }
        }
    }
}

/// The experiment on the batches that are compared. What every way chooses by itself is set to what needs no measurement.
fn adapted(
    mut config: RunConfig,
    batch: usize,
    worlds: &[usize],
    place: &Place,
    notes: &mut Vec<String>,
) -> RunConfig {
    let trainer = &mut config.trainer;
    trainer.batch_size = batch;
    trainer.micro_batch_size = Auto::Value(batch);
    trainer.precision = Precision::Fp32;
    // Ten bits of mantissa would drown what fp32 shows.
    trainer.tf32 = false;
    trainer.deterministic = true;
    // Ranks in one process would wait for each other on libtorch's one thread per GPU.
    let as_threads = place.world_size == 1 && worlds.iter().any(|&n| n > 1);
    if as_threads && trainer.device != DeviceChoice::Cpu {
        if gpus().is_ok_and(|gpus| !gpus.is_empty()) {
            notes.push(
                "ranks are threads on the CPU; `mpirun -n G dtrain verify equivalence` compares G GPUs, `--ranks 1` one"
                    .to_owned(),
            );
        }
        trainer.device = DeviceChoice::Cpu;
    }
    if trainer.sync_bn.value() == Some(false) && config.model.norm == Norm::Batch {
        notes.push(
            "`trainer.sync_bn=false` normalizes each rank's share by itself, so that ranks cannot be equal; `auto` and \
             `true` make the batch global"
                .to_owned(),
        );
    }
    if config.model.norm == Norm::Batch {
        notes.push(
            "micro-batches are compared with one rank whose pieces hold the samples of a round, since batch norm \
             normalizes a round together; with `model.norm=group` or `frozen` they are compared with the whole batch"
                .to_owned(),
        );
    }
    let queue = config.method.facts().pairs.map_or(0, |pairs| pairs.queue_size);
    if queue > 0 {
        notes.push(format!("the memory queue of {queue} rows is part of every comparison"));
    }
    config
}

/// Here `--batch` stands for `trainer.batch_size`.
fn in_words_of_the_command(error: TrainError) -> TrainError {
    let about_batch = |error: &DataError| {
        matches!(
            error,
            DataError::BatchLargerThanData { .. }
                | DataError::BatchTooSmall { .. }
                | DataError::SamplesPerClass { .. }
        )
    };
    match error {
        TrainError::Agreed(inner) => match *inner {
            TrainError::Data(data) if about_batch(&data) => TrainError::config(
                data.to_string().replace("`trainer.batch_size`", "`--batch`"),
                data.hint().unwrap_or_default().replace("`trainer.batch_size=", "`--batch "),
            ),
            other => TrainError::Agreed(Box::new(other)),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_ranks_are_those_of_the_job_or_as_asked() {
        let alone = Place::single();
        let job = Place { world_size: 3, ..Place::single() };
        assert_eq!(worlds(None, &alone).unwrap(), [1, 2, 3, 4]);
        assert_eq!(worlds(None, &job).unwrap(), [3]);
        assert_eq!(worlds(Some(vec![4, 2, 4]), &alone).unwrap(), [2, 4]);
        for (asked, place) in
            [(vec![], &alone), (vec![0], &alone), (vec![2, MAX_RANKS + 1], &alone), (vec![2], &job)]
        {
            let error = worlds(Some(asked), place).unwrap_err();
            assert!(error.to_string().contains("`--ranks`") && error.hint().is_some(), "{error}");
        }
    }
}
