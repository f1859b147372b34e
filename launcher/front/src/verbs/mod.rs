//! What `dtrain` does by itself, and what it checks before the worker takes over.

mod compare;
mod help;
mod listing;
mod report;
mod slurm;
mod stop;
mod sweep;

use std::path::Path;

use dtrain_comm::Hint;
use dtrain_configs::RunDir;

use crate::cli::{Cli, ConfigDir, TrainArgs, Verb, VerifyTarget};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outputs::check_output;
use crate::printer::Printer;
use crate::settings::{
    composed, composed_for_training, read_launched, stored_for_resuming, take_planned_world,
};
use crate::worker::become_worker;

/// Does what was asked, or becomes the worker, which does it.
///
/// # Errors
/// Whatever is wrong with the command line, the settings or the verb.
pub(crate) fn run(cli: Cli, printer: &Printer) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Train(args) if args.cfg => print_settings(args, printer),
        Verb::Stop(args) => stop::run(&args, printer),
        Verb::Slurm { what } => slurm::run(what, printer),
        Verb::Sweep(args) => sweep::run(*args, printer),
        Verb::Report(args) => report::run(&args, printer),
        Verb::Compare(args) => compare::run(&args, printer),
        Verb::Ls(args) => listing::list(&args.group, &args.config, printer),
        Verb::Show(args) => listing::show(&args.name, &args.config, printer),
        Verb::Help(args) => help::run(&args, printer),
        Verb::Completions { shell } => listing::completions(shell, printer),
        verb => {
            let has_ranks = has_ranks(&verb);
            if let Some((option, path)) = output(&verb) {
                check_output(option, path)?;
            }
            check(verb)?;
            if has_ranks {
                Hint::from_environment(&|name| std::env::var(name).ok())?;
            }
            Err(become_worker())
        }
    }
}

fn print_settings(mut args: TrainArgs, printer: &Printer) -> Result<Exit, Failure> {
    take_planned_world(&mut args)?;
    printer.data(&composed_for_training(&args)?.render(true));
    Ok(Exit::Done)
}

/// Whether processes of this verb may be ranks of one world.
fn has_ranks(verb: &Verb) -> bool {
    match verb {
        Verb::Train(_) | Verb::Launch(_) | Verb::Resume(_) | Verb::Eval(_) | Verb::Embed(_) => true,
        Verb::Infer(_) => true,
        Verb::Verify { what } => matches!(what, VerifyTarget::Equivalence(_)),
        Verb::Bench { what } => what.settings().is_some(),
        _ => false,
    }
}

/// The file that a verb writes at its end, and the option that names it.
fn output(verb: &Verb) -> Option<(&'static str, &Path)> {
    match verb {
        Verb::Embed(args) => Some(("--out", &args.out)),
        Verb::Infer(args) => Some(("--out", &args.out)),
        Verb::Export(args) => Some(("--out", &args.out)),
        Verb::Verify { what: VerifyTarget::Equivalence(args) } => args.json.as_deref().map(as_json),
        Verb::Verify { what: VerifyTarget::Resume(args) } => args.json.as_deref().map(as_json),
        Verb::Verify { what: VerifyTarget::Device(args) } => args.json.as_deref().map(as_json),
        Verb::Bench { what } => what.json().map(as_json),
        _ => None,
    }
}

fn as_json(path: &Path) -> (&'static str, &Path) {
    ("--json", path)
}

/// Finds what is wrong with the settings of a verb of the worker. The worker composes them again, which takes milliseconds.
fn check(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Train(mut args) => {
            take_planned_world(&mut args)?;
            composed_for_training(&args).map(drop)
        }
        Verb::Resume(args) => stored_for_resuming(&args).map(drop),
        Verb::Eval(args) => check_stored(&args.checkpoint, &args.overrides, &args.config),
        Verb::Embed(args) => check_stored(&args.checkpoint, &args.overrides, &args.config),
        Verb::Infer(args) => match args.problem() {
            Some((message, hint)) => Err(Failure::agreed(Exit::Usage, message, Some(hint))),
            None => check_stored(&args.checkpoint, &args.files_and_settings().1, &args.config),
        },
        Verb::Export(args) => check_stored(&args.checkpoint, &args.overrides, &args.config),
        Verb::Launch(args) => check(read_launched(&args.words_with_verb())?),
        Verb::Verify { what: VerifyTarget::Equivalence(args) } => {
            composed(&args.overrides, &args.config).map(drop)
        }
        Verb::Verify { what: VerifyTarget::Resume(args) } => {
            composed(&args.overrides, &args.config).map(drop)
        }
        Verb::Bench { what } => what
            .settings()
            .map_or(Ok(()), |settings| composed(&settings.overrides, &settings.config).map(drop)),
        _ => Ok(()),
    }
}

/// The settings of a run whose weights are looked at. A folder that holds none may be a checkpoint.
fn check_stored(path: &Path, overrides: &[String], config: &ConfigDir) -> Result<(), Failure> {
    let run_dir = RunDir::new(path);
    if run_dir.holds_a_run() {
        dtrain_configs::load_with(&run_dir.config(), overrides, &config.options())?;
    }
    Ok(())
}
