//! The names of all metrics that a run writes, known before its first step: a monitor that nothing measures is refused
//! then, and not found out an epoch later.

use std::collections::BTreeSet;

use dtrain_configs::schema::{Alarm, Auto, EvalWeights, MetricSum};
use dtrain_configs::{Origins, RunConfig, choice_hint};

use crate::error::TrainError;
use crate::eval::{
    BEST, Subject, Thoroughness, evaluators, parts_at_end, parts_during, probe_metrics, test_stands_in,
};

/// What a run logs besides what its method does, in the order of the file.
const ALWAYS: [&str; 7] = [
    "opt/lr",
    "opt/grad_norm",
    "perf/samples_per_s",
    "perf/data_s",
    "perf/compute_s",
    "perf/wait_s",
    "perf/comm_exposed_s",
];
/// What it logs in some worlds, precisions and settings.
const SOMETIMES: [&str; 6] = [
    "opt/loss_scale",
    "perf/reuse",
    "perf/save_pause_s",
    "perf/save_wait_s",
    "perf/slowest_rank",
    "perf/straggling_s",
];

/// Before the names of alarms, which are logged when one is raised or clears.
const ALARMS: &str = "alarm/";

/// What most people look at first.
const JUDGING: [&str; 9] = [
    "val/loss",
    "val/acc",
    "val/knn_top1",
    "test/loss",
    "test/acc",
    "test/knn_top1",
    "test/linear_top1",
    "train/loss",
    "train/acc",
];

/// Names of metrics by when they are measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MetricNames {
    /// With training steps or with every evaluation during training.
    during: BTreeSet<String>,
    /// By the evaluation that ends the run.
    at_end: BTreeSet<String>,
}

impl MetricNames {
    /// Of a run that evaluates `subject`, and probes `banks`, by the names of their parts.
    pub fn of(config: &RunConfig, subject: &Subject<'_>, banks: &[(&str, Subject<'_>)]) -> Self {
        let method = subject.method;
        let mut during: BTreeSet<String> = ALWAYS.iter().chain(&SOMETIMES).map(|&name| name.into()).collect();
        during.insert("train/loss".into());
        during.extend(Alarm::ALL.map(|alarm| format!("{ALARMS}{}", alarm.as_str())));
        if config.phases.enabled {
            during.insert("train/phase".into());
        }
        let groups = config.optimizer.groups().iter().filter(|group| group.has_own_lr());
        during.extend(groups.map(|group| format!("opt/lr/{}", group.name)));
        let losses = method.loss_names();
        if losses.len() > 1 {
            during.extend(losses.iter().map(|loss| format!("train/{loss}_loss")));
        }
        during.extend(method.mean_names().iter().map(|mean| format!("train/{mean}")));
        if config.eval.every_epochs == 0 {
            return Self { during, at_end: BTreeSet::new() };
        }
        let evaluators = evaluators(subject);
        let names = |part: &str, last: bool| -> BTreeSet<String> {
            let linear = last || config.eval.linear.every_epochs > 0;
            let thoroughness = Thoroughness { linear, train: last };
            evaluators.iter().flat_map(|evaluator| evaluator.metrics(part, thoroughness)).collect()
        };
        let parts = parts_at_end(subject.dataset, &config.eval.parts);
        let mut at_end: BTreeSet<String> = parts.iter().flat_map(|(part, _)| names(part, true)).collect();
        // The first part is that of evaluations during training, under the name of a validation part.
        let first = if parts.is_empty() { BTreeSet::new() } else { names("val", false) };
        let further = parts_during(subject.dataset, &config.eval.during);
        during.extend(further.iter().skip(1).flat_map(|(part, _)| names(part, false)));
        if test_stands_in(subject.dataset) {
            at_end.extend(names("val", true));
        }
        during.extend(first);
        for (part, bank) in banks {
            let names = |linear: bool| probe_metrics(bank, part, Thoroughness { linear, train: false });
            during.extend(names(config.eval.linear.every_epochs > 0));
            at_end.extend(names(true));
        }
        if during.contains("val/acc") {
            during.insert(BEST.into());
        }
        Self { during, at_end }
    }

    /// All of them.
    #[cfg(test)]
    pub fn all(&self) -> BTreeSet<String> {
        self.during.union(&self.at_end).cloned().collect()
    }

    /// Those that runs are told apart by: the monitors, then what most people look at, as far as it is measured.
    pub fn judging(&self, config: &RunConfig) -> Vec<String> {
        let monitors = [config.checkpoint.monitored(), config.stop.monitored()].into_iter().flatten();
        let monitors = monitors.map(|(name, _)| name).chain(config.optimized_metric.as_deref());
        let mut names: Vec<String> = Vec::new();
        for name in monitors.chain(JUDGING) {
            let is_measured =
                parts_of(name).iter().all(|part| self.during.contains(part) || self.at_end.contains(part));
            if is_measured && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    fn hint(&self, name: &str) -> String {
        let told: Vec<&str> = self
            .during
            .union(&self.at_end)
            .map(String::as_str)
            .filter(|known| ![ALARMS, "perf/", "opt/"].iter().any(|before| known.starts_with(before)))
            .collect();
        let as_here = in_our_words(name);
        match told.iter().find(|known| **known == as_here) {
            Some(known) => format!("did you mean `{known}`?"),
            None => choice_hint(name, told.iter().copied()),
        }
    }
}

/// A name as it would be here: `val_accuracy` and `valid/accuracy` are `val/acc`.
fn in_our_words(name: &str) -> String {
    let lower = name.to_lowercase();
    let (part, rest) = lower.split_once(['/', '_', '-', '.']).unwrap_or((&lower, ""));
    let part = match part {
        "valid" | "validation" | "eval" | "dev" => "val",
        "training" => "train",
        part => part,
    };
    format!("{part}/{}", rest.replace("accuracy", "acc").replace(['-', '.'], "_"))
}

/// Looks at every setting that names a metric. What the user asked for has to be measured; what an experiment brings along
/// and these data, method or probes do not measure is left out. Returns the notes about that. A monitor that is left to the
/// method becomes the first of `own` that is measured, and a direction that is left open that of the metric's name.
///
/// # Errors
/// A metric that is asked for and never measured, or not before the end where it should decide something on the way.
pub(super) fn check(
    config: &mut RunConfig,
    origins: &Origins,
    names: &MetricNames,
    own: &[&str],
) -> Result<Vec<String>, TrainError> {
    if config.checkpoint.monitor == Some(Auto::Auto) {
        let measured = own.iter().find(|name| names.during.contains(**name));
        config.checkpoint.monitor = measured.map(|name| Auto::Value((*name).to_owned()));
    }
    let is_off = config.eval.every_epochs == 0;
    let mut notes = Vec::new();
    let best = config.checkpoint.monitored().map(|(name, _)| name.to_owned());
    let leave_out_best: LeaveOut = |config| config.checkpoint.monitor = None;
    let leave_out_stop: LeaveOut = |config| config.stop.monitor = None;
    let leave_out_optimized: LeaveOut = |config| config.optimized_metric = None;
    let settings = [
        ("checkpoint.monitor", best, leave_out_best, "no checkpoint is kept as the best"),
        (
            "stop.monitor",
            config.stop.monitor.clone(),
            leave_out_stop,
            "nothing ends the run before its last step",
        ),
        (
            "optimized_metric",
            config.optimized_metric.clone(),
            leave_out_optimized,
            "`result.json` has no value to optimize",
        ),
    ];
    let parts = settings.into_iter().flat_map(|(key, setting, leave_out, consequence)| {
        let parts = setting.map_or_else(Vec::new, |text| parts_of(&text));
        parts.into_iter().map(move |part| (key, part, leave_out, consequence))
    });
    for (key, name, leave_out, consequence) in parts {
        let decides = key != "optimized_metric";
        let at_end = names.at_end.contains(&name);
        if names.during.contains(&name) || at_end && !decides {
            continue;
        }
        let (what, hint) = if at_end && name.contains("linear") {
            (
                "is measured at the end only",
                "`eval.linear.every_epochs=1` measures it after every epoch".into(),
            )
        } else if at_end {
            ("is measured at the end only", format!("choose by the validation part: {}", names.hint(&name)))
        } else if is_off && names.hint(&name).starts_with("there are") {
            ("nothing measures, since evaluation is off", "`eval.every_epochs=1` switches it on".into())
        } else {
            ("this run does not measure", names.hint(&name))
        };
        if origins.is_asked(key) {
            let message = format!("`{key}` is `{name}`, which {what}{}", origins.snippet(key));
            return Err(TrainError::config(message, hint));
        }
        // Who switches evaluation off knows.
        if !is_off {
            notes.push(format!("`{key}` is `{name}`, which {what}: {consequence}; {hint}"));
        }
        leave_out(config);
    }
    choose_directions(config);
    Ok(notes)
}

/// `eval.weights=best` needs a metric that names the best weights.
///
/// # Errors
/// There is none, and the user asked for it.
pub(super) fn check_weights(
    config: &mut RunConfig,
    origins: &Origins,
    names: &MetricNames,
    notes: &mut Vec<String>,
) -> Result<(), TrainError> {
    if config.eval.weights != EvalWeights::Best || config.checkpoint.monitored().is_some() {
        return Ok(());
    }
    let what = "`eval.weights` is best, but no metric that this run measures names the best weights";
    if origins.is_asked("eval.weights") {
        let judging = names.judging(config);
        let example = judging.iter().find(|name| names.during.contains(*name));
        let example = example.map_or("train/loss", String::as_str);
        let message = format!("{what}{}", origins.snippet("eval.weights"));
        return Err(TrainError::config(message, format!("name one, such as `checkpoint.monitor={example}`")));
    }
    notes.push(format!("{what}: the last ones are evaluated"));
    config.eval.weights = EvalWeights::Last;
    Ok(())
}

/// Puts what was chosen for `auto` into the settings as they were asked for.
pub(crate) fn fill_in(asked: &mut RunConfig, chosen: &RunConfig) {
    let (checkpoint, stop) = (&chosen.checkpoint, &chosen.stop);
    if asked.checkpoint.monitor == Some(Auto::Auto) && checkpoint.monitor.is_some() {
        asked.checkpoint.monitor.clone_from(&checkpoint.monitor);
    }
    if asked.checkpoint.mode == Auto::Auto {
        asked.checkpoint.mode = checkpoint.mode;
    }
    if asked.stop.mode == Auto::Auto {
        asked.stop.mode = stop.mode;
    }
}

/// The metrics that a monitor's text names.
fn parts_of(text: &str) -> Vec<String> {
    MetricSum::parse(text)
        .map_or_else(|_| vec![text.to_owned()], |sum| sum.names().map(str::to_owned).collect())
}

/// Takes a setting back.
type LeaveOut = fn(&mut RunConfig);

fn choose_directions(config: &mut RunConfig) {
    if let Some((_, mode)) = config.checkpoint.monitored() {
        config.checkpoint.mode = Auto::Value(mode);
    }
    if let Some((_, mode)) = config.stop.monitored() {
        config.stop.mode = Auto::Value(mode);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use dtrain_comm::Single;
    use dtrain_configs::{ComposeOptions, compose};
    use dtrain_data::synth;

    use super::*;
    use crate::run::prepare::subject;
    use crate::run::{Extent, Purpose, Silent, StopFlag, TrainRequest, prepare, train};

    /// A run of two steps of two epochs with every probe, and the names that were known before its first step.
    fn names_and_metrics(method: &str, dir: &Path, more: &[&str]) -> (BTreeSet<String>, BTreeSet<String>) {
        let fixed = [
            "experiment=null",
            "model=simple_cnn_64k",
            "eval.embeddings=true",
            "trainer.batch_size=16",
            "trainer.max_epochs=2",
            "trainer.limit_train_samples=32",
            "trainer.limit_eval_samples=32",
            "trainer.threads=1",
            "trainer.precision=fp32",
            "track.every_steps=1",
            "track.tensorboard=false",
        ];
        let words = [format!("method={method}"), format!("run.dir={}", dir.join(method).display())];
        let all = fixed.iter().chain(more).map(|&word| word.to_owned()).chain(words).collect::<Vec<_>>();
        let composition = compose(&all, &ComposeOptions::default()).unwrap();
        let ranks: Arc<dyn dtrain_comm::Collective> = Arc::new(Single::new());
        let prepared = prepare(composition.config.clone(), &ranks, Purpose::Train, None).unwrap();
        let names = MetricNames::of(&prepared.config, &subject(&prepared), &[]).all();
        let outcome = train(TrainRequest {
            config: composition.config,
            origins: composition.origins,
            overrides: all,
            collective: ranks,
            observer: &mut Silent,
            stop: StopFlag::default(),
            extent: Extent::Full,
            git_revision: None,
            on_run_dir: &|_| Ok(()),
        });
        (names, outcome.unwrap().unwrap().metrics.into_keys().collect())
    }

    /// Every name that is promised is written, and nothing else is: a name that drifts would refuse a good monitor, or
    /// let a bad one pass.
    #[test]
    fn the_list_is_complete_for_every_method() {
        let dir = tempfile::tempdir().unwrap();
        let sounds = dir.path().join("sounds");
        synth::ensure(synth::RecordingSetKind::SpokenDigits, 0, 0.1, &sounds).unwrap();
        let images = dir.path().join("images");
        synth::ensure_images(synth::ImageSetKind::Digits, 0, 0.02, &images).unwrap();
        let (sounds, images) =
            (format!("data.root={}", sounds.display()), format!("data.root={}", images.display()));
        for (method, more) in [
            ("simclr", vec!["data=fsdd", "eval.probes=[speaker]", &sounds]),
            ("supcon", vec!["data=fsdd", "eval.linear.every_epochs=1", &sounds]),
            ("supervised", vec!["data=fsdd", "data.splits.take.val_fraction=0", &sounds]),
            ("multihead", vec!["data=digits", &images]),
            ("multihead", vec!["data=digits", "eval.embeddings=false", "run.dir=unused", &images]),
        ] {
            let folder = dir.path().join(more.join("-").replace('/', "_"));
            let (promised, written) = names_and_metrics(method, &folder, &more);
            let unexpected: Vec<_> = written.difference(&promised).collect();
            assert!(unexpected.is_empty(), "{method} writes {unexpected:?}, which nobody promised");
            let sometimes = |name: &&String| !SOMETIMES.contains(&name.as_str()) && !name.starts_with(ALARMS);
            let missing: Vec<_> = promised.difference(&written).filter(sometimes).collect();
            assert!(missing.is_empty(), "{method} never writes {missing:?}");
        }
    }

    #[test]
    fn names_of_other_tools_are_understood() {
        for (theirs, ours) in [
            ("val_loss", "val/loss"),
            ("val/accuracy", "val/acc"),
            ("validation-accuracy", "val/acc"),
            ("valid.knn_top1", "val/knn_top1"),
            ("loss", "loss/"),
        ] {
            assert_eq!(in_our_words(theirs), ours);
        }
    }
}
