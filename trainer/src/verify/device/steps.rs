//! Whole steps of every method through the engine, which switches precision, scales losses and sums gradients; and what
//! must be equal bit for bit: repeated runs, and outcomes that are learned a step later.

use std::sync::Arc;

use dtrain_comm::{Collective, Single};
use dtrain_configs::schema::{
    AdamwConfig, Encoder, MethodConfig, ModelConfig, OptimizerConfig, ScheduleConfig, ScheduleKind, SgdConfig,
};
use tch::{TchError, Tensor};

use super::Check;
use super::compare::{Compared, Row};
use super::precision::DevicePrecision;
use super::setting::Setting;
use crate::coordinator::{Course, StepPlan};
use crate::engine::{Arithmetic, Engine, EngineSettings, Ranks, StepOutcome};
use crate::error::TrainError;
use crate::method::{self, HeadTask, LocalBatch, Method, Targets, Task, ViewGroup};
use crate::model::parameters::Parameters;

const SAMPLES: u32 = 24;
const CLASSES: i64 = 4;
const SIZE: i64 = 32;
/// A 16-bit loss scale halves until gradients are finite.
const MAX_TRIES: u64 = 16;

/// All checks.
pub(super) fn checks() -> Vec<Check<'static>> {
    methods()
        .map(|config| {
            Check::new(format!("step {}", config.name()), move |setting| one_step(setting, &config))
        })
        .collect()
}

/// Every method as it is proved.
fn methods() -> impl Iterator<Item = MethodConfig> {
    MethodConfig::all().into_iter().map(|method| method.for_proofs(&LABELS))
}

/// A label for each loss of a head.
const LABELS: [&str; 5] = ["class", "ordinal", "quantized", "distance", "soft"];

/// A head for every loss, of 4 classes, which are steps of a scale.
fn task() -> Task {
    let values = (0..CLASSES).map(|class| 40.0 + 10.0 * class as f64).collect::<Vec<f64>>();
    let heads = LABELS.into_iter().map(|name| HeadTask {
        name: name.to_owned(),
        num_classes: CLASSES,
        values: values.clone(),
        ..HeadTask::default()
    });
    Task { heads: heads.collect(), ..Task::of_classes([1, SIZE, SIZE], CLASSES) }
}

/// An engine of one rank.
pub(super) fn engine(
    setting: &Setting,
    method: Box<dyn Method>,
    parameters: Parameters,
    optimizer: OptimizerConfig,
    deferred: bool,
) -> Result<Engine, TrainError> {
    setting.shake(&parameters)?;
    let alone: Arc<dyn Collective> = Arc::new(Single::new());
    let settings = EngineSettings {
        global_batch: SAMPLES as usize,
        micro_batch: None,
        tile: None,
        encoder: Encoder::Online,
        arithmetic: setting.arithmetic,
        tf32: false,
        grad_clip: None,
        sync_bn: false,
        bucket_bytes: 25 << 20,
        first_bucket_bytes: 1 << 20,
        overlap: false,
        shard_optimizer: false,
        deferred,
        schedule: ScheduleConfig { kind: ScheduleKind::Constant, ..ScheduleConfig::default() },
        optimizer,
        scheduled: Vec::new(),
        steps_per_epoch: 100,
        course: Course::whole(100),
    };
    Engine::new(method, parameters, Ranks::inline(&alone), settings)
}

/// The step with the number `step` of one rank.
pub(super) fn plan(step: u64, samples: u32) -> StepPlan {
    StepPlan { step, epoch: 0, phase: 0, counts: vec![samples], global_samples: u64::from(samples) }
}

fn trained(
    setting: &Setting,
    config: &MethodConfig,
    optimizer: OptimizerConfig,
    deferred: bool,
) -> Result<Engine, TrainError> {
    let mut parameters = setting.parameters();
    let model = ModelConfig::smallest();
    let method = method::build(config, &model, &task(), &mut parameters);
    engine(setting, method, parameters, optimizer, deferred)
}

/// Batch `number` of a method.
fn batch(setting: &Setting, number: u32, method: &dyn Method) -> Result<LocalBatch, TchError> {
    let samples = i64::from(SAMPLES);
    let patterns = setting.normal(1000 + number, &[samples, 1, SIZE, SIZE]);
    let views = method.facts().views;
    let groups = (0..).zip(views.groups()).map(|(group, &num_views)| {
        let noise =
            setting.normal(2000 + 1000 * group + number, &[i64::from(num_views) * samples, 1, SIZE, SIZE]);
        ViewGroup::new(num_views, patterns.repeat([i64::from(num_views), 1, 1, 1]) + noise * 0.5)
    });
    let first = i64::from(number) * samples;
    let classes: Vec<i64> = (0..samples).map(|i| i * i % CLASSES).collect();
    let recordings = (0..samples).map(|i| (first + i) / 3).collect();
    let targets = Targets::new((first..first + samples).collect(), u64::from(SAMPLES))?
        .with_labels(method.heads(), vec![classes.clone(); method.heads().len()])?
        .with_classes(classes)?
        .with_recordings(recordings)?;
    LocalBatch::of_groups(groups.collect(), targets)
}

/// Runs `batch` as step `number` and waits for its outcome.
pub(super) fn settled(
    engine: &mut Engine,
    batch: &LocalBatch,
    plan: &StepPlan,
) -> Result<StepOutcome, TrainError> {
    let known = engine.step(batch, plan)?;
    let last = engine.flush()?;
    last.or(known).ok_or_else(|| TrainError::internal("a step has no outcome"))
}

fn one_step(setting: &Setting, config: &MethodConfig) -> Result<Compared, TrainError> {
    let mut engine = trained(setting, config, OptimizerConfig::Sgd(SgdConfig::default()), false)?;
    let batch = batch(setting, 0, engine.method())?;
    let mut compared = Compared::default();
    for _ in 0..MAX_TRIES {
        let outcome = settled(&mut engine, &batch, &plan(0, SAMPLES))?;
        if !outcome.finite && setting.arithmetic == Arithmetic::Fp16 {
            continue;
        }
        // Beside 1: a mean of cosines goes through zero, where nothing is small beside it.
        compared.output("loss", &Tensor::from_slice(&[outcome.loss, 1.0]));
        for segment in engine.flat().segments() {
            compared.gradient(&segment.name, &segment.view_of(engine.flat().gradients()));
        }
        break;
    }
    Ok(compared)
}

/// Bits that must be equal: weights and buffers after six steps, the third of them with a value that is not a number.
pub(super) fn exact(setting: &Setting, precision: DevicePrecision) -> Result<Vec<Row>, TrainError> {
    let mut rows = Vec::new();
    for config in methods() {
        let run = |deferred| six_steps(setting, &config, deferred);
        let (first, skipped) = run(false)?;
        let (again, _) = run(false)?;
        let name = config.name();
        rows.push(Row::bits(format!("repeated steps of {name}"), precision, first.differing(&again)));
        // With 16-bit floats an overflow that is known later is a scale that halves later.
        if setting.arithmetic != Arithmetic::Fp16 {
            let (deferred, skipped_then) = run(true)?;
            let differing = first.differing(&deferred) + usize::from(skipped != skipped_then);
            rows.push(Row::bits(format!("deferred outcomes of {name}"), precision, differing));
            rows.push(Row::bits(
                format!("skipped steps of {name} beside one"),
                precision,
                skipped.abs_diff(1),
            ));
        }
    }
    Ok(rows)
}

/// Weights and buffers, and the number of steps that were skipped.
fn six_steps(
    setting: &Setting,
    config: &MethodConfig,
    deferred: bool,
) -> Result<(Compared, usize), TrainError> {
    let mut engine = trained(setting, config, OptimizerConfig::Adamw(AdamwConfig::default()), deferred)?;
    let mut outcomes = Vec::new();
    for number in 0..6 {
        let batch = batch(setting, number, engine.method())?;
        if number == 2 {
            let _ = batch.inputs().get(1).fill_(f64::NAN);
        }
        outcomes.extend(engine.step(&batch, &plan(u64::from(number), SAMPLES))?);
    }
    outcomes.extend(engine.flush()?);
    let mut compared = Compared::default();
    compared.output("weights", engine.flat().parameters());
    for buffer in engine.parameters().buffers() {
        compared.output(&buffer.name, &buffer.tensor);
    }
    for shadow in engine.parameters().shadows() {
        compared.output(&shadow.name, &shadow.tensor);
    }
    for outcome in &outcomes {
        let finite = if outcome.finite { [outcome.loss, outcome.grad_norm] } else { [0.0; 2] };
        compared.output(format!("outcome {}", outcome.step), &Tensor::from_slice(&finite));
    }
    Ok((compared, outcomes.iter().filter(|outcome| !outcome.finite).count()))
}
