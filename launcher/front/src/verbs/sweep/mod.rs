//! `dtrain sweep`.

mod begin;
mod change;
mod cluster;
mod run;

use std::path::Path;

use dtrain_configs::shell_path;

use crate::cli::{SweepAction, SweepArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::sweep::folder::SweepDir;
use crate::sweep::plan::Plan;
use crate::sweep::table;

/// Trials that a status shows.
const SHOWN: usize = 10;

/// Begins a sweep, or does something with one.
pub(super) fn run(args: SweepArgs, printer: &Printer) -> Result<Exit, Failure> {
    if !printer.speaks() {
        // One of several ranks: a sweep is worked on once.
        return Ok(Exit::Done);
    }
    match args.action {
        None => begin::begin(&args.new, printer),
        Some(SweepAction::Status { dir, all, json }) => status(&dir, all, json, printer),
        Some(SweepAction::Resume { dir, local }) => change::resume(&dir, &local, printer),
        Some(SweepAction::Retry { dir, trials, anew, local }) => {
            change::retry(&dir, &trials, anew, &local, printer)
        }
        Some(SweepAction::Stop { dir }) => change::stop(&dir, printer),
        Some(SweepAction::Add { dir, words, trials, no_run, local }) => {
            change::add(&dir, &words, trials, (no_run, &local), printer)
        }
        Some(SweepAction::Worker { dir, stage, local }) => {
            run::work(&SweepDir::new(dir), stage.as_deref(), &local, printer)
        }
    }
}

fn status(dir: &Path, all: bool, json: bool, printer: &Printer) -> Result<Exit, Failure> {
    let sweep = SweepDir::new(dir);
    let plan = Plan::read(&sweep)?;
    let rows = table::rows(&plan, &sweep).map_err(|error| unreadable(&error))?;
    if json {
        printer.data(&format!("{:#}", table::json(&plan, &rows)));
        return Ok(Exit::Done);
    }
    let mut text = table::counts(&plan, &rows);
    text.push_str(&format!("\n\n{}", table::terminal(&plan, &rows, if all { usize::MAX } else { SHOWN })));
    let failed: Vec<String> = rows
        .iter()
        .filter_map(|row| Some((row, row.cause.as_ref()?)))
        .take(if all { usize::MAX } else { SHOWN })
        .map(|(row, cause)| format!("{} failed ({}): {}", row.trial.name, cause.ended, cause.message))
        .collect();
    if !failed.is_empty() {
        text.push_str(&format!("\n\n{}", failed.join("\n")));
    }
    let lost: Vec<&str> =
        rows.iter().filter(|row| row.is_gone).map(|row| row.trial.name.as_str()).take(SHOWN).collect();
    if !lost.is_empty() {
        text.push_str(&format!(
            "\n\nfolders of trials that have ended are gone: {}\nhint: `dtrain sweep retry {}` runs them once more",
            lost.join(", "),
            shell_path(dir)
        ));
    }
    printer.data(&text);
    Ok(Exit::Done)
}

fn usage(message: impl std::fmt::Display, hint: impl Into<String>) -> Failure {
    Failure::agreed(Exit::Usage, message, Some(hint.into()))
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::agreed(Exit::Environment, format!("the sweep's folder: {error}"), None)
}
