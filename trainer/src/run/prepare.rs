//! From settings to a session that is ready for its first step. Everything that can fail for a reason the user can mend
//! fails here, on all ranks together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::resolve::Place;
use super::{
    Choice, Resolved, RunDir, agreed, data_root, heads, limits, micro_batch, phases, resolve, transport,
};
use crate::coordinator::{EarlyStop, Phases, RunPlan};
use crate::data::{
    Dataset, ImageViews, LabelAccess, LabelColumn, Sampler, SamplerKind, SoundViews, Source, ViewMaker,
};
use crate::engine::{Engine, EngineSettings, Ranks};
use crate::error::TrainError;
use crate::method::{self, Method, Sampling};
use crate::model::min_side;
use crate::model::parameters::Parameters;
use crate::torch_extra::{set_deterministic, set_tf32};
use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::MethodConfig;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Training; a sampler is needed.
    Train,
    /// Probing or embedding with given weights.
    Evaluate,
}

/// Everything that a run needs, built the same way on all ranks.
pub struct Prepared {
    /// Settings as composed.
    pub config: RunConfig,
    /// Automatic choices.
    pub resolved: Resolved,
    /// Where this rank computes.
    pub place: Place,
    /// Their reasons.
    pub choices: Vec<Choice>,
    /// Recordings, labels, split.
    pub dataset: Arc<Dataset>,
    /// Makes views.
    pub maker: Arc<ViewMaker>,
    /// Draws global batches; `None` for evaluation.
    pub sampler: Option<Arc<Sampler>>,
    /// Length of the run.
    pub plan: RunPlan,
    /// Network, optimizer, step.
    pub engine: Engine,
}

impl Prepared {
    /// The labels that probes ask for: the target, `eval.probes`, and the recording where it is known.
    pub fn probe_labels(&self) -> Vec<&LabelColumn> {
        let recording = self.config.data.recording.iter();
        let mut names: Vec<&String> = vec![&self.config.data.target];
        for name in self.config.eval.probes.iter().chain(recording) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.into_iter().filter_map(|name| self.dataset.label(name)).collect()
    }
}

/// Builds everything. `resolved` comes from a checkpoint when the run continues.
pub fn prepare(
    config: RunConfig,
    collective: &Arc<dyn Collective>,
    purpose: Purpose,
    stored: Option<Resolved>,
) -> Result<Prepared, TrainError> {
    let ranks = &**collective;
    let _stage = ranks.heartbeat().enter(Stage::Preparing);
    let (mut resolved, place, mut choices) = resolve(&config, ranks, stored.as_ref())?;
    tch::set_num_threads(resolved.threads as i32);
    set_tf32(config.trainer.tf32);
    set_deterministic(config.trainer.deterministic);

    let root = data_root(&config.data, ranks)?;
    let dataset =
        Dataset::open(&config.data, &root, label_access(&config, purpose)).map_err(TrainError::from);
    let mut dataset = agreed(ranks, dataset)?;
    same_data_everywhere(ranks, dataset.fingerprint)?;
    limits::limit(&mut dataset, &config.trainer);
    let dataset = Arc::new(dataset);
    let parts = agreed(ranks, build_parts(&config, purpose, &resolved, &place, &dataset))?;
    if purpose == Purpose::Train {
        let stored = stored.is_some().then_some(resolved.micro_batch);
        resolved.micro_batch =
            micro_batch::choose(&config, collective, &resolved, &parts, stored, &mut choices)?;
    }
    let ways = match purpose {
        Purpose::Train => transport::connect(&config.comm, collective, &resolved, place.device)?,
        Purpose::Evaluate => Ranks::inline(collective),
    };
    let settings = engine_settings(&config, &resolved, &parts.plan);
    let Parts { maker, sampler, plan, method, parameters } = parts;
    let engine = agreed(ranks, Engine::new(method, parameters, ways, settings))?;
    same_weights_everywhere(ranks, &engine)?;
    Ok(Prepared { config, resolved, place, choices, dataset, maker, sampler, plan, engine })
}

/// What is built before the ranks are connected for tensors.
pub(super) struct Parts {
    pub(super) maker: Arc<ViewMaker>,
    sampler: Option<Arc<Sampler>>,
    pub(super) plan: RunPlan,
    pub(super) method: Box<dyn Method>,
    pub(super) parameters: Parameters,
}

fn build_parts(
    config: &RunConfig,
    purpose: Purpose,
    resolved: &Resolved,
    place: &Place,
    dataset: &Arc<Dataset>,
) -> Result<Parts, TrainError> {
    check_probes(config, dataset)?;
    heads::check(config, dataset)?;
    check_held_out(config, dataset, purpose)?;
    let maker = view_maker(config, dataset)?;
    check_side(config, maker.shape())?;
    let task = heads::task(config, dataset, maker.shape());
    let mut parameters = Parameters::new(place.device, resolved.arithmetic.kind(), config.seed);
    let method = method::build(&config.method, &config.model, &task, &mut parameters);

    let sampler = match purpose {
        Purpose::Train => Some(Arc::new(sampler(config, dataset, method.sampling())?)),
        Purpose::Evaluate => None,
    };
    let steps_per_epoch = sampler.as_ref().map_or(1, |s| s.steps_per_epoch()).max(1);
    let total_steps = total_steps(config, steps_per_epoch);
    let phases = match purpose {
        Purpose::Train => phases::plan(&config.phases, total_steps, &*method, &parameters)?,
        Purpose::Evaluate => Phases::whole(total_steps),
    };
    let plan = run_plan(config, steps_per_epoch, phases, total_steps);
    Ok(Parts { maker: Arc::new(maker), sampler, plan, method, parameters })
}

/// Labels of all images are read beforehand where something other than a batch asks for them.
fn label_access(config: &RunConfig, purpose: Purpose) -> LabelAccess {
    match config.method {
        MethodConfig::Multihead(_) if purpose == Purpose::Train && !config.eval.embeddings => {
            LabelAccess::WithSamples
        }
        _ => LabelAccess::All,
    }
}

fn view_maker(config: &RunConfig, dataset: &Dataset) -> Result<ViewMaker, TrainError> {
    let data = &config.data;
    Ok(match &dataset.source {
        Source::Images(images) => ViewMaker::Images(ImageViews::new(Arc::clone(images), &data.images)?),
        Source::Recordings(samples) => ViewMaker::Sound(Box::new(SoundViews::new(
            samples.iter().map(|sample| sample.path.clone()).collect(),
            &data.audio,
            &data.features,
            &config.augment,
            config.seed,
            data.cache_bytes,
        )?)),
    })
}

/// The settings of a step.
pub fn engine_settings(config: &RunConfig, resolved: &Resolved, plan: &RunPlan) -> EngineSettings {
    let trainer = &config.trainer;
    EngineSettings {
        global_batch: trainer.batch_size,
        micro_batch: resolved.micro_batch,
        tile: Some(resolved.tile),
        arithmetic: resolved.arithmetic,
        tf32: trainer.tf32,
        grad_clip: trainer.grad_clip,
        sync_bn: resolved.sync_bn,
        bucket_bytes: trainer.bucket_bytes,
        first_bucket_bytes: trainer.first_bucket_bytes,
        overlap: resolved.overlap,
        shard_optimizer: trainer.shard_optimizer,
        deferred: resolved.on_gpu,
        schedule: config.schedule.clone(),
        optimizer: config.optimizer.clone(),
        total_steps: plan.total_steps,
        steps_per_epoch: plan.steps_per_epoch,
        phases: plan.phases.clone(),
    }
}

fn total_steps(config: &RunConfig, steps_per_epoch: u64) -> u64 {
    let trainer = &config.trainer;
    let by_epochs = trainer.max_epochs.map(|epochs| epochs.saturating_mul(steps_per_epoch));
    match (by_epochs, trainer.max_steps) {
        (Some(a), Some(b)) => a.min(b),
        (Some(n), None) | (None, Some(n)) => n,
        (None, None) => 0,
    }
}

fn run_plan(config: &RunConfig, steps_per_epoch: u64, phases: Phases, total_steps: u64) -> RunPlan {
    let stop = &config.stop;
    RunPlan {
        steps_per_epoch,
        total_steps,
        save_every_steps: config.checkpoint.every_steps,
        local_save_every_steps: config
            .checkpoint
            .local_every_steps
            .filter(|_| config.checkpoint.local_dir.is_some()),
        eval_every_epochs: config.eval.every_epochs,
        monitor_mode: config.checkpoint.mode,
        max_nonfinite_steps: config.trainer.max_nonfinite_steps,
        phases,
        early_stop: stop.monitor.is_some().then_some(EarlyStop {
            mode: stop.mode,
            patience: stop.patience,
            min_delta: stop.min_delta,
        }),
    }
}

/// Draws from the train part; a method that learns the target leaves unlabelled samples out.
fn sampler(config: &RunConfig, dataset: &Dataset, sampling: Sampling) -> Result<Sampler, TrainError> {
    let mut pool = dataset.train_pool(Some(&config.data.target));
    let labelled: Vec<u32>;
    if sampling == Sampling::ShuffledLabelled {
        let has_label = |id: &u32| pool.classes.get(*id as usize).copied().flatten().is_some();
        labelled = pool.ids.iter().copied().filter(has_label).collect();
        pool.ids = &labelled;
    }
    let kind = match sampling {
        Sampling::Shuffled | Sampling::ShuffledLabelled => SamplerKind::Shuffled,
        Sampling::DistinctRecordings => SamplerKind::DistinctRecordings,
        Sampling::Balanced { samples_per_class } => {
            SamplerKind::Balanced { samples_per_class, include_unlabelled: true }
        }
    };
    Ok(Sampler::new(kind, pool, config.trainer.batch_size, config.seed)?)
}

fn check_probes(config: &RunConfig, dataset: &Dataset) -> Result<(), TrainError> {
    for name in &config.eval.probes {
        if dataset.label(name).is_none() {
            let known: Vec<&str> = dataset.labels.iter().map(|label| label.name.as_str()).collect();
            return Err(TrainError::config(
                format!("`eval.probes` names `{name}`, which is not a label of `{}`", dataset.name),
                format!("its labels are {}", known.join(", ")),
            ));
        }
    }
    Ok(())
}

/// Recordings are held out by the settings, which say so; images by their files.
fn check_held_out(config: &RunConfig, dataset: &Dataset, purpose: Purpose) -> Result<(), TrainError> {
    let asked = purpose == Purpose::Train && config.eval.every_epochs > 0;
    if !asked || !dataset.val.is_empty() || !dataset.test.is_empty() {
        return Ok(());
    }
    Err(TrainError::config(
        format!(
            "`{}` has no test part, and `data.images.val_fraction` holds nothing out",
            dataset.root.display()
        ),
        "`data.images.val_fraction=0.1`, or switch evaluation off: `eval.every_epochs=0`",
    ))
}

fn check_side(config: &RunConfig, [_, height, width]: [usize; 3]) -> Result<(), TrainError> {
    let least = min_side(config.model.name);
    if height >= least && width >= least {
        return Ok(());
    }
    Err(TrainError::config(
        format!("views are {height} x {width}, and `model.name` needs at least {least} x {least}"),
        "choose another `model=`, or larger views",
    ))
}

fn same_data_everywhere(collective: &dyn Collective, fingerprint: u64) -> Result<(), TrainError> {
    let all = collective.all_gather_usize(fingerprint as usize)?;
    match all.iter().position(|&other| Some(&other) != all.first()) {
        None => Ok(()),
        Some(rank) => Err(TrainError::config(
            format!("rank {rank} sees other recordings than rank 0 (names, sizes or labels differ)"),
            "give all machines the same files in `data.root`, or a shared file system",
        )),
    }
}

/// Replicas that start apart would stay apart.
fn same_weights_everywhere(collective: &dyn Collective, engine: &Engine) -> Result<(), TrainError> {
    let all = collective.all_gather_usize(agreed(collective, engine.fingerprint())? as usize)?;
    match all.iter().position(|&other| Some(&other) != all.first()) {
        None => Ok(()),
        Some(rank) => Err(TrainError::run(
            format!("rank {rank} starts from other weights than rank 0"),
            "use the same build of dtrain and libtorch on all machines",
        )),
    }
}

/// Finds the checkpoint and the settings that `path` (a run directory or a checkpoint folder) stands for.
pub fn open_checkpoint(path: &Path) -> Result<(RunDir, Option<PathBuf>), TrainError> {
    let run = RunDir::new(path);
    if run.holds_a_run() {
        return Ok((run, None));
    }
    let above = path.parent().and_then(Path::parent).map(RunDir::new);
    match above {
        Some(run) if run.holds_a_run() && path.is_dir() => Ok((run, Some(path.to_owned()))),
        _ => Err(TrainError::config(
            format!("`{}` is neither a run directory nor a checkpoint in one", path.display()),
            "give `runs/<experiment>/<date_time>` or `.../checkpoints/step-...`",
        )),
    }
}
