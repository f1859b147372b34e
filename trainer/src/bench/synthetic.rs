//! Training steps on views that are on the device already, so that nothing but the step is measured: what a comparison with
//! another framework on the same GPU needs. Everything else is as in training: method, engine, transport, precision.

use std::ops::Range;
use std::sync::Arc;

use dtrain_comm::Collective;
use dtrain_configs::schema::MonitorMode;
use dtrain_configs::{Origins, RunConfig};
use dtrain_data::{GroupRequest, share};
use serde::Serialize;
use tch::{TchError, Tensor};

use super::median;
use super::process::seconds_since_process_start;
use crate::coordinator::{Course, RunPlan, StepPlan};
use crate::device::be_deterministic;
use crate::engine::{Engine, StepOutcome};
use crate::error::TrainError;
use crate::method::{self, LocalBatch, Targets, Task, ViewGroup};
use crate::model::parameters::Parameters;
use crate::run::{Place, Resolved, connect_tensors, engine_settings, resolve};
use crate::torch_extra::{Event, MemoryMeter, set_tf32};

/// Batches that take turns.
const NUM_BATCHES: u64 = 4;
/// Classes of the targets, for methods with labels.
const NUM_CLASSES: i64 = 10;

/// Steps on synthetic views.
#[derive(Debug, Clone, Serialize)]
pub struct SyntheticFigures {
    /// Samples (not views) per second over all ranks: batch / median step.
    pub samples_per_s: f64,
    /// Median seconds from the end of a step to the end of the next, on a GPU by its own clock.
    pub median_step_s: f64,
    /// Most bytes that this rank's tensors took on the device, weights and views included.
    pub peak_bytes: u64,
    /// Steps that were timed.
    pub steps: u64,
    /// Seconds from the start of the process to the end of the first step.
    pub first_step_ends_s: f64,
    /// Loss of the first step.
    pub loss_first: f64,
    /// Loss of the last step.
    pub loss_last: f64,
    /// Ranks.
    pub world_size: usize,
    /// Name of the GPU, or `cpu`.
    pub device: String,
    /// Gradient buckets of a step that were sent while backward went on.
    pub early_buckets: usize,
    /// Views of a sample.
    pub views: u32,
}

/// Times `steps` optimizer steps after `warmup` others on views of `shape` (channels, height, width) and random values.
///
/// # Errors
/// As training: what the machine lacks, and what a rank cannot hold.
pub fn synthetic(
    mut config: RunConfig,
    collective: &Arc<dyn Collective>,
    shape: [i64; 3],
    warmup: u64,
    steps: u64,
) -> Result<SyntheticFigures, TrainError> {
    let steps = steps.max(1);
    let total = warmup.saturating_add(steps);
    config.trainer.max_epochs = None;
    config.trainer.max_steps = Some(total);
    let (resolved, place, _) = resolve(&config, &**collective, &Origins::default(), None)?;
    tch::set_num_threads(resolved.threads as i32);
    set_tf32(config.trainer.tf32);
    be_deterministic(config.trainer.deterministic, place.device)?;
    let meter = MemoryMeter::start(place.device)?;
    let mut engine = build(&config, collective, &resolved, &place, shape, total)?;
    let batches = batches(&config, collective, &engine, shape)?;

    let mut ends = Vec::with_capacity(steps as usize + 1);
    let mut outcomes: Vec<StepOutcome> = Vec::new();
    let mut first_step_ends_s = f64::NAN;
    for step in 0..total {
        let Some(batch) = batches.get((step % NUM_BATCHES) as usize) else { break };
        outcomes.extend(engine.step(batch, &plan(&config, collective, step))?);
        if step == 0 {
            first_step_ends_s = seconds_since_process_start();
        }
        if step + 1 >= warmup {
            let mut end = Event::new(place.device, true)?;
            end.record()?;
            ends.push(end);
        }
    }
    outcomes.extend(engine.flush()?);
    if let Some(last) = ends.last() {
        last.synchronize()?;
    }
    // Without a warm-up the first step has no end before it and is not timed.
    let between = ends.iter().zip(ends.iter().skip(1));
    let mut step_secs =
        between.map(|(a, b)| Ok(a.elapsed_ms(b)? * 1e-3)).collect::<Result<Vec<f64>, TrainError>>()?;
    let median_step_s = median(&mut step_secs);
    Ok(SyntheticFigures {
        samples_per_s: config.trainer.batch_size as f64 / median_step_s,
        median_step_s,
        peak_bytes: meter.peak_bytes()?,
        steps: step_secs.len() as u64,
        first_step_ends_s,
        loss_first: outcomes.first().map_or(f64::NAN, |outcome| outcome.loss),
        loss_last: outcomes.last().map_or(f64::NAN, |outcome| outcome.loss),
        world_size: collective.world().world_size,
        device: place.name,
        early_buckets: outcomes.last().map_or(0, |outcome| outcome.early_buckets),
        views: engine.method().num_views(),
    })
}

/// Method, network and optimizer of `config` for views of `shape` (channels, height, width), without data.
pub(super) fn build(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    resolved: &Resolved,
    place: &Place,
    shape: [i64; 3],
    total_steps: u64,
) -> Result<Engine, TrainError> {
    let mut parameters = Parameters::new(place.device, resolved.arithmetic.kind(), config.seed);
    let method =
        method::build(&config.method, &config.model, &Task::of_classes(shape, NUM_CLASSES), &mut parameters);
    let ways = connect_tensors(config, collective, resolved, place.device)?;
    let plan = RunPlan {
        steps_per_epoch: total_steps,
        total_steps,
        save_every_steps: Some(0),
        local_save_every_steps: None,
        eval_every_epochs: 0,
        eval_at_start: false,
        monitor_mode: MonitorMode::default(),
        max_nonfinite_steps: config.trainer.max_nonfinite_steps,
        course: Course::whole(total_steps),
        early_stop: None,
        alarms: config.alarms.clone(),
    };
    Engine::new(method, parameters, ways, engine_settings(config, resolved, &plan))
}

/// This rank's positions in a batch.
fn own(config: &RunConfig, collective: &Arc<dyn Collective>) -> Range<usize> {
    let world = collective.world();
    share(config.trainer.batch_size, world.world_size, world.rank)
}

fn plan(config: &RunConfig, collective: &Arc<dyn Collective>, step: u64) -> StepPlan {
    let world_size = collective.world().world_size;
    let len = config.trainer.batch_size;
    let counts = (0..world_size).map(|rank| share(len, world_size, rank).len() as u32).collect();
    StepPlan { step, epoch: 0, phase: 0, counts, global_samples: len as u64 }
}

/// This rank's shares of the batches, in the type and on the device of the weights.
fn batches(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    engine: &Engine,
    [channels, height, width]: [i64; 3],
) -> Result<Vec<LocalBatch>, TrainError> {
    let own = own(config, collective);
    let num_samples = own.len() as i64;
    tch::manual_seed(collective.world().rank as i64);
    let make = |_| {
        let group = |&GroupRequest { num_views, spec }: &GroupRequest| {
            if spec == GroupRequest::MASKS {
                let shape = [i64::from(num_views) * num_samples, 1, height, width];
                return Ok(ViewGroup::new(
                    num_views,
                    Tensor::f_ones(shape, (engine.kind(), engine.device()))?,
                ));
            }
            let [height, width] = [height, width].map(|side| match spec {
                0 => side,
                _ => config.augment.small_views.side(side as usize) as i64,
            });
            let shape = [i64::from(num_views) * num_samples, channels, height, width];
            Ok(ViewGroup::new(num_views, Tensor::f_randn(shape, (engine.kind(), engine.device()))?))
        };
        let groups = engine.method().view_groups().iter().map(group).collect::<Result<_, TchError>>()?;
        let numbers: Vec<i64> = own.clone().map(|position| position as i64).collect();
        let classes: Vec<i64> = numbers.iter().map(|number| number % NUM_CLASSES).collect();
        let heads = engine.method().heads();
        let targets = Targets::new(numbers.clone(), config.trainer.batch_size as u64)?
            .with_labels(heads, vec![classes.clone(); heads.len()])?
            .with_classes(classes)?
            .with_recordings(numbers.clone())?
            .at(numbers)?;
        Ok(LocalBatch::of_groups(groups, targets)?)
    };
    (0..NUM_BATCHES).map(make).collect()
}

#[cfg(test)]
mod tests {
    use dtrain_comm::local_world;
    use dtrain_configs::{ComposeOptions, compose};

    use super::*;

    fn config(method: &str) -> RunConfig {
        let overrides = [
            "experiment=null",
            method,
            "model=cnn_small",
            "trainer.batch_size=7",
            "trainer.threads=1",
            "trainer.device=cpu",
            "trainer.precision=fp32",
        ];
        compose(&overrides.map(str::to_owned), &ComposeOptions::default()).unwrap().config
    }

    #[test]
    fn two_ranks_share_the_batch_and_learn() {
        let threads: Vec<_> = local_world(2)
            .into_iter()
            .map(|collective| {
                std::thread::spawn(move || {
                    synthetic(config("method=simclr"), &collective, [2, 16, 16], 2, 5).unwrap()
                })
            })
            .collect();
        for figures in threads.into_iter().map(|thread| thread.join().unwrap()) {
            assert_eq!((figures.steps, figures.world_size, figures.views), (5, 2, 2));
            assert!(figures.samples_per_s > 0.0 && figures.peak_bytes > 388_896 * 4 * 3);
            assert!(figures.loss_first.is_finite() && figures.loss_last.is_finite());
            assert_ne!(figures.loss_first, figures.loss_last);
        }
    }

    #[test]
    fn methods_with_labels_have_some() {
        let alone = local_world(1).remove(0);
        let figures = synthetic(config("method=supervised"), &alone, [1, 16, 16], 0, 3).unwrap();
        assert_eq!((figures.steps, figures.views), (2, 1));
        assert!(figures.loss_last < 10.0, "{figures:?}");
    }
}
