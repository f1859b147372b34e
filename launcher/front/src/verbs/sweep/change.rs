//! What may be done with a sweep that is there: stop, go on, run again, add.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use dtrain_configs::{ComposeOptions, choice_hint, shell_path};

use super::begin::{read_study, store};
use super::{run, unreadable, usage};
use crate::cli::{LocalArgs, PlanArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::sweep::extend::extended;
use crate::sweep::folder::SweepDir;
use crate::sweep::make::{Frame, make};
use crate::sweep::plan::{Plan, Trial};
use crate::sweep::table;
use crate::sweep::tokens::{State, Tokens};

const POLL: Duration = Duration::from_millis(100);
/// Between two signs of life.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks all workers to end, and waits until their trials have saved.
pub(super) fn stop(dir: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let sweep = SweepDir::new(dir);
    Plan::read(&sweep)?;
    let tokens = Tokens::new(sweep.tokens());
    let running = || -> Result<Vec<String>, Failure> {
        let states = tokens.states().map_err(|error| unreadable(&error))?;
        let is_running = |state: &State| matches!(state, State::Held(owner) if !owner.is_dead());
        Ok(states.into_iter().filter(|(_, state)| is_running(state)).map(|(id, _)| id).collect())
    };
    fs_err::write(sweep.stop(), "").map_err(|error| unreadable(&error))?;
    let (asked, mut said) = (Instant::now(), Instant::now());
    loop {
        let left = running()?;
        if left.is_empty() {
            break;
        }
        if said.elapsed() >= PATIENCE {
            said = Instant::now();
            let secs = asked.elapsed().as_secs_f64();
            printer.say(&format!("{secs:.0} s: {} trial(s) have not saved yet; a worker that is gone without a word is not heard of", left.len()));
        }
        std::thread::sleep(POLL);
    }
    printer.say(&format!("stopped; all trials have saved\nnext: dtrain sweep resume {}", shell_path(dir)));
    Ok(Exit::Done)
}

/// Goes on.
pub(super) fn resume(dir: &Path, local: &LocalArgs, printer: &Printer) -> Result<Exit, Failure> {
    let sweep = SweepDir::new(dir);
    let plan = Plan::read(&sweep)?;
    let tokens = Tokens::new(sweep.tokens());
    for trial in &plan.trials {
        tokens.turn(&trial.id, &State::Stopped, &State::Waiting).map_err(|error| unreadable(&error))?;
    }
    go_on(&sweep, local, printer)
}

fn go_on(sweep: &SweepDir, local: &LocalArgs, printer: &Printer) -> Result<Exit, Failure> {
    match std::fs::remove_file(sweep.stop()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unreadable(&error)),
        _ => run::go_on(sweep, false, local, printer),
    }
}

/// Runs trials that have failed, or whose folder is gone, once more.
pub(super) fn retry(
    dir: &Path,
    asked: &[String],
    anew: bool,
    local: &LocalArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let sweep = SweepDir::new(dir);
    let plan = Plan::read(&sweep)?;
    let rows = table::rows(&plan, &sweep).map_err(|error| unreadable(&error))?;
    let is_asked =
        |trial: &Trial| asked.is_empty() || asked.iter().any(|word| [&trial.id, &trial.name].contains(&word));
    if let Some(word) =
        asked.iter().find(|word| !plan.trials.iter().any(|trial| [&trial.id, &trial.name].contains(word)))
    {
        let names = plan.trials.iter().map(|trial| trial.name.as_str()).take(100);
        return Err(usage(format!("the sweep has no trial `{word}`"), choice_hint(word, names)));
    }
    let tokens = Tokens::new(sweep.tokens());
    let mut count = 0;
    for row in rows.iter().filter(|row| is_asked(row.trial)) {
        let Some(state) = row.state.clone().filter(|state| *state == State::Failed || row.is_gone) else {
            if asked.is_empty() {
                continue;
            }
            let message = format!(
                "trial `{}` is {}: only one that has failed, or whose folder is gone, is run again",
                row.trial.name,
                row.word()
            );
            return Err(usage(message, "begin a new sweep for another try, with another `seed`"));
        };
        if anew {
            set_aside(&sweep, row.trial).map_err(|error| unreadable(&error))?;
        }
        let turned =
            tokens.turn(&row.trial.id, &state, &State::Waiting).map_err(|error| unreadable(&error))?;
        count += usize::from(turned);
    }
    if count == 0 {
        printer.say("no trial has failed");
        return Ok(Exit::Done);
    }
    printer.say(&format!("{count} trial(s) are run once more"));
    go_on(&sweep, local, printer)
}

/// The trial's folder under the first name that is free.
fn set_aside(sweep: &SweepDir, trial: &Trial) -> std::io::Result<()> {
    let run = sweep.run(&trial.name);
    if !run.path().is_dir() {
        return Ok(());
    }
    let mut number = 1;
    loop {
        let aside = sweep.path().join("set_aside").join(format!("{}-{number}", trial.name));
        if !aside.exists() {
            fs_err::create_dir_all(aside.parent().unwrap_or(sweep.path()))?;
            return fs_err::rename(run.path(), aside);
        }
        number += 1;
    }
}

/// Adds trials that the plan does not have yet.
pub(super) fn add(
    dir: &Path,
    words: &[String],
    trials: Option<NonZeroUsize>,
    (no_run, local): (bool, &LocalArgs),
    printer: &Printer,
) -> Result<Exit, Failure> {
    let sweep = SweepDir::new(dir);
    let plan = Plan::read(&sweep)?;
    let header = &plan.header;
    let args = PlanArgs {
        optimize: None,
        direction: None,
        trials,
        search_seed: 0,
        trial_name: None,
        ranks: NonZeroUsize::MIN,
        lease_secs: header.lease_secs,
    };
    let is_file = words.iter().any(|word| word.ends_with(".yaml") || word.starts_with("study="));
    let before = if is_file { Vec::new() } else { header.settings.clone() };
    let (study, _) = read_study(words, &args, before)?;
    let frame = Frame {
        optimize: Some(header.optimize.clone()),
        direction: Some(header.direction),
        options: ComposeOptions { config_dir: header.config_dir.clone() },
        ranks: header.ranks,
        lease_secs: header.lease_secs,
    };
    let (more, _) = make(&study, &frame)?;
    let (mut whole, added) = extended(&plan, &more)?;
    if added == 0 {
        printer.say("the sweep has all of these trials");
        return Ok(Exit::Done);
    }
    store(&mut whole, &sweep).map_err(|error| unreadable(&error))?;
    printer.say(&format!("{added} trial(s) added, {} in all", whole.trials.len()));
    if no_run {
        return Ok(Exit::Done);
    }
    run::go_on(&sweep, false, local, printer)
}
