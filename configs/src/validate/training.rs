//! Checks of everything but `data` and `augment`.

use super::schedules;
use crate::checks::Checks;
use crate::schema::{DeviceChoice, InitConfig, MadeFor, MethodFacts, Precision, RunConfig};

/// Largest batch: a batch's spectrograms must be countable in memory.
pub(super) const MAX_BATCH: u64 = 1 << 22;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    check_run(config, checks);
    check_trainer(config, checks);
    config.method.settings().check(config, checks);
    config.optimizer.check(checks);
    schedules::check(config, checks);
    check_schedule(config, checks);
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
    checks.count("checkpoint.keep_last", checkpoint.keep_last as u64, 1, 1_000_000);
    checks.require(
        checkpoint.every_steps != Some(0),
        ["checkpoint.every_steps"],
        || "`checkpoint.every_steps` is 0".into(),
        "`checkpoint.every_steps=null` saves at the end of each epoch",
    );
    if let Some((monitor, _)) = checkpoint.monitored() {
        checks.filled("checkpoint.monitor", monitor);
        let evaluated = monitor.starts_with("val/") || monitor.starts_with("test/");
        // A recipe's monitor finds nothing to watch when evaluation is switched off, and no checkpoint is the best.
        checks.require_of_asked(
            !evaluated || config.eval.every_epochs > 0,
            ["checkpoint.monitor", "eval.every_epochs"],
            || format!("`checkpoint.monitor` is `{monitor}`, but evaluation is off: `eval.every_epochs` = 0"),
            "switch evaluation on, or `checkpoint.monitor=null`",
        );
    }
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
    if let Some(network) = &config.init.network {
        checks.filled("init.network", network);
    }
    checks.require(
        config.init_from.is_some() || config.init == InitConfig::default(),
        ["init", "init_from"],
        || "`init` says what becomes of weights to start from, and `init_from` names none".into(),
        "name them: `init_from=FILE`",
    );
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
    checks.count("trainer.loss_tile", trainer.loss_tile.value().unwrap_or(1) as u64, 1, MAX_BATCH);
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
    config.model.check(checks);
    check_precision(config, checks);
    check_second_order(config.method.name(), &config.method.facts(), trainer.precision, checks);
    checks.count("trainer.prefetch_batches", trainer.prefetch_batches as u64, 1, 1024);
    checks.count("trainer.prefetch_bytes", trainer.prefetch_bytes, 1, u64::MAX);
}

fn check_comm(config: &RunConfig, checks: &mut Checks) {
    checks.positive("comm.timeout_secs", config.comm.timeout_secs);
    checks.positive("comm.slow_work_timeout_secs", config.comm.slow_work_timeout_secs);
    checks.positive("comm.connect_timeout_secs", config.comm.connect_timeout_secs);
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

/// A scale on the loss does not come out of what is not linear in its gradients, and eight bits of mantissa are noise after two
/// derivatives.
fn check_second_order(method: &str, facts: &MethodFacts, precision: Precision, checks: &mut Checks) {
    checks.require(
        !facts.second_order || !matches!(precision, Precision::Fp16 | Precision::Bf16),
        ["trainer.precision", "method.name"],
        || {
            let word = if precision == Precision::Fp16 { "fp16" } else { "bf16" };
            format!(
                "`trainer.precision` is {word}, but `method.name` = {method} takes gradients of gradients, which 16 bits do not hold"
            )
        },
        "`trainer.precision=fp32`; `auto` takes it",
    );
}

fn check_schedule(config: &RunConfig, checks: &mut Checks) {
    let schedule = &config.schedule;
    checks.not_negative("schedule.warmup_epochs", schedule.warmup_epochs);
    checks.fraction("schedule.final_lr_fraction", schedule.final_lr_fraction);
    checks.count("schedule.step_epochs", schedule.step_epochs, 1, u64::MAX);
    checks.positive("schedule.gamma", schedule.gamma);
    checks.count("schedule.reference_batch", schedule.reference_batch as u64, 1, MAX_BATCH);
    check_made_for(&schedule.made_for, checks);
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

fn check_made_for(made_for: &[MadeFor], checks: &mut Checks) {
    let starts: Vec<u64> = made_for.iter().map(|span| span.from_step).collect();
    let is_length = |length: Option<u64>| length != Some(0);
    let holds = starts.first().is_none_or(|first| *first == 0)
        && starts.is_sorted_by(|a, b| a < b)
        && made_for.iter().all(|span| {
            let some = span.max_epochs.is_some() || span.max_steps.is_some();
            some && is_length(span.max_epochs) && is_length(span.max_steps)
        });
    checks.require(
        holds,
        ["schedule.made_for"],
        || "`schedule.made_for` must begin at step 0, rise, and name a length from each step on".into(),
        "leave it out: `schedule.length=keep` and `schedule.length=new` write it when a run goes on",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_gradients_are_refused_in_16_bits() {
        let refused = |second_order, precision| {
            let mut checks = Checks::default();
            let facts = MethodFacts { second_order, ..MethodFacts::default() };
            check_second_order("penalized", &facts, precision, &mut checks);
            checks.found.pop().map(|conflict| conflict.message)
        };
        for (precision, word) in [(Precision::Bf16, "bf16"), (Precision::Fp16, "fp16")] {
            let message = refused(true, precision).unwrap();
            assert!(message.contains(word) && message.contains("`method.name` = penalized"), "{message}");
            assert_eq!(refused(false, precision), None);
        }
        for precision in [Precision::Auto, Precision::Fp32, Precision::Fp64] {
            assert_eq!(refused(true, precision), None);
        }
    }

    #[test]
    fn what_becomes_of_weights_needs_weights() {
        let refused = super::super::messages(check, |config| config.init.sum_channels = true);
        assert_eq!(
            refused,
            ["`init` says what becomes of weights to start from, and `init_from` names none"]
        );
        let fine = super::super::messages(check, |config| {
            config.init.network = Some("teacher".into());
            config.init_from = Some("weights.pth".into());
        });
        assert!(fine.is_empty(), "{fine:?}");
        let empty = super::super::messages(check, |config| {
            config.init.network = Some(" ".into());
            config.init_from = Some("weights.pth".into());
        });
        assert_eq!(empty, ["`init.network` is empty"]);
    }
}
