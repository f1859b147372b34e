//! A new sweep: from words to a plan, and to the first trial.

use std::path::{Path, PathBuf};

use dtrain_configs::sweep::{Study, Template};
use dtrain_configs::{ConfigErrors, choice_hint, shell_path, studies, study_text};

use super::{cluster, run, unreadable, usage};
use crate::cli::{NewSweep, PlanArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::slurm::SweepFile;
use crate::sweep::folder::{SweepDir, write_atomic};
use crate::sweep::make::{Facts, Frame, make};
use crate::sweep::plan::Plan;
use crate::sweep::tokens::Tokens;

/// Folder of sweeps that are not placed by `--dir`.
const ROOT: &str = "sweeps";
/// Trials that a dry run shows.
const SHOWN: usize = 20;

/// Plans, then runs.
pub(super) fn begin(args: &NewSweep, printer: &Printer) -> Result<Exit, Failure> {
    if let (false, Some(option)) = (args.slurm.slurm, args.slurm.resources.given()) {
        return Err(usage(
            format!("`{option}` says what a worker asks SLURM for"),
            "give `--slurm` too, or leave it out",
        ));
    }
    let (study, name) = read_study(&args.words, &args.plan, Vec::new())?;
    let is_single = study.stages.iter().all(|stage| stage.axes.is_empty() && stage.runs.is_empty());
    if is_single && study.stages.len() == 1 {
        return Err(usage(
            "no setting has several values: that is one run",
            "write `optimizer.lr=1e-3,1e-4` or `'seed=range(5)'`; `dtrain ls study` lists what `study=NAME` can be",
        ));
    }
    let frame = Frame {
        optimize: args.plan.optimize.clone(),
        direction: args.plan.direction.map(Into::into),
        options: args.config.options(),
        ranks: args.plan.ranks.get(),
        lease_secs: args.plan.lease_secs,
    };
    let (mut plan, facts) = make(&study, &frame)?;
    if args.dry_run {
        printer.data(&described(&plan));
        printer.say("dry run: every trial can be composed; nothing was started and no folder was made");
        return Ok(Exit::Done);
    }
    let job = match args.slurm.slurm {
        true => Some(cluster::job(args, &plan)?),
        false => None,
    };
    let dir = match &args.dir {
        Some(dir) => SweepDir::new(dir),
        None => SweepDir::new(free_folder(&name).map_err(|error| unreadable(&error))?),
    };
    if dir.holds_a_sweep() {
        let there = Plan::read(&dir)?;
        // Who types the same command again goes on, whatever was added since.
        if there.header.optimize != plan.header.optimize || !there.trials.starts_with(&plan.trials) {
            let word = shell_path(dir.path());
            return Err(Failure::agreed(
                Exit::Usage,
                format!("`{}` holds another sweep: its plan has other trials", dir.path().display()),
                Some(format!(
                    "`dtrain sweep add {word} ...` adds trials to it, `dtrain sweep resume {word}` goes on; or give another `--dir`"
                )),
            ));
        }
        printer.say(&format!("going on with the sweep in {}", dir.path().display()));
    } else {
        store(&mut plan, &dir).map_err(|error| unreadable(&error))?;
        if let Some(text) = study_of(&args.words) {
            write_atomic(&dir.study(), text.as_bytes()).map_err(|error| unreadable(&error))?;
        }
        printer.say(&format!(
            "{} trials in {}, compared by {} ({} is better)",
            plan.trials.len(),
            dir.path().display(),
            plan.header.optimize,
            plan.header.direction.word()
        ));
    }
    if args.no_run {
        printer.data(&dir.path().display().to_string());
        printer.say(&format!("next: dtrain sweep worker {}", shell_path(dir.path())));
        return Ok(Exit::Done);
    }
    if let Some(job) = job {
        return cluster::begin(args, (&plan, &job), dir.path(), printer);
    }
    let Facts { on_cpu } = facts;
    run::go_on(&dir, on_cpu, &args.local, printer)
}

/// Tokens first: whoever reads the plan looks for them.
pub(super) fn store(plan: &mut Plan, dir: &SweepDir) -> std::io::Result<()> {
    Tokens::new(dir.tokens()).create(plan.trials.iter().map(|trial| trial.id.as_str()))?;
    plan.write(dir)
}

/// The study that words ask for, with its name. `before`: settings that come first.
pub(super) fn read_study(
    words: &[String],
    args: &PlanArgs,
    before: Vec<String>,
) -> Result<(Study, String), Failure> {
    let (files, rest): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| is_study(word));
    let rest: Vec<String> = before.into_iter().chain(rest.into_iter().cloned()).collect();
    let (mut study, name) = match files.as_slice() {
        [] => {
            let trials = args.trials.map(std::num::NonZeroUsize::get);
            let study = Study::from_words(&rest, trials, args.search_seed)?;
            let experiment = rest.iter().find_map(|word| word.strip_prefix("experiment="));
            (study, experiment.unwrap_or("sweep").to_owned())
        }
        [file] => {
            if args.trials.is_some() {
                let hint = "change `search: {trials: ...}` there";
                return Err(usage(
                    "`--trials` is for words of the command line; a study says it itself",
                    hint,
                ));
            }
            with_settings(file, rest)?
        }
        [first, second, ..] => {
            return Err(usage(
                format!("`{first}` and `{second}` are two studies"),
                "give one; a study may have several stages",
            ));
        }
    };
    if let Some(text) = &args.trial_name {
        let template = Template::parse(text).map_err(|message| {
            usage(
                format!("`--trial-name {text}`: {message}"),
                "write settings in braces: `lr{optimizer.lr}_{seed}`",
            )
        })?;
        for stage in &mut study.stages {
            stage.trial_name.get_or_insert(template.clone());
        }
    }
    let name = Path::new(&name).file_stem().map_or(name.clone(), |stem| stem.to_string_lossy().into_owned());
    Ok((study, name))
}

fn is_study(word: &str) -> bool {
    let is_file = [".yaml", ".yml", ".txt"].iter().any(|ending| word.ends_with(ending));
    word.starts_with("study=") || (is_file && !word.contains('='))
}

/// A study from a file, or one inside the program, with settings of the command line, which win.
fn with_settings(word: &str, settings: Vec<String>) -> Result<(Study, String), Failure> {
    let several = Study::from_words(&settings, None, 0)?;
    if let Some(axis) = several.stages.first().and_then(|stage| stage.axes.first()) {
        return Err(usage(
            format!("`{}` has several values beside a study", axis.key),
            "write them into the study: `dtrain show study/NAME` prints one of the program to copy from",
        ));
    }
    let named =
        word.strip_prefix("study=").filter(|name| !name.ends_with(".yaml") && !name.ends_with(".yml"));
    if let Some(name) = named {
        if study_text(name).is_none() {
            let names = studies();
            let hint = choice_hint(name, names.iter().map(String::as_str));
            return Err(usage(
                format!("there is no study `{name}`"),
                format!("{hint}; a file ends with `.yaml`"),
            ));
        }
        let mut study = Study::builtin(name)?;
        study.settings.extend(settings);
        return Ok((study, name.to_owned()));
    }
    let path = word.strip_prefix("study=").unwrap_or(word);
    if path.ends_with(".txt") {
        let file = SweepFile::read(Path::new(path))?;
        let runs: Vec<Vec<String>> = file.runs.into_iter().map(|run| run.settings).collect();
        return Ok((Study::from_runs(settings, &runs)?, path.to_owned()));
    }
    let mut study = Study::read(Path::new(path))?;
    study.settings.extend(settings);
    Ok((study, path.to_owned()))
}

fn study_of(words: &[String]) -> Option<String> {
    let word = words.iter().find(|word| is_study(word))?;
    let name = word.strip_prefix("study=").unwrap_or(word);
    study_text(name).map(str::to_owned).or_else(|| std::fs::read_to_string(name).ok())
}

/// The first of `sweeps/NAME-1`, `sweeps/NAME-2`, ... that is not there; it is then.
fn free_folder(name: &str) -> std::io::Result<PathBuf> {
    fs_err::create_dir_all(ROOT)?;
    let name: String =
        name.chars().map(|c| if c.is_alphanumeric() || "_-.".contains(c) { c } else { '_' }).collect();
    let mut number = 1;
    loop {
        let path = Path::new(ROOT).join(format!("{name}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn described(plan: &Plan) -> String {
    let mut text = String::new();
    for (index, stage) in plan.header.stages.iter().enumerate() {
        let trials: Vec<_> = plan.trials_of(index).collect();
        text.push_str(&format!("stage {}: {} trials", stage.name, trials.len()));
        for taken in &stage.take {
            let what = if taken.folder { " (the run's folder)" } else { "" };
            text.push_str(&format!(", {} from {}{what}", taken.key, taken.stage));
        }
        if let Some(rungs) = trials.first().map(|trial| &trial.rungs).filter(|rungs| !rungs.is_empty()) {
            text.push_str(&format!(", judged after {rungs:?} epochs"));
        }
        text.push('\n');
        for trial in trials.iter().take(SHOWN) {
            text.push_str(&format!("  {}\n", trial.described()));
        }
        if trials.len() > SHOWN {
            text.push_str(&format!("  ... and {} more\n", trials.len() - SHOWN));
        }
    }
    text
}

impl From<dtrain_configs::Problem> for Failure {
    fn from(problem: dtrain_configs::Problem) -> Self {
        ConfigErrors::from(problem).into()
    }
}
