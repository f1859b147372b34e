//! From a study to a plan: every trial's settings are composed and checked before anything starts.

use std::collections::{BTreeMap, HashMap, HashSet};

use dtrain_configs::schema::{DeviceChoice, MonitorMode};
use dtrain_configs::sweep::{Combination, Halving, Stage, Study};
use dtrain_configs::{ComposeOptions, RunConfig, compose, flat_settings};

use super::halving::mixed;
use super::plan::{Header, Plan, PlannedStage, Taken, Trial};
use crate::exit::Exit;
use crate::failure::Failure;

/// Trials with mistakes that are printed; more than this many are counted.
const MAX_PRINTED: usize = 5;

/// What a plan needs besides its study.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The metric, where the command line names one.
    pub optimize: Option<String>,
    /// Which way it is better, where the command line says so.
    pub direction: Option<MonitorMode>,
    /// Where else settings may live.
    pub options: ComposeOptions,
    /// Processes of a trial.
    pub ranks: usize,
    /// Seconds of a lease.
    pub lease_secs: f64,
}

/// A trial that was not composed yet.
struct Draft {
    stage: usize,
    number: usize,
    combination: Combination,
    settings: Vec<String>,
    /// As composed, with a stand-in for what is taken of earlier stages.
    words: Vec<String>,
}

/// What is told of the trials besides the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether all are told to leave GPUs alone.
    pub on_cpu: bool,
}

/// Makes the plan of a study.
///
/// # Errors
/// Everything that is wrong with its trials, all at once.
pub(crate) fn make(study: &Study, frame: &Frame) -> Result<(Plan, Facts), Failure> {
    let drafts = drafts(study);
    if drafts.is_empty() {
        let hint = "give a setting several values, such as `optimizer.lr=1e-3,1e-4`";
        return Err(usage("the sweep has no trials", hint));
    }
    refuse_places(&drafts)?;
    let composed = compose_all(&drafts, study, &frame.options)?;
    let config = |draft: &Draft| composed.get(&essence(&draft.words));
    let first = drafts.first().and_then(config);
    let optimize = frame.optimize.clone().or_else(|| study.optimize.clone());
    let optimize = optimize.or_else(|| first.and_then(|found| found.config.optimized_metric.clone()));
    let optimize = optimize.or_else(|| {
        first.and_then(|found| found.config.checkpoint.monitored().map(|(name, _)| name.to_owned()))
    });
    let Some(optimize) = optimize else {
        let hint = "say it with `--optimize val/acc`, `optimize:` in the study or `optimized_metric=val/acc`";
        return Err(usage("nothing says by which metric trials are compared", hint));
    };
    let direction = frame.direction.or(study.direction);
    if let (None, Some(stage)) = (direction, study.stages.iter().find(|stage| stage.halving.is_some())) {
        return Err(usage(
            format!(
                "stage `{}` stops trials that lag behind, and nothing says which way `{optimize}` is better",
                stage.name
            ),
            "write `direction: max` or `direction: min`",
        ));
    }
    let mut trials = Vec::new();
    for draft in &drafts {
        let Some(stage) = study.stages.get(draft.stage) else { continue };
        let found = config(draft);
        trials.push(Trial {
            id: format!("{}-{:04}", stage.name, draft.number),
            stage: draft.stage,
            name: name(draft, stage, found.map(|found| &found.config), study.stages.len() > 1)?,
            settings: draft.settings.clone(),
            values: draft.combination.values.clone(),
            rungs: match (stage.halving, found) {
                (Some(halving), Some(found)) => rungs(halving, &found.config, &stage.name)?,
                _ => Vec::new(),
            },
        });
    }
    check_names(&trials)?;
    let on_cpu = composed.values().all(|found| found.config.trainer.device == DeviceChoice::Cpu);
    let header = Header {
        format: 0,
        direction: direction.unwrap_or_else(|| MonitorMode::of_metric(&optimize)),
        optimize,
        settings: study.settings.clone(),
        config_dir: frame
            .options
            .config_dir
            .as_ref()
            .map(|dir| std::path::absolute(dir).unwrap_or(dir.clone())),
        working_dir: std::env::current_dir().unwrap_or_default(),
        ranks: frame.ranks,
        lease_secs: frame.lease_secs,
        stages: study.stages.iter().map(planned).collect(),
        checksum: String::new(),
    };
    Ok((Plan { header, trials }, Facts { on_cpu }))
}

fn planned(stage: &Stage) -> PlannedStage {
    PlannedStage {
        name: stage.name.clone(),
        take: stage
            .take
            .iter()
            .map(|take| Taken { key: take.key.clone(), stage: take.stage.clone(), folder: take.folder })
            .collect(),
        reduction: stage.halving.map(|halving| halving.reduction),
    }
}

/// The trials of all stages. What is taken of an earlier stage stands in by its first value there.
fn drafts(study: &Study) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (index, stage) in study.stages.iter().enumerate() {
        let taken: Vec<String> = stage
            .take
            .iter()
            .filter_map(|take| Some(format!("{}={}", take.key, values_of(study, take).first()?)))
            .collect();
        let common: Vec<String> = study.settings.iter().chain(&stage.settings).cloned().collect();
        let combinations = match stage.halving {
            Some(_) => mixed(stage.combinations()),
            None => stage.combinations(),
        };
        for (number, combination) in combinations.into_iter().enumerate() {
            let own: Vec<String> = combination.words().collect();
            let settings = common.iter().chain(&own).cloned().collect();
            let words = common.iter().chain(&taken).chain(&own).cloned().collect();
            drafts.push(Draft { stage: index, number: number + 1, combination, settings, words });
        }
    }
    drafts
}

/// All values that a stage may hand on.
fn values_of(study: &Study, take: &dtrain_configs::sweep::Take) -> Vec<String> {
    let stage = study.stages.iter().find(|stage| stage.name == take.stage && !take.folder);
    let Some(stage) = stage else { return Vec::new() };
    let mut values = Vec::new();
    for combination in stage.combinations() {
        if let Some(value) = combination.get(&take.key).filter(|value| !values.iter().any(|v| v == value)) {
            values.push(value.to_owned());
        }
    }
    values
}

/// Where a trial lives is for the sweep to say.
fn refuse_places(drafts: &[Draft]) -> Result<(), Failure> {
    let places = ["run.dir", "run.root", "run.resume"];
    let key = |word: &String| word.trim_start_matches('+').split('=').next().unwrap_or_default().to_owned();
    match drafts.iter().flat_map(|draft| &draft.words).map(key).find(|key| places.contains(&key.as_str())) {
        Some(key) => Err(usage(
            format!("`{key}` is among the settings of a sweep, which gives each trial a folder of its own"),
            "leave it out; `--dir DIR` places the sweep",
        )),
        None => Ok(()),
    }
}

struct Composed {
    config: RunConfig,
}

/// What a composition depends on: no check looks at the number that a seed is.
fn essence(words: &[String]) -> Vec<String> {
    let is_seed = |word: &&String| word.strip_prefix("seed=").is_some_and(|seed| seed.parse::<u64>().is_ok());
    words.iter().filter(|word| !is_seed(word)).cloned().collect()
}

/// Composes what differs, on all cores.
fn compose_all(
    drafts: &[Draft],
    study: &Study,
    options: &ComposeOptions,
) -> Result<HashMap<Vec<String>, Composed>, Failure> {
    // The first trial that has it is named in messages.
    let mut wanted: Vec<(Vec<String>, String)> = Vec::new();
    let mut seen = HashSet::new();
    for draft in drafts {
        let words = essence(&draft.words);
        if seen.insert(words.clone()) {
            wanted.push((words, described(draft, study)));
        }
    }
    for (index, stage) in study.stages.iter().enumerate() {
        let Some(draft) = drafts.iter().find(|draft| draft.stage == index) else { continue };
        for take in &stage.take {
            for value in values_of(study, take) {
                let prefix = format!("{}=", take.key);
                let swapped = |word: &String| {
                    if word.starts_with(&prefix) { format!("{prefix}{value}") } else { word.clone() }
                };
                let words: Vec<String> = essence(&draft.words).iter().map(swapped).collect();
                if seen.insert(words.clone()) {
                    wanted.push((
                        words,
                        format!("{}, `{prefix}{value}` of `{}`", described(draft, study), take.stage),
                    ));
                }
            }
        }
    }
    let num_threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let chunk = wanted.len().div_ceil(num_threads).max(1);
    let results: Vec<_> = std::thread::scope(|scope| {
        let compose_some = |part: &'_ [(Vec<String>, String)]| {
            part.iter().map(|(words, _)| compose(words, options)).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            wanted.chunks(chunk).map(|part| scope.spawn(move || compose_some(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let (mut composed, mut problems) = (HashMap::new(), Vec::new());
    for ((words, name), result) in wanted.into_iter().zip(results) {
        match result {
            Ok(composition) => {
                composed.insert(words, Composed { config: composition.config });
            }
            Err(errors) => {
                let text = errors.to_string();
                problems.push((name, text.strip_prefix("error: ").unwrap_or(&text).to_owned()));
            }
        }
    }
    if problems.is_empty() { Ok(composed) } else { Err(broken(&problems, drafts.len())) }
}

fn described(draft: &Draft, study: &Study) -> String {
    let words: Vec<String> = draft.combination.words().collect();
    let stage = study.stages.get(draft.stage).map(|stage| stage.name.as_str()).unwrap_or_default();
    format!("trial {} of `{stage}` ({})", draft.number, words.join(" "))
}

/// The same mistake of many trials is told once.
fn broken(problems: &[(String, String)], num_trials: usize) -> Failure {
    let mut by_text: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, text) in problems {
        by_text.entry(text).or_default().push(name);
    }
    let mut message = format!("{} of {num_trials} trials cannot be run; nothing was started", problems.len());
    for (text, names) in by_text.iter().take(MAX_PRINTED) {
        let name = names.first().copied().unwrap_or_default();
        let others = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        message.push_str(&format!("\n\n{name}{others}: {text}"));
    }
    if by_text.len() > MAX_PRINTED {
        message.push_str(&format!("\n\n... and {} more kinds of mistakes", by_text.len() - MAX_PRINTED));
    }
    Failure::agreed(Exit::Usage, message, None)
}

fn name(
    draft: &Draft,
    stage: &Stage,
    config: Option<&RunConfig>,
    several_stages: bool,
) -> Result<String, Failure> {
    let Some(template) = &stage.trial_name else {
        let number = format!("{:04}", draft.number);
        return Ok(if several_stages { format!("{}-{number}", stage.name) } else { number });
    };
    let settings = std::cell::OnceCell::new();
    let value = |key: &str| {
        if let Some(value) = draft.combination.get(key) {
            return Some(value.to_owned());
        }
        // A setting that varies is not there where its condition does not hold, whatever its default is.
        if stage.varies(key) {
            return None;
        }
        let settings = settings.get_or_init(|| config.map(flat_settings).unwrap_or_default());
        match settings.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Null => None,
            other => Some(other.to_string()),
        }
    };
    template.fill(&value).map_err(|key| {
        usage(
            format!(
                "`trial_name` of stage `{}` names `{key}`, which trial {} does not have",
                stage.name, draft.number
            ),
            format!("put the part that needs it in brackets: `[_{{{key}}}]`"),
        )
    })
}

pub(super) fn check_names(trials: &[Trial]) -> Result<(), Failure> {
    let mut seen: HashMap<&str, &Trial> = HashMap::new();
    for trial in trials {
        if trial.name.is_empty() || trial.name.starts_with('.') || trial.name.len() > 200 {
            return Err(usage(
                format!("`{}` is no name for the folder of a trial", trial.name),
                "let `trial_name` begin with a letter, and be shorter than 200 bytes",
            ));
        }
        if let Some(other) = seen.insert(&trial.name, trial) {
            return Err(usage(
                format!("two trials are called `{}`: {} and {}", trial.name, other.id, trial.id),
                "name all settings that vary in `trial_name`, `{seed}` among them",
            ));
        }
    }
    Ok(())
}

/// Where a trial is judged. Its plan has to be known before it starts.
fn rungs(halving: Halving, config: &RunConfig, stage: &str) -> Result<Vec<u64>, Failure> {
    let refuse = |what: &str, hint: &str| Err(usage(format!("`asha` of stage `{stage}`: {what}"), hint));
    let (Some(epochs), None) = (config.trainer.max_epochs, config.trainer.max_steps) else {
        return refuse(
            "rungs are parts of the epochs of a trial, and `trainer.max_steps` ends it",
            "give its length as `trainer.max_epochs=N trainer.max_steps=null`",
        );
    };
    if config.eval.every_epochs == 0 {
        return refuse("nothing is measured while a trial runs", "set `eval.every_epochs`");
    }
    let rungs = halving.rungs(epochs, config.eval.every_epochs);
    if rungs.is_empty() {
        return refuse(
            &format!(
                "{epochs} epochs with an evaluation every {} have no rung before the end",
                config.eval.every_epochs
            ),
            "train for longer, or evaluate more often",
        );
    }
    Ok(rungs)
}

fn usage(message: impl std::fmt::Display, hint: impl Into<String>) -> Failure {
    Failure::agreed(Exit::Usage, message, Some(hint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            optimize: None,
            direction: None,
            options: ComposeOptions::default(),
            ranks: 1,
            lease_secs: 60.0,
        }
    }

    fn planned(text: &str) -> Result<Plan, String> {
        let study = Study::of_text(text, "test.yaml").unwrap();
        make(&study, &frame())
            .map(|(plan, _)| plan)
            .map_err(|failure| format!("{}\nhint: {}", failure.message, failure.hint.unwrap_or_default()))
    }

    #[test]
    fn every_trial_is_composed_and_named() {
        let plan = planned(
            "settings: [experiment=supervised_birdsong]\noptimize: val/acc\ngrid: {optimizer.lr: [0.1, 0.01]}\nseeds: 2\n\
             trial_name: lr{optimizer.lr}_{model.name}_{seed}\n",
        )
        .unwrap();
        let names: Vec<&str> = plan.trials.iter().map(|trial| trial.name.as_str()).collect();
        assert_eq!(names.len(), 4);
        assert!(names[0].starts_with("lr0.1_") && names[0].ends_with("_1"), "{names:?}");
        assert_eq!(
            plan.trials[3].settings,
            ["experiment=supervised_birdsong", "optimizer.lr=0.01", "seed=2"]
        );
        assert_eq!(plan.header.direction, MonitorMode::Max);
    }

    #[test]
    fn every_study_of_the_program_can_be_planned() {
        let names = dtrain_configs::studies();
        assert!(names.len() >= 4, "{names:?}");
        for name in names {
            let study = Study::builtin(&name).unwrap();
            let (plan, _) =
                make(&study, &frame()).unwrap_or_else(|failure| panic!("{name}: {}", failure.message));
            assert!(!plan.trials.is_empty());
        }
    }

    #[test]
    fn mistakes_of_trials_are_told_before_anything_starts() {
        let message = planned(
            "settings: [experiment=supervised_birdsong]\ngrid: {optimizer.lr: [0.1, fast]}\nseeds: 3\n",
        )
        .unwrap_err();
        assert!(message.contains("1 of 6 trials cannot be run"), "{message}");
        assert!(message.contains("optimizer.lr=fast"), "{message}");
        // A value that only an earlier stage would find best.
        let message = planned(
            "settings: [experiment=supervised_birdsong]\noptimize: val/acc\nstages:\n  - {name: a, grid: {trainer.batch_size: [8, 16]}}\n  \
             - {name: b, take: {trainer.batch_size: a}, grid: {trainer.max_epochs: [1, x]}}\n",
        )
        .unwrap_err();
        assert!(message.contains("trial 2 of `b`"), "{message}");
    }

    #[test]
    fn what_makes_no_sweep_is_refused() {
        let settings = "settings: [experiment=supervised_birdsong, optimized_metric=val/acc]\n";
        for (text, word) in [
            ("grid: {run.dir: [a, b]}", "`run.dir` is among the settings"),
            ("grid: {seed: [1, 2]}\ntrial_name: same", "two trials are called `same`"),
            ("grid: {seed: [1, 2]}\ntrial_name: 'x{method.lambda}'", "names `method.lambda`"),
            ("grid: {seed: [1, 2]}\nasha: true", "which way `val/acc` is better"),
            ("grid: {seed: [1, 2]}\ndirection: max\nasha: true\nstages: []", "a study with stages"),
        ] {
            let text = format!("{settings}{text}");
            let message = match Study::of_text(&text, "test.yaml") {
                Ok(study) => make(&study, &frame()).unwrap_err().message,
                Err(errors) => errors.to_string(),
            };
            assert!(message.contains(word), "{text}: {message}");
        }
        let rungs = |more: &str| {
            planned(&format!("{settings}grid: {{seed: [1, 2]}}\ndirection: max\nasha: true\n{more}"))
        };
        assert!(rungs("").unwrap().trials[0].rungs.len() > 1);
        let study = Study::of_text(
            "settings: [experiment=supervised_birdsong, optimized_metric=val/acc, trainer.max_steps=5]\ngrid: {seed: [1, 2]}\ndirection: max\nasha: true\n",
            "test.yaml",
        );
        assert!(make(&study.unwrap(), &frame()).unwrap_err().message.contains("`trainer.max_steps` ends it"));
    }
}
