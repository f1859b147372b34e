//! From settings to a session that is ready for its first step. Everything that can fail for a reason the user can mend
//! fails here, on all ranks together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::metric_names::{self, MetricNames};
use super::resolve::{Kept, Place};
use super::{
    Choice, Resolved, RunDir, agreed, course, data_root, heads, limits, micro_batch, phases, resolve,
    transport,
};
use crate::coordinator::{Course, EarlyStop, RunPlan};
use crate::device::be_deterministic;
use crate::engine::{Engine, EngineSettings, Ranks};
use crate::error::TrainError;
use crate::method::{self, Method};
use crate::model::min_side;
use crate::model::parameters::{Parameters, Unmade};
use crate::torch_extra::set_tf32;
use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::schema::{BnStatistics, DataKind, LabelSource, LabelUse, MonitorMode, Sampling};
use dtrain_configs::{Origins, RunConfig};
use dtrain_data::{
    DataError, Dataset, ImageViews, LabelAccess, LabelColumn, Sampler, SamplerKind, SoundViews, Source,
    ViewMaker,
};

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
    /// Samples, labels, split.
    pub dataset: Arc<Dataset>,
    /// Makes views.
    pub maker: Arc<ViewMaker>,
    /// Draws global batches; `None` where nothing is planned in steps, as mostly for evaluation.
    pub sampler: Option<Arc<Sampler>>,
    /// Length of the run.
    pub plan: RunPlan,
    /// Network, optimizer, step.
    pub engine: Engine,
    /// Metrics that the run measures and that tell it from others, the monitor first; empty for evaluation.
    pub judged_by: Vec<String>,
    /// Settings that these data and this method leave without a meaning, and that nobody asked for.
    pub notes: Vec<String>,
}

impl Prepared {
    /// The labels that probes ask for: the target, `eval.probes`, and the recording where it is known.
    pub fn probe_labels(&self) -> Vec<&LabelColumn> {
        probe_labels(&self.config, &self.dataset)
    }
}

fn probe_labels<'a>(config: &RunConfig, dataset: &'a Dataset) -> Vec<&'a LabelColumn> {
    let recording = config.data.recording.iter();
    let mut names: Vec<&String> = vec![&config.data.target];
    for name in config.eval.probes.iter().chain(recording) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().filter_map(|name| dataset.label(name)).collect()
}

/// Builds everything, for settings of which nobody has just asked for one. `kept` comes from a checkpoint when the run
/// continues.
pub fn prepare(
    config: RunConfig,
    collective: &Arc<dyn Collective>,
    purpose: Purpose,
    kept: Option<Kept>,
) -> Result<Prepared, TrainError> {
    prepare_asked(config, &Origins::default(), collective, purpose, kept)
}

/// As [`prepare`]; what `origins` says that the user asked for has to mean something for these data and this method.
pub fn prepare_asked(
    mut config: RunConfig,
    origins: &Origins,
    collective: &Arc<dyn Collective>,
    purpose: Purpose,
    kept: Option<Kept>,
) -> Result<Prepared, TrainError> {
    let ranks = &**collective;
    let _stage = ranks.heartbeat().enter(Stage::Preparing);
    let (mut resolved, place, mut choices) = resolve(&config, ranks, origins, kept.as_ref())?;
    tch::set_num_threads(resolved.threads as i32);
    set_tf32(config.trainer.tf32);
    agreed(ranks, be_deterministic(config.trainer.deterministic, place.device))?;

    let root = data_root(&config.data, ranks)?;
    let mut dataset = agreed(ranks, open_dataset(&config, &root, purpose))?;
    same_data_everywhere(ranks, dataset.fingerprint)?;
    limits::limit(&mut dataset, &config.trainer);
    let dataset = Arc::new(dataset);
    let mut notes = Vec::new();
    let fitted = fit_probes(&mut config, origins, &dataset, &mut notes)
        .and_then(|()| heads::fit(&mut config, origins, &dataset, &mut notes));
    agreed(ranks, fitted)?;
    let parts = agreed(ranks, build_parts(&config, purpose, &resolved, &place, &dataset))?;
    let mut judged_by = Vec::new();
    if purpose == Purpose::Train {
        let fitted = fit_monitors(&mut config, origins, &dataset, &*parts.method);
        let (mut about_monitors, names) = agreed(ranks, fitted)?;
        notes.append(&mut about_monitors);
        judged_by = names;
        let stored = kept.is_some().then_some(resolved.micro_batch);
        resolved.micro_batch =
            micro_batch::choose(&config, collective, &resolved, &parts, stored, &mut choices)?;
    }
    let ways = match purpose {
        Purpose::Train => transport::connect(&config, collective, &resolved, place.device)?,
        Purpose::Evaluate => Ranks::inline(collective),
    };
    let settings = engine_settings(&config, &resolved, &parts.plan);
    let Parts { maker, sampler, plan, method, parameters } = parts;
    let plan = RunPlan { early_stop: early_stop(&config), monitor_mode: monitor_mode(&config), ..plan };
    let engine = agreed(ranks, Engine::new(method, parameters, ways, settings))?;
    same_weights_everywhere(ranks, &engine)?;
    Ok(Prepared { config, resolved, place, choices, dataset, maker, sampler, plan, engine, judged_by, notes })
}

/// Notes, and what runs are judged by.
fn fit_monitors(
    config: &mut RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    method: &dyn Method,
) -> Result<(Vec<String>, Vec<String>), TrainError> {
    let labels: Vec<&str> = probe_labels(config, dataset).iter().map(|label| label.name.as_str()).collect();
    let names = MetricNames::of(config, dataset, &labels, method);
    let notes = metric_names::check(config, origins, &names, method.monitors())?;
    Ok((notes, names.judging(config)))
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
    check_held_out(config, dataset, purpose)?;
    let maker = view_maker(config, dataset)?;
    check_side(config, maker.shape())?;
    let task = heads::task(config, dataset, maker.shape());
    let mut parameters = Parameters::new(place.device, resolved.arithmetic.kind(), config.seed);
    let method = method::build(&config.method, &config.model, &task, &mut parameters);
    parameters.made().map_err(for_want_of_memory)?;

    // What is frozen when weights are saved keeps its statistics.
    let freezes = config.phases.enabled && config.model.bn_statistics == BnStatistics::Precise;
    let is_planned = purpose == Purpose::Train || freezes;
    let sampler =
        is_planned.then(|| sampler(config, dataset, method.facts().sampling)).transpose()?.map(Arc::new);
    let steps_per_epoch = sampler.as_ref().map_or(1, |s| s.steps_per_epoch()).max(1);
    let total_steps = course::total_steps(config, steps_per_epoch);
    let course = if is_planned {
        phases::check(&config.phases, &*method, &parameters)?;
        course::plan(config, steps_per_epoch)?
    } else {
        Course::whole(total_steps)
    };
    let plan = run_plan(config, steps_per_epoch, course, total_steps);
    Ok(Parts { maker: Arc::new(maker), sampler, plan, method, parameters })
}

/// A tensor of the network that found no memory, with the setting that makes it smaller.
fn for_want_of_memory(unmade: Unmade) -> TrainError {
    let Unmade { name, bytes, error } = unmade;
    let hint = match name.split('.').next() {
        Some("projector") => "lower `method.projector.hidden_dim`",
        Some("queue") => "lower `method.queue_size`",
        _ => "choose a smaller `model`",
    };
    TrainError::from(error).wanting(format!("`{name}`"), Some(bytes), hint)
}

/// Opens the data. A method that needs no labels learns without them where no recording lies in the folder of a class.
fn open_dataset(config: &RunConfig, root: &Path, purpose: Purpose) -> Result<Dataset, TrainError> {
    let access = label_access(config, purpose);
    let opened = Dataset::open(&config.data, root, access);
    let flat = matches!(opened, Err(DataError::NoTargetValues { .. }))
        && config.data.labels.source == LabelSource::Folder
        && config.method.facts().labels == LabelUse::Unused;
    let mut data = config.data.clone();
    data.labels.folders.clear();
    // What else is wrong without labels would not be about the folders.
    match if flat { Dataset::open(&data, root, access).ok() } else { None } {
        Some(mut dataset) => {
            dataset.warnings.push(format!(
                "no recording of `{}` lies in the folder of a class: this run learns without labels, and no probe asks for \
                 one; `'data.labels.folders=[]'` says so",
                root.display()
            ));
            Ok(dataset)
        }
        None => Ok(opened?),
    }
}

/// Labels of all images are read beforehand where something other than a batch asks for them.
fn label_access(config: &RunConfig, purpose: Purpose) -> LabelAccess {
    match config.method.facts().labels {
        LabelUse::EveryLabel if purpose == Purpose::Train && !config.eval.embeddings => {
            LabelAccess::WithSamples
        }
        _ => LabelAccess::All,
    }
}

pub(super) fn view_maker(config: &RunConfig, dataset: &Dataset) -> Result<ViewMaker, TrainError> {
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
        encoder: config.encoder(),
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
        steps_per_epoch: plan.steps_per_epoch,
        course: plan.course.clone(),
    }
}

fn run_plan(config: &RunConfig, steps_per_epoch: u64, course: Course, total_steps: u64) -> RunPlan {
    RunPlan {
        steps_per_epoch,
        total_steps,
        save_every_steps: config.checkpoint.every_steps,
        local_save_every_steps: config
            .checkpoint
            .local_every_steps
            .filter(|_| config.checkpoint.local_dir.is_some()),
        eval_every_epochs: config.eval.every_epochs,
        monitor_mode: monitor_mode(config),
        max_nonfinite_steps: config.trainer.max_nonfinite_steps,
        course,
        early_stop: early_stop(config),
    }
}

fn monitor_mode(config: &RunConfig) -> MonitorMode {
    config.checkpoint.monitored().map_or_else(MonitorMode::default, |(_, mode)| mode)
}

fn early_stop(config: &RunConfig) -> Option<EarlyStop> {
    let stop = &config.stop;
    let (_, mode) = stop.monitored()?;
    Some(EarlyStop { mode, patience: stop.patience, min_delta: stop.min_delta })
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

/// Leaves out the probes that the data cannot answer and that an experiment brought along for its own data; says so in
/// `notes`.
fn fit_probes(
    config: &mut RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    notes: &mut Vec<String>,
) -> Result<(), TrainError> {
    let known: Vec<&str> = dataset.labels.iter().map(|label| label.name.as_str()).collect();
    let unknown: Vec<String> =
        config.eval.probes.iter().filter(|name| dataset.label(name).is_none()).cloned().collect();
    for name in unknown {
        let problem = format!("`eval.probes` names `{name}`, which is not a label of `{}`", dataset.name);
        let labels = match known.is_empty() {
            true => "it has no labels".to_owned(),
            false => format!("its labels are {}", known.join(", ")),
        };
        if origins.is_asked("eval.probes") {
            let snippet = origins.snippet("eval.probes");
            return Err(TrainError::config(format!("{problem}{snippet}"), labels));
        }
        if config.eval.embeddings {
            notes.push(format!("{problem}: it is left out; {labels}"));
        }
        config.eval.probes.retain(|probe| *probe != name);
    }
    Ok(())
}

/// Recordings are held out by the settings, images by their files.
fn check_held_out(config: &RunConfig, dataset: &Dataset, purpose: Purpose) -> Result<(), TrainError> {
    let asked = purpose == Purpose::Train && config.eval.every_epochs > 0;
    if !asked || !dataset.val.is_empty() || !dataset.test.is_empty() {
        return Ok(());
    }
    match config.data.kind {
        DataKind::Images => Err(TrainError::config(
            format!(
                "`{}` has no test part, and `data.images.val_fraction` holds nothing out",
                dataset.root.display()
            ),
            "`data.images.val_fraction=0.1`, or switch evaluation off: `eval.every_epochs=0`",
        )),
        DataKind::Sound => Err(nothing_held_out(config, dataset)),
    }
}

/// Fractions are taken of each class, and a class keeps one group to learn from.
fn nothing_held_out(config: &RunConfig, dataset: &Dataset) -> TrainError {
    let (split, target) = (&config.data.split, &config.data.target);
    let by = config.data.splits.get(split).and_then(|split| split.by.as_ref());
    let by = by.or(config.data.recording.as_ref());
    let reason = match dataset.label(target) {
        Some(label) => {
            let counts = label.counts(&dataset.train);
            let alone = counts.iter().filter(|&&count| count == 1).count();
            format!("{alone} of {} classes of `{target}` have one recording", counts.len())
        }
        None => format!("there are {} recordings", dataset.num_samples()),
    };
    let column = by.and_then(|by| dataset.label(by));
    let example = match column {
        Some(column) => column.classes.last().cloned(),
        None => dataset.samples().last().map(|sample| sample.relative.clone()),
    };
    TrainError::config(
        format!("split `{split}` holds nothing out: {reason}"),
        format!(
            "list what to hold out, such as `'data.splits.{split}.test=[\"{}\"]'`, or switch evaluation off: \
             `eval.every_epochs=0`",
            example.unwrap_or_default()
        ),
    )
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
            format!("rank {rank} sees other data than rank 0 (names, sizes or labels differ)"),
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
