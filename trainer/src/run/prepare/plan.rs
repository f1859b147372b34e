//! What the engine and the coordinator are told of the settings.

use dtrain_configs::RunConfig;
use dtrain_configs::schema::MonitorMode;

use super::resolve::Resolved;
use crate::coordinator::{Course, EarlyStop, RunPlan};
use crate::engine::{Clip, EngineSettings};

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
        grad_clip: trainer.grad_clip.map(|max_norm| Clip { max_norm, of: trainer.grad_clip_norm }),
        sync_bn: resolved.sync_bn,
        bucket_bytes: trainer.bucket_bytes,
        first_bucket_bytes: trainer.first_bucket_bytes,
        overlap: resolved.overlap,
        shard_optimizer: trainer.shard_optimizer,
        deferred: resolved.on_gpu,
        schedule: config.schedule.clone(),
        optimizer: config.optimizer.clone(),
        scheduled: config.method.scheduled(),
        steps_per_epoch: plan.steps_per_epoch,
        course: plan.course.clone(),
    }
}

pub(super) fn run_plan(
    config: &RunConfig,
    steps_per_epoch: u64,
    course: Course,
    total_steps: u64,
) -> RunPlan {
    RunPlan {
        steps_per_epoch,
        total_steps,
        save_every_steps: config.checkpoint.every_steps,
        local_save_every_steps: config
            .checkpoint
            .local_every_steps
            .filter(|_| config.checkpoint.local_dir.is_some()),
        eval_every_epochs: config.eval.every_epochs,
        eval_at_start: config.eval.at_start,
        monitor_mode: monitor_mode(config),
        max_nonfinite_steps: config.trainer.max_nonfinite_steps,
        course,
        early_stop: early_stop(config),
        alarms: config.alarms.clone(),
    }
}

pub(super) fn monitor_mode(config: &RunConfig) -> MonitorMode {
    config.checkpoint.monitored().map_or_else(MonitorMode::default, |(_, mode)| mode)
}

pub(super) fn early_stop(config: &RunConfig) -> Option<EarlyStop> {
    let stop = &config.stop;
    let (_, mode) = stop.monitored()?;
    Some(EarlyStop { mode, patience: stop.patience, min_delta: stop.min_delta })
}
