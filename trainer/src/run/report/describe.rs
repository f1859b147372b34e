//! What the start banner says of a prepared run: what it will do, in derived quantities, with the reason of each automatic
//! choice.

use dtrain_comm::World;
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{CheckpointConfig, LabelUse};
use dtrain_data::GroupRequest;

use super::banner::Banner;
use super::groups::describe_groups;
use super::phases::describe_phases;
use crate::bytes::Bytes;
use crate::eval::test_stands_in;
use crate::method::HeadTask;
use crate::run::prepare::{Prepared, code_warnings, head_warnings};
use crate::state::{Layout, Staging};

/// The derived quantities of a prepared run.
pub(crate) fn describe(prepared: &Prepared) -> Banner {
    let mut banner = Banner::default();
    describe_world(&mut banner, prepared);
    describe_network(&mut banner, prepared);
    describe_data(&mut banner, prepared);
    describe_labels(&mut banner, prepared);
    describe_views(&mut banner, prepared);
    describe_steps(&mut banner, prepared);
    describe_groups(&mut banner, prepared);
    describe_phases(&mut banner, prepared);
    describe_monitors(&mut banner, &prepared.config);
    describe_sampling(&mut banner, prepared);
    let warnings = prepared.dataset.warnings.iter().chain(&prepared.notes);
    for warning in warnings.chain(&head_warnings(&prepared.config, &prepared.dataset)) {
        banner.warn(warning);
    }
    for warning in code_warnings(&prepared.config, &prepared.dataset, normalized_together(prepared)) {
        banner.warn(warning);
    }
    banner
}

/// Samples whose statistics batch norm takes together, at most.
fn normalized_together(prepared: &Prepared) -> usize {
    let (config, settings) = (&prepared.config, prepared.engine.settings());
    let world_size = world_of(prepared).world_size;
    let share = config.trainer.batch_size.div_ceil(world_size.max(1));
    let own = settings.micro_batch.unwrap_or(share).min(share);
    if settings.sync_bn { (own * world_size).min(config.trainer.batch_size) } else { own }
}

/// The ranks, and what was chosen for them.
fn describe_world(banner: &mut Banner, prepared: &Prepared) {
    let world = world_of(prepared);
    banner.line("experiment", prepared.config.experiment.as_deref().unwrap_or("(none)"), "");
    banner.line("world size", world.world_size, world.source.name());
    for choice in &prepared.choices {
        banner.line(choice.key, &choice.value, &choice.reason);
        if let Some(warning) = &choice.warning {
            banner.warn(warning);
        }
    }
}

fn world_of(prepared: &Prepared) -> &World {
    prepared.engine.collective().world()
}

fn describe_network(banner: &mut Banner, prepared: &Prepared) {
    let (config, engine) = (&prepared.config, &prepared.engine);
    let parameters = engine.parameters().num_elements() as f64 / 1e6;
    banner.line("model", config.model.name(), format!("{parameters:.2} M parameters"));
    banner.line("method", config.method.name(), format!("{} views", engine.method().num_views()));
}

fn describe_data(banner: &mut Banner, prepared: &Prepared) {
    let dataset = &prepared.dataset;
    banner.line(
        "data",
        dataset.root.display(),
        format!(
            "{} samples: {} train, {} val, {} test; {}",
            dataset.num_samples(),
            dataset.train.len(),
            dataset.val.len(),
            dataset.test.len(),
            dataset.source.words(&prepared.config.data).parts,
        ),
    );
    let eval = &prepared.config.eval;
    let largest = dataset.train.len().max(dataset.val.len());
    if eval.every_epochs > 0 && eval.budget > 0.0 && largest > eval.min_samples {
        banner.line(
            "evaluation",
            format!("at most {} % of the training time between two", 100.0 * eval.budget),
            format!(
                "on {} samples of a part or more, drawn by class; on all of them at the end",
                eval.min_samples
            ),
        );
    }
    if test_stands_in(dataset) && prepared.config.eval.every_epochs > 0 {
        banner.line(
            "validation",
            "test in place of val",
            "there is no val part: `val/...` is measured on test, and what is chosen by it is chosen on test",
        );
    }
}

/// The target, or every head of a method that learns all labels.
fn describe_labels(banner: &mut Banner, prepared: &Prepared) {
    let (config, method) = (&prepared.config, prepared.engine.method());
    if config.method.facts().labels == LabelUse::EveryLabel {
        for (head, weight) in method.heads().iter().zip(method.loss_weights()) {
            let name = format!("head {}", head.name);
            banner.line(&name, format!("weight {weight}"), describe_head(head, config));
        }
    } else if let Some(label) = prepared.dataset.label(&config.data.target) {
        let classes = label.classes.len();
        let (chance, entropy) = (100.0 / classes as f64, (classes as f64).ln());
        banner.line(
            "target",
            &label.name,
            format!("{classes} classes, chance {chance:.2} %, ln K = {entropy:.3}"),
        );
    }
}

fn describe_head(head: &HeadTask, config: &RunConfig) -> String {
    let Some(heads) = config.method.heads() else { return String::new() };
    let loss = heads.settings(&head.name, !head.values.is_empty()).loss;
    let loss = serde_json::to_value(loss).unwrap_or_default();
    let range = match (head.values.first(), head.values.last()) {
        (Some(first), Some(last)) => format!(" from {first} to {last}"),
        _ => String::new(),
    };
    format!("{} classes{range}, {}", head.num_classes, loss.as_str().unwrap_or_default())
}

fn describe_views(banner: &mut Banner, prepared: &Prepared) {
    let [c, h, w] = prepared.maker.shape();
    let origin = prepared.dataset.source.words(&prepared.config.data).views;
    banner.line("view", format!("{c} x {h} x {w}"), origin);
    let groups = prepared.engine.method().view_groups();
    for group in groups.iter().skip(1).filter(|group| group.num_views > 0) {
        if let Some([c, h, w]) = prepared.maker.shape_of(group.spec) {
            let name = if group.spec == GroupRequest::MASKS { "mask" } else { "small view" };
            banner.line(name, format!("{c} x {h} x {w}"), format!("{} of each sample", group.num_views));
        }
    }
}

/// Batch, length and learning rate.
fn describe_steps(banner: &mut Banner, prepared: &Prepared) {
    let (config, plan, world) = (&prepared.config, &prepared.plan, world_of(prepared));
    let largest = config.trainer.batch_size.div_ceil(world.world_size);
    banner.line(
        "global batch",
        config.trainer.batch_size,
        format!("at most {largest} samples per rank, over {} ranks", world.world_size),
    );
    let epochs = plan.total_steps as f64 / plan.steps_per_epoch as f64;
    banner.line("steps", plan.total_steps, format!("{} per epoch, {epochs:.1} epochs", plan.steps_per_epoch));
    let warmup = (config.schedule.warmup_epochs * plan.steps_per_epoch as f64).round();
    banner.line(
        "learning rate",
        format!("{:.3e}", prepared.engine.peak_lr()),
        format!("{} {}, peak after {warmup} steps", config.optimizer.name(), config.optimizer.lr()),
    );
}

/// What names the best weights, and what ends the run early.
fn describe_monitors(banner: &mut Banner, config: &RunConfig) {
    match config.checkpoint.monitored() {
        Some((monitor, mode)) => banner.line("best weights", monitor, format!("{} is better", mode.word())),
        None => banner.line("best weights", "(none)", "no metric names them"),
    }
    if let Some((monitor, mode)) = config.stop.monitored() {
        let direction = mode.word();
        let patience = config.stop.patience;
        banner.line(
            "early stopping",
            monitor,
            format!("{direction} is better, ends after {patience} evaluations without improvement"),
        );
    }
}

fn describe_sampling(banner: &mut Banner, prepared: &Prepared) {
    for note in prepared.sampler.iter().flat_map(|sampler| sampler.notes()) {
        banner.line("sampling", note, "");
    }
}

/// Says when checkpoints are written, and what the copies take.
pub(crate) fn describe_saving(banner: &mut Banner, config: &CheckpointConfig, layouts: &[Layout]) {
    let when = match config.every_steps {
        Some(0) => return banner.line("checkpoints", "none", "`checkpoint.every_steps` = 0"),
        Some(steps) => format!("every {steps} steps"),
        None => "at each end of an epoch".to_owned(),
    };
    let copy = Bytes(Staging::num_bytes(layouts.iter().flat_map(|layout| &layout.tensors)));
    let how = if config.asynchronous {
        format!("written while training goes on, from a copy of {copy} on rank 0")
    } else {
        "training waits for the disk".to_owned()
    };
    banner.line("checkpoints", when, how);
    if let Some((dir, steps)) = config.local_dir.as_ref().zip(config.local_every_steps) {
        banner.line("local checkpoints", format!("every {steps} steps"), format!("in {}", dir.display()));
    }
}
