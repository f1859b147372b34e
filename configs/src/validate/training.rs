//! Checks of everything but `data` and `augment`.

use super::Checks;
use crate::schema::{
    DataKind, DeviceChoice, MethodConfig, OptimizerConfig, PairExclusion, Precision, ProjectorConfig,
    RunConfig,
};

/// Largest batch: a batch's spectrograms must be countable in memory.
const MAX_BATCH: u64 = 1 << 22;
/// Longest memory queue, in rows.
const MAX_QUEUE: u64 = 1 << 24;
/// Widest layer.
const MAX_DIM: u64 = 1 << 16;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    check_run(config, checks);
    check_trainer(config, checks);
    check_method(config, checks);
    check_optimizer(config, checks);
    check_schedule(config, checks);
    check_eval(config, checks);
    check_checkpoint(config, checks);
}

fn check_checkpoint(config: &RunConfig, checks: &mut Checks) {
    let checkpoint = &config.checkpoint;
    let keys = ["checkpoint.local_dir", "checkpoint.local_every_steps"];
    checks.require(
        checkpoint.local_dir.is_some() == checkpoint.local_every_steps.is_some(),
        keys,
        || "`checkpoint.local_dir` and `checkpoint.local_every_steps` are set together or not at all".into(),
        "for instance `checkpoint.local_dir=/dev/shm/dtrain checkpoint.local_every_steps=100`",
    );
    if let Some(dir) = &checkpoint.local_dir {
        checks.filled("checkpoint.local_dir", &dir.to_string_lossy());
    }
    let local = checkpoint.local_every_steps;
    checks.count("checkpoint.local_every_steps", local.unwrap_or(1), 1, u64::MAX);
    checks.require(
        local.is_none() || checkpoint.every_steps != Some(0),
        ["checkpoint.local_every_steps", "checkpoint.every_steps"],
        || {
            "`checkpoint.local_every_steps` is set, but `checkpoint.every_steps` is 0, which saves nothing"
                .into()
        },
        "checkpoints on the fast tier are for the time between two durable ones",
    );
}

fn check_run(config: &RunConfig, checks: &mut Checks) {
    if let Some(name) = &config.experiment {
        checks.require(
            !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..",
            ["experiment"],
            || format!("`experiment` names a folder of runs and cannot be `{name}`"),
            None,
        );
    }
    checks.filled("run.root", &config.run.root.to_string_lossy());
    if let Some(dir) = &config.run.dir {
        checks.filled("run.dir", &dir.to_string_lossy());
    }
    if let Some(init_from) = &config.init_from {
        checks.filled("init_from", &init_from.to_string_lossy());
    }
    checks.count("track.every_steps", config.track.every_steps, 1, u64::MAX);
}

fn check_trainer(config: &RunConfig, checks: &mut Checks) {
    let trainer = &config.trainer;
    checks.count("trainer.batch_size", trainer.batch_size as u64, 1, MAX_BATCH);
    checks.require(
        trainer.max_epochs.is_some() || trainer.max_steps.is_some(),
        ["trainer.max_epochs", "trainer.max_steps"],
        || "the run never ends: `trainer.max_epochs` and `trainer.max_steps` are both `null`".into(),
        "set one of the two",
    );
    for (key, value) in [("trainer.max_epochs", trainer.max_epochs), ("trainer.max_steps", trainer.max_steps)]
    {
        let message = || format!("`{key}` is 0: the run would not train");
        checks.require(value != Some(0), [key], message, "`dtrain eval` evaluates weights without training");
    }
    if let Some(clip) = trainer.grad_clip {
        let message = || format!("`trainer.grad_clip` must be above 0 and finite, not {clip}");
        let hint = "`trainer.grad_clip=null` switches clipping off";
        checks.require(clip.is_finite() && clip > 0.0, ["trainer.grad_clip"], message, hint);
    }
    for (key, threads) in
        [("trainer.threads", trainer.threads), ("trainer.loader_threads", trainer.loader_threads)]
    {
        checks.count(key, threads.value().unwrap_or(1) as u64, 1, 4096);
    }
    checks.count(
        "trainer.micro_batch_size",
        trainer.micro_batch_size.value().unwrap_or(1) as u64,
        1,
        MAX_BATCH,
    );
    checks.count("trainer.bucket_bytes", trainer.bucket_bytes as u64, 1, 1 << 40);
    checks.count("trainer.first_bucket_bytes", trainer.first_bucket_bytes as u64, 1, 1 << 40);
    checks.count("trainer.max_nonfinite_steps", trainer.max_nonfinite_steps, 1, u64::MAX);
    check_comm(config, checks);
    for (key, limit) in [
        ("trainer.limit_train_samples", trainer.limit_train_samples),
        ("trainer.limit_eval_samples", trainer.limit_eval_samples),
    ] {
        checks.count(key, limit.unwrap_or(1) as u64, 1, u64::MAX);
    }
    check_model(config, checks);
    checks.count("model.norm_groups", config.model.norm_groups as u64, 1, MAX_DIM);
    check_precision(config, checks);
    checks.count("trainer.prefetch_batches", trainer.prefetch_batches as u64, 1, 1024);
    checks.count("trainer.prefetch_bytes", trainer.prefetch_bytes, 1, u64::MAX);
}

fn check_model(config: &RunConfig, checks: &mut Checks) {
    let model = &config.model;
    for (key, width) in [
        ("model.conv1_channels", model.conv1_channels),
        ("model.conv2_channels", model.conv2_channels),
        ("model.fc_hidden", model.fc_hidden),
    ] {
        checks.count(key, width as u64, 1, MAX_DIM);
    }
    checks.count("model.pool_size", model.pool_size as u64, 1, 256);
    checks.below_one("model.dropout", model.dropout);
}

fn check_comm(config: &RunConfig, checks: &mut Checks) {
    checks.positive("comm.timeout_secs", config.comm.timeout_secs);
    checks.positive("comm.slow_work_timeout_secs", config.comm.slow_work_timeout_secs);
    if let Some(interface) = &config.comm.interface {
        checks.filled("comm.interface", interface);
    }
}

fn check_precision(config: &RunConfig, checks: &mut Checks) {
    let trainer = &config.trainer;
    checks.require(
        !(trainer.precision == Precision::Fp16 && trainer.device == DeviceChoice::Cpu),
        ["trainer.precision", "trainer.device"],
        || "`trainer.precision` is fp16, but `trainer.device` is cpu, which has no 16-bit floats".into(),
        "`trainer.precision=bf16` is the 16-bit type of CPUs",
    );
}

fn check_method(config: &RunConfig, checks: &mut Checks) {
    let batch_size = config.trainer.batch_size;
    let contrastive = match &config.method {
        MethodConfig::Simclr(simclr) => {
            checks.count("method.queue_size", simclr.queue_size as u64, 0, MAX_QUEUE);
            check_exclusions(config, &simclr.exclude_pairs, checks);
            Some((simclr.temperature, &simclr.projector, simclr.tile))
        }
        MethodConfig::Supcon(supcon) => {
            if let Some(per_class) = supcon.samples_per_class.value() {
                let keys = ["method.samples_per_class", "trainer.batch_size"];
                checks.require(
                    per_class >= 2,
                    ["method.samples_per_class"],
                    || format!("`method.samples_per_class` must be at least 2, not {per_class}"),
                    "with one sample of a class in a batch, an anchor has no positive but its own other view",
                );
                checks.require(
                    per_class <= batch_size,
                    keys,
                    || {
                        format!("`method.samples_per_class` = {per_class} is more than `trainer.batch_size` = {batch_size}")
                    },
                    "a batch holds `batch_size / samples_per_class` classes",
                );
            }
            checks.count("method.queue_size", supcon.queue_size as u64, 0, MAX_QUEUE);
            check_exclusions(config, &supcon.exclude_pairs, checks);
            checks.require(
                !supcon.exclude_pairs.contains(&PairExclusion::Label),
                ["method.exclude_pairs"],
                || {
                    "`method.exclude_pairs` has `label`, but the pairs of one label are what SupCon attracts"
                        .into()
                },
                "`method.exclude_pairs=[recording]` leaves out pairs of one recording",
            );
            Some((supcon.temperature, &supcon.projector, supcon.tile))
        }
        MethodConfig::Multihead(_) => None,
        MethodConfig::Supervised(supervised) => {
            checks.below_one("method.label_smoothing", supervised.label_smoothing);
            None
        }
    };
    let Some((temperature, projector, tile)) = contrastive else { return };
    checks.positive("method.temperature", temperature);
    checks.count("method.tile", tile.value().unwrap_or(1) as u64, 1, MAX_BATCH);
    check_projector(projector, checks);
    checks.require(
        batch_size != 1,
        ["trainer.batch_size", "method.name"],
        || {
            let name = config.method.name();
            format!("`trainer.batch_size` is 1, but `method.name` = {name} compares the samples of a batch")
        },
        "contrastive methods need at least 2 samples, and do better with hundreds",
    );
}

fn check_exclusions(config: &RunConfig, exclusions: &[PairExclusion], checks: &mut Checks) {
    checks.require(
        !exclusions.contains(&PairExclusion::Recording) || config.data.recording.is_some(),
        ["method.exclude_pairs", "data.recording"],
        || "`method.exclude_pairs` has `recording`, but `data.recording` names no label".into(),
        "set `data.recording` to the label that names a sample's recording",
    );
}

fn check_projector(projector: &ProjectorConfig, checks: &mut Checks) {
    checks.count("method.projector.num_layers", projector.num_layers as u64, 1, 16);
    checks.count("method.projector.hidden_dim", projector.hidden_dim as u64, 1, MAX_DIM);
    checks.count("method.projector.out_dim", projector.out_dim as u64, 1, MAX_DIM);
}

fn check_optimizer(config: &RunConfig, checks: &mut Checks) {
    checks.positive("optimizer.lr", config.optimizer.lr());
    match &config.optimizer {
        OptimizerConfig::Sgd(sgd) => {
            checks.not_negative("optimizer.weight_decay", sgd.weight_decay);
            checks.below_one("optimizer.momentum", sgd.momentum);
            checks.require(
                !sgd.nesterov || sgd.momentum != 0.0,
                ["optimizer.nesterov", "optimizer.momentum"],
                || "`optimizer.nesterov` is true, but `optimizer.momentum` is 0".into(),
                "`optimizer.nesterov=false`, or a momentum such as 0.9",
            );
        }
        OptimizerConfig::Adam(adam) => {
            checks.not_negative("optimizer.weight_decay", adam.weight_decay);
            checks.below_one("optimizer.beta1", adam.beta1);
            checks.below_one("optimizer.beta2", adam.beta2);
            checks.positive("optimizer.eps", adam.eps);
        }
        OptimizerConfig::Adamw(adamw) => {
            checks.not_negative("optimizer.weight_decay", adamw.weight_decay);
            checks.below_one("optimizer.beta1", adamw.beta1);
            checks.below_one("optimizer.beta2", adamw.beta2);
            checks.positive("optimizer.eps", adamw.eps);
        }
        OptimizerConfig::Lars(lars) => {
            checks.not_negative("optimizer.weight_decay", lars.weight_decay);
            checks.below_one("optimizer.momentum", lars.momentum);
            checks.positive("optimizer.trust_coefficient", lars.trust_coefficient);
        }
    }
}

fn check_schedule(config: &RunConfig, checks: &mut Checks) {
    let schedule = &config.schedule;
    checks.not_negative("schedule.warmup_epochs", schedule.warmup_epochs);
    checks.fraction("schedule.final_lr_fraction", schedule.final_lr_fraction);
    checks.count("schedule.step_epochs", schedule.step_epochs, 1, u64::MAX);
    checks.positive("schedule.gamma", schedule.gamma);
    checks.count("schedule.reference_batch", schedule.reference_batch as u64, 1, MAX_BATCH);
    if let Some(max_epochs) = config.trainer.max_epochs {
        let warmup = schedule.warmup_epochs;
        checks.require(
            !warmup.is_finite() || warmup <= max_epochs as f64 || max_epochs == 0,
            ["schedule.warmup_epochs", "trainer.max_epochs"],
            || {
                format!("`schedule.warmup_epochs` = {warmup} is longer than the run, `trainer.max_epochs` = {max_epochs}")
            },
            "shorten the warm-up, or train for longer",
        );
    }
}

fn check_eval(config: &RunConfig, checks: &mut Checks) {
    let (eval, checkpoint) = (&config.eval, &config.checkpoint);
    checks.count("eval.batch_size", eval.batch_size as u64, 1, MAX_BATCH);
    checks.count("eval.knn.k", eval.knn.k as u64, 1, 1 << 20);
    checks.positive("eval.knn.temperature", eval.knn.temperature);
    checks.count("eval.linear.iterations", eval.linear.iterations as u64, 1, 1_000_000);
    checks.not_negative("eval.linear.weight_decay", eval.linear.weight_decay);
    for probe in &eval.probes {
        checks.filled("eval.probes", probe);
    }

    let split = config.data.splits.get(&config.data.split);
    let by_itself = config.data.kind == DataKind::Images || config.trainer.overfit;
    let held_out = by_itself
        || split.is_none_or(|split| {
            !split.test.is_empty()
                || !split.val.is_empty()
                || split.test_fraction != 0.0
                || split.val_fraction != 0.0
        });
    checks.require(
        held_out || eval.every_epochs == 0,
        ["eval.every_epochs", "data.split", "data.splits"],
        || {
            let (every, name) = (eval.every_epochs, &config.data.split);
            format!(
                "`eval.every_epochs` is {every}, but `data.split` = {name} holds nothing out to evaluate on"
            )
        },
        "give the split a `test_fraction` or `val_fraction`, or switch evaluation off: `eval.every_epochs=0`",
    );

    checks.count("checkpoint.keep_last", checkpoint.keep_last as u64, 1, 1_000_000);
    checks.require(
        checkpoint.every_steps != Some(0),
        ["checkpoint.every_steps"],
        || "`checkpoint.every_steps` is 0".into(),
        "`checkpoint.every_steps=null` saves at the end of each epoch",
    );
    if let Some(monitor) = &checkpoint.monitor {
        checks.filled("checkpoint.monitor", monitor);
        let evaluated = monitor.starts_with("val/") || monitor.starts_with("test/");
        // A recipe's monitor finds nothing to watch when evaluation is switched off, and no checkpoint is the best.
        checks.require_of_typed(
            !evaluated || eval.every_epochs > 0,
            ["checkpoint.monitor", "eval.every_epochs"],
            || format!("`checkpoint.monitor` is `{monitor}`, but evaluation is off: `eval.every_epochs` = 0"),
            "switch evaluation on, or `checkpoint.monitor=null`",
        );
    }
}
