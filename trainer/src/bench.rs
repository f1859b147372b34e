//! Measurements of this program's own parts on this machine, for comparison with other programs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::Collective;
use dtrain_configs::RunConfig;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::coordinator::{RunPlan, StepPlan};
use crate::data::ViewMaker;
use crate::error::TrainError;
use crate::loss::contrastive;
use crate::run::{Purpose, StepRunner, prepare};

/// Training steps.
#[derive(Debug, Clone, Serialize)]
pub struct StepFigures {
    /// Samples (not views) per second over all ranks: batch / median step.
    pub clips_per_s: f64,
    /// Median seconds of a step, data included.
    pub median_step_s: f64,
    /// Median CPU seconds of a step in this rank's process, all threads and the kernel's work for them. Waiting for
    /// other ranks may count.
    pub median_cpu_s: f64,
    /// Median seconds of waiting for data.
    pub median_data_s: f64,
    /// Median seconds of collectives outside forward and backward.
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
}

/// Times `steps` optimizer steps after `warmup` others, through the same loader and engine as training.
pub fn step(
    mut config: RunConfig,
    ranks: &Arc<dyn Collective>,
    warmup: u64,
    steps: u64,
) -> Result<StepFigures, TrainError> {
    let total = warmup + steps.max(1);
    config.trainer.max_epochs = None;
    config.trainer.max_steps = Some(total);
    let prepared = prepare(config, ranks, Purpose::Train, None)?;
    let RunPlan { steps_per_epoch, .. } = prepared.plan;
    let mut runner = StepRunner::new(prepared)?;
    let mut figures = StepFigures {
        clips_per_s: 0.0,
        median_step_s: 0.0,
        median_cpu_s: 0.0,
        median_data_s: 0.0,
        median_comm_s: 0.0,
        steps: steps.max(1),
        first_step_begins_s: seconds_since_process_start(),
        first_step_ends_s: 0.0,
        loss_first: 0.0,
        loss_last: 0.0,
        world_size: ranks.world().world_size,
    };
    let (mut step_secs, mut cpu_secs) = (Vec::new(), Vec::new());
    let (mut data_secs, mut comm_secs) = (Vec::new(), Vec::new());
    let mut samples = 0;
    for step in 0..total {
        let (begin, cpu_begin) = (Instant::now(), cpu_seconds());
        let (outcome, plan, waited): (_, StepPlan, f64) = runner.step(step, steps_per_epoch)?;
        if step == 0 {
            figures.first_step_begins_s += waited;
            figures.first_step_ends_s = seconds_since_process_start();
            figures.loss_first = outcome.loss;
        }
        figures.loss_last = outcome.loss;
        if step >= warmup {
            step_secs.push(begin.elapsed().as_secs_f64());
            cpu_secs.push(cpu_seconds() - cpu_begin);
            data_secs.push(waited);
            comm_secs.push(outcome.comm_secs);
            samples += plan.global_samples;
        }
    }
    figures.median_step_s = median(&mut step_secs);
    figures.median_cpu_s = median(&mut cpu_secs);
    figures.median_data_s = median(&mut data_secs);
    figures.median_comm_s = median(&mut comm_secs);
    figures.clips_per_s = samples as f64 / figures.steps as f64 / figures.median_step_s;
    Ok(figures)
}

/// Augmented views.
#[derive(Debug, Clone, Serialize)]
pub struct DataFigures {
    /// Views per second on one core, from decoded samples in memory.
    pub views_per_s_per_core: f64,
    /// Files decoded and resampled per second on one core.
    pub decoded_files_per_s: f64,
    /// Views that were timed.
    pub views: u64,
}

/// Files that are decoded, and views of each that are timed.
const DATA_FILES: usize = 512;
const DATA_VIEWS: u64 = 24;

/// Times decoding, and then views of what is decoded, on the calling thread.
pub fn data(config: RunConfig, ranks: &Arc<dyn Collective>) -> Result<DataFigures, TrainError> {
    let prepared = prepare(config, ranks, Purpose::Evaluate, None)?;
    let ids: Vec<u32> = prepared.dataset.train.iter().copied().take(DATA_FILES).collect();
    let maker: &ViewMaker = &prepared.maker;
    let mut workspace = maker.workspace();
    let mut view = vec![0.0; maker.view_len()];

    let decoding = Instant::now();
    for &id in &ids {
        maker.recording(&mut workspace, id)?;
    }
    let decode_secs = decoding.elapsed().as_secs_f64();

    let mut rounds = Vec::new();
    for epoch in 0..DATA_VIEWS {
        let round = Instant::now();
        for &id in &ids {
            maker.make(&mut workspace, epoch, id, Some(0), &mut view)?;
            black_box(&view);
        }
        rounds.push(round.elapsed().as_secs_f64());
    }
    Ok(DataFigures {
        views_per_s_per_core: ids.len() as f64 / median(&mut rounds),
        decoded_files_per_s: ids.len() as f64 / decode_secs,
        views: ids.len() as u64 * DATA_VIEWS,
    })
}

/// The contrastive loss.
#[derive(Debug, Clone, Serialize)]
pub struct LossFigures {
    /// Nanoseconds per ordered pair of rows, loss and gradient together.
    pub ns_per_pair: f64,
    /// Peak memory beside the embeddings and their gradient, in bytes.
    pub extra_bytes: u64,
    /// Rows.
    pub rows: usize,
    /// Width of a row.
    pub dim: usize,
    /// Rows of a tile.
    pub tile: usize,
    /// CPU threads.
    pub threads: usize,
}

/// Times loss and gradient of random unit rows, two per sample.
pub fn loss(rows: usize, dim: usize, tile: Option<usize>, threads: usize) -> Result<LossFigures, TrainError> {
    if rows < 2 || dim < 1 {
        return Err(TrainError::config(
            format!("the loss needs at least 2 rows and 1 column, not {rows} x {dim}"),
            "raise `--rows` or `--dim`",
        ));
    }
    tch::set_num_threads(threads.max(1) as i32);
    tch::manual_seed(0);
    let z = Tensor::randn([rows as i64, dim as i64], (Kind::Float, Device::Cpu));
    let z = &z / z.norm_scalaropt_dim(2, [1], true);
    let groups: Vec<i64> = (0..rows as i64).map(|row| row / 2).collect();
    let groups = contrastive::Groups::new(&groups, z.device());
    let tile = tile.unwrap_or(contrastive::DEFAULT_TILE);
    // A small call first, so that libtorch's own start-up is not counted.
    let small = (rows as i64).min(2 * tile as i64);
    let first = contrastive::Groups::new(&(0..small).map(|row| row / 2).collect::<Vec<i64>>(), z.device());
    black_box(contrastive::contrastive(&z.narrow(0, 0, small), &first, 0.1, tile));

    reset_peak();
    let before = memory("VmRSS:");
    let begin = Instant::now();
    let result = contrastive::contrastive(&z, &groups, 0.1, tile);
    black_box(result.loss.double_value(&[]));
    let secs = begin.elapsed().as_secs_f64();
    let gradient_bytes = (rows * dim * size_of::<f32>()) as u64;
    Ok(LossFigures {
        ns_per_pair: secs * 1e9 / (rows as f64 * rows as f64),
        extra_bytes: memory("VmHWM:").saturating_sub(before).saturating_sub(gradient_bytes),
        rows,
        dim,
        tile,
        threads,
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU seconds that this process has used.
fn cpu_seconds() -> f64 {
    use nix::sys::time::TimeValLike;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(f64::NAN, |u| (u.user_time() + u.system_time()).num_microseconds() as f64 * 1e-6)
}

/// Seconds since this process was started by the kernel.
fn seconds_since_process_start() -> f64 {
    let uptime = fs_err::read_to_string("/proc/uptime").unwrap_or_default();
    let now: f64 = uptime.split_whitespace().next().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    // Field 22, counted after the command name, which may hold spaces.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name.split_whitespace().nth(19).and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
    // The kernel's USER_HZ is 100 on every Linux that Rust supports.
    now - ticks / 100.0
}

/// Bytes of a line of `/proc/self/status`.
fn memory(line: &str) -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix(line)).and_then(|l| l.split_whitespace().next());
    kib.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Lets `VmHWM` count from now on.
fn reset_peak() {
    // Where the kernel refuses, the peak of the whole process is reported, which is never too small.
    let _ = fs_err::write("/proc/self/clear_refs", "5");
}
