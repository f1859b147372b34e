//! The start banner: what this run will do, in derived quantities, with the reason of each automatic choice.

use dtrain_configs::RunConfig;
use dtrain_configs::schema::LabelUse;
use dtrain_data::Source;

use super::prepare::Prepared;
use crate::method::HeadTask;

/// One line of the banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What the value is.
    pub name: String,
    /// The value.
    pub value: String,
    /// Why it was chosen or how it was derived; may be empty.
    pub reason: String,
}

/// What is printed before step 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Banner {
    /// In order.
    pub lines: Vec<Line>,
    /// Things to know that are not errors, each with its remedy.
    pub warnings: Vec<String>,
}

impl Banner {
    /// Adds a line.
    pub fn line(&mut self, name: &str, value: impl std::fmt::Display, reason: impl std::fmt::Display) {
        self.lines.push(Line { name: name.into(), value: value.to_string(), reason: reason.to_string() });
    }

    /// Adds a warning.
    pub fn warn(&mut self, message: impl std::fmt::Display) {
        self.warnings.push(message.to_string());
    }
}

/// As written in `model.name`.
fn model_name(config: &RunConfig) -> String {
    let name = serde_json::to_value(config.model.name).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// The derived quantities of a prepared run.
pub(super) fn describe(prepared: &Prepared) -> Banner {
    let mut banner = Banner::default();
    let config = &prepared.config;
    let world = prepared.engine.collective().world();
    let dataset = &prepared.dataset;
    banner.line("experiment", config.experiment.as_deref().unwrap_or("(none)"), "");
    banner.line("world size", world.world_size, world.source.name());
    for choice in &prepared.choices {
        banner.line(choice.key, &choice.value, &choice.reason);
        if let Some(warning) = &choice.warning {
            banner.warn(warning);
        }
    }
    let parameters = prepared.engine.parameters().num_elements() as f64 / 1e6;
    banner.line("model", model_name(config), format!("{parameters:.2} M parameters"));
    banner.line("method", config.method.name(), format!("{} views", prepared.engine.method().num_views()));
    banner.line(
        "data",
        dataset.root.display(),
        format!(
            "{} samples: {} train, {} val, {} test{}",
            dataset.num_samples(),
            dataset.train.len(),
            dataset.val.len(),
            dataset.test.len(),
            match &dataset.source {
                Source::Recordings(_) => format!("; split `{}`", config.data.split),
                Source::Images(images) => format!("; {}", images.format().name()),
            }
        ),
    );
    let heads = prepared.engine.method().heads();
    let several = config.method.facts().labels == LabelUse::EveryLabel;
    match dataset.label(&config.data.target) {
        Some(label) if !several => {
            let classes = label.classes.len();
            let (chance, entropy) = (100.0 / classes as f64, (classes as f64).ln());
            banner.line(
                "target",
                &label.name,
                format!("{classes} classes, chance {chance:.2} %, ln K = {entropy:.3}"),
            );
        }
        _ => {}
    }
    for (head, weight) in heads.iter().filter(|_| several).zip(prepared.engine.method().loss_weights()) {
        banner.line(&format!("head {}", head.name), format!("weight {weight}"), describe_head(head, config));
    }
    let [c, h, w] = prepared.maker.shape();
    banner.line(
        "view",
        format!("{c} x {h} x {w}"),
        match &dataset.source {
            Source::Recordings(_) => {
                format!("{} s at {} Hz", config.data.audio.clip_secs, config.data.audio.sample_rate)
            }
            Source::Images(_) => "from the data".to_owned(),
        },
    );
    let largest = config.trainer.batch_size.div_ceil(world.world_size);
    banner.line(
        "global batch",
        config.trainer.batch_size,
        format!("at most {largest} samples per rank, over {} ranks", world.world_size),
    );
    let plan = &prepared.plan;
    banner.line(
        "steps",
        plan.total_steps,
        format!(
            "{} per epoch, {:.1} epochs",
            plan.steps_per_epoch,
            plan.total_steps as f64 / plan.steps_per_epoch as f64
        ),
    );
    let warmup = (config.schedule.warmup_epochs * plan.steps_per_epoch as f64).round();
    banner.line(
        "learning rate",
        format!("{:.3e}", prepared.engine.peak_lr()),
        format!("{} {}, peak after {warmup} steps", config.optimizer.name(), config.optimizer.lr()),
    );
    super::phases::describe(prepared, &mut banner);
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
    if let Some(sampler) = &prepared.sampler {
        for note in sampler.notes() {
            banner.line("sampling", note, "");
        }
    }
    let warnings = dataset.warnings.iter().chain(&prepared.notes);
    for warning in warnings.chain(&super::heads::warnings(config, dataset)) {
        banner.warn(warning);
    }
    banner
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
