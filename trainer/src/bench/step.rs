//! Training steps through the same loader and engine as training, split over what each rank spends its time on.

use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::Collective;
use dtrain_configs::RunConfig;
use serde::Serialize;

use super::median;
use super::process::{cpu_seconds, seconds_since_process_start};
use crate::engine::{Engine, Ranks, StepOutcome};
use crate::error::TrainError;
use crate::run::{Purpose, StepRunner, prepare};

/// Training steps.
#[derive(Debug, Clone, Serialize)]
pub struct StepFigures {
    /// Samples (not views) per second over all ranks: batch / median step.
    pub samples_per_s: f64,
    /// Median seconds of a step, data included.
    pub median_step_s: f64,
    /// Median CPU seconds of a step in this rank's process, all threads and the kernel's work for them. Waiting for
    /// other ranks may count.
    pub median_cpu_s: f64,
    /// Median seconds of waiting for data.
    pub median_data_s: f64,
    /// Median seconds in which this rank was blocked by others during a step.
    pub median_comm_s: f64,
    /// Steps that were timed.
    pub steps: u64,
    /// Seconds from the start of the process to the beginning of the first step, whose batch is in hand then.
    pub first_step_begins_s: f64,
    /// Seconds from the start of the process to the end of the first step.
    pub first_step_ends_s: f64,
    /// Loss of the first step.
    pub loss_first: f64,
    /// Loss of the last step.
    pub loss_last: f64,
    /// Ranks.
    pub world_size: usize,
    /// Where the ranks spend their time.
    pub split: RankSplit,
    /// What the cost model wants to know about the network.
    pub model: ModelFigures,
}

/// Medians of each rank's seconds per step, over the ranks. A straggler has the largest `compute_s` or `data_s`, and the
/// other ranks `wait_s` and `comm_exposed_s` instead: a sum over ranks ends for all at the same time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankSplit {
    /// Waiting for the loader.
    pub data_s: Spread,
    /// Waiting for the other ranks before the step's first pass.
    pub wait_s: Spread,
    /// Own work.
    pub compute_s: Spread,
    /// Blocked by other ranks within the step: gathers, statistics, the tail of the gradient's sums.
    pub comm_exposed_s: Spread,
    /// Of them, from the end of backward to the last sum of gradients.
    pub gradient_tail_s: Spread,
    /// The rank with the most seconds of data and work.
    pub slowest_rank: usize,
}

/// A figure over all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Median; the larger of the middle two where their number is even.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        let median = median(&mut sorted);
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Self { min: end(sorted.first()), median, max: end(sorted.last()) }
    }
}

/// Sizes of the network and its step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFigures {
    /// Samples of a step over all ranks.
    pub global_batch: usize,
    /// Samples per forward pass and rank; `null`: the whole share.
    pub micro_batch: Option<usize>,
    /// Views of a sample.
    pub views: usize,
    /// Elements of the flat parameters.
    pub parameters: usize,
    /// Bytes and number of parameters of each gradient bucket, in the order in which they are sent.
    pub buckets: Vec<(u64, usize)>,
    /// Buckets are sent while backward goes on.
    pub overlap: bool,
    /// Channels of each layer whose statistics are summed over the ranks.
    pub sync_channels: Vec<usize>,
}

impl ModelFigures {
    fn of(engine: &Engine) -> Self {
        let settings = engine.settings();
        let element_bytes = engine.kind().elt_size_in_bytes();
        let flat = engine.flat();
        let buckets =
            flat.buckets(settings.bucket_bytes, settings.first_bucket_bytes).into_iter().map(|bucket| {
                let num_parameters = flat.segments().iter().filter(|s| bucket.contains(&s.offset)).count();
                ((bucket.len() * element_bytes) as u64, num_parameters)
            });
        let statistics = engine.parameters().buffers().iter().filter(|b| b.name.ends_with("running_mean"));
        let is_synchronized = settings.sync_bn && engine.ranks().world().world_size > 1;
        Self {
            global_batch: settings.global_batch,
            micro_batch: settings.micro_batch,
            views: engine.method().num_views() as usize,
            parameters: flat.num_elements(),
            buckets: buckets.collect(),
            overlap: settings.overlap,
            sync_channels: statistics.filter(|_| is_synchronized).map(|b| b.tensor.numel()).collect(),
        }
    }
}

/// Seconds of each timed step.
#[derive(Default)]
struct Times {
    step: Vec<f64>,
    cpu: Vec<f64>,
    data: Vec<f64>,
    wait: Vec<f64>,
    compute: Vec<f64>,
    comm: Vec<f64>,
    tail: Vec<f64>,
}

impl Times {
    fn outcome(&mut self, outcome: &StepOutcome) {
        self.compute.push(outcome.compute_secs);
        self.comm.push(outcome.comm_secs);
        self.tail.push(outcome.tail_secs);
    }

    /// Medians of all ranks, gathered in one order.
    fn split(&mut self, ranks: &Ranks) -> Result<RankSplit, TrainError> {
        let gather = |values: &mut Vec<f64>| ranks.gather_f64(median(values));
        let data = gather(&mut self.data)?;
        let wait = gather(&mut self.wait)?;
        let compute = gather(&mut self.compute)?;
        let comm = gather(&mut self.comm)?;
        let tail = gather(&mut self.tail)?;
        Ok(RankSplit {
            data_s: Spread::of(&data),
            wait_s: Spread::of(&wait),
            compute_s: Spread::of(&compute),
            comm_exposed_s: Spread::of(&comm),
            gradient_tail_s: Spread::of(&tail),
            slowest_rank: slowest(&data, &compute),
        })
    }
}

fn slowest(data: &[f64], compute: &[f64]) -> usize {
    let busy = data.iter().zip(compute).map(|(data, compute)| data + compute);
    busy.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(rank, _)| rank)
}

/// Times `steps` optimizer steps after `warmup` others.
pub fn step(
    mut config: RunConfig,
    ranks: &Arc<dyn Collective>,
    warmup: u64,
    steps: u64,
) -> Result<StepFigures, TrainError> {
    let steps = steps.max(1);
    let total = warmup.saturating_add(steps);
    config.trainer.max_epochs = None;
    config.trainer.max_steps = Some(total);
    let prepared = prepare(config, ranks, Purpose::Train, None)?;
    let model = ModelFigures::of(&prepared.engine);
    let ways = prepared.engine.ranks().clone();
    let mut runner = StepRunner::new(prepared)?;
    let mut first_step_begins_s = seconds_since_process_start();
    let mut first_step_ends_s = f64::NAN;
    let (mut loss_first, mut loss_last) = (f64::NAN, f64::NAN);
    let mut times = Times::default();
    let mut samples = 0;
    let mut learn = |outcome: StepOutcome, times: &mut Times| {
        if outcome.step == 0 {
            loss_first = outcome.loss;
        }
        loss_last = outcome.loss;
        if outcome.step >= warmup {
            times.outcome(&outcome);
        }
    };
    for step in 0..total {
        let (begin, cpu_begin) = (Instant::now(), cpu_seconds());
        let stepped = runner.step(step)?;
        if step == 0 {
            first_step_begins_s += stepped.data_secs;
            first_step_ends_s = seconds_since_process_start();
        }
        if step >= warmup {
            times.step.push(begin.elapsed().as_secs_f64());
            times.cpu.push(cpu_seconds() - cpu_begin);
            times.data.push(stepped.data_secs);
            times.wait.push(stepped.wait_secs);
            samples += stepped.plan.global_samples;
        }
        if let Some(outcome) = stepped.known {
            learn(outcome, &mut times);
        }
    }
    if let Some(outcome) = runner.flush()? {
        learn(outcome, &mut times);
    }
    let split = times.split(&ways)?;
    let median_step_s = median(&mut times.step);
    Ok(StepFigures {
        samples_per_s: samples as f64 / steps as f64 / median_step_s,
        median_step_s,
        median_cpu_s: median(&mut times.cpu),
        median_data_s: median(&mut times.data),
        median_comm_s: median(&mut times.comm),
        steps,
        first_step_begins_s,
        first_step_ends_s,
        loss_first,
        loss_last,
        world_size: ranks.world().world_size,
        split,
        model,
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use dtrain_comm::local_world;

    use super::*;

    #[test]
    fn a_straggler_shows_in_work_and_the_others_in_waiting() {
        let threads: Vec<_> = local_world(3)
            .into_iter()
            .map(|collective| {
                thread::spawn(move || {
                    let is_slow = collective.world().rank == 1;
                    let [work, blocked] = if is_slow { [3.0, 0.1] } else { [1.0, 2.1] };
                    let mut times = Times::default();
                    for _ in 0..3 {
                        times.data.push(0.5);
                        times.wait.push(0.25);
                        times.outcome(&StepOutcome {
                            compute_secs: work,
                            comm_secs: blocked,
                            tail_secs: blocked / 2.0,
                            ..StepOutcome::default()
                        });
                    }
                    times.split(&Ranks::inline(&collective)).unwrap()
                })
            })
            .collect();
        for split in threads.into_iter().map(|thread| thread.join().unwrap()) {
            assert_eq!(split.slowest_rank, 1);
            assert_eq!(split.compute_s, Spread { min: 1.0, median: 1.0, max: 3.0 });
            assert_eq!(split.comm_exposed_s, Spread { min: 0.1, median: 2.1, max: 2.1 });
            assert_eq!(split.gradient_tail_s.max, 1.05);
            assert_eq!(split.data_s, Spread { min: 0.5, median: 0.5, max: 0.5 });
        }
    }
}
