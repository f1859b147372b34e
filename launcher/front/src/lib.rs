//! The command line of dtrain, and every verb that needs no tensor.
//!
//! Two programs are built on it. `dtrain` is what people type: it reads the command line, composes and checks the settings
//! and does what needs no tensor by itself, at once, since it loads no libtorch. Everything else is handed over to
//! `dtrain-worker` beside it, which takes this program's place in the same process ([`worker`]).

pub mod cli;
mod compare;
mod environment;
mod exit;
mod failure;
mod habits;
mod outputs;
mod printer;
pub mod rank;
pub mod record;
mod running;
mod settings;
mod slurm;
mod sweep;
mod verbs;
pub mod worker;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use dtrain_comm::Hint;

pub use exit::Exit;
pub use failure::Failure;
pub use printer::Printer;
pub use settings::{composed, composed_for_training, read_launched, stored_for_resuming, take_planned_world};

use cli::{Cli, Verb, in_order};

/// `dtrain`.
pub fn main() -> ExitCode {
    environment::begin();
    let rank = rank_from_environment();
    rank::begin(rank);
    let printer = Printer::new(rank);
    let exit = match read(std::env::args_os(), &printer) {
        Ok(cli) => verbs::run(cli, &printer).unwrap_or_else(|failure| printer.failure(&failure)),
        Err(exit) => exit,
    };
    ExitCode::from(exit as u8)
}

/// As the launcher's environment says, before anything is connected.
pub fn rank_from_environment() -> usize {
    Hint::from_environment(&|name| std::env::var(name).ok()).map_or(0, |hint| hint.rank)
}

/// What was typed. Help goes to stdout with 0; a wrong command line is said once per world.
///
/// # Errors
/// The exit code of a command line that asks for nothing more.
pub fn read(typed: impl Iterator<Item = OsString>, printer: &Printer) -> Result<Cli, Exit> {
    parse(typed).map_err(|unread| match unread {
        Unread::Failure(failure) => printer.failure(&failure),
        Unread::Library(error) => {
            if printer.speaks() {
                print(&error);
            }
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if asked_for { Exit::Done } else { Exit::Usage }
        }
    })
}

/// Says what the command-line library has to say. Where several processes write into one pipe, in one piece: the library would
/// write its message word by word, between which others could speak. Nothing is left to report to when the terminal is gone.
fn print(error: &clap::Error) {
    let mut stderr = std::io::stderr();
    let _ = match error.use_stderr() && !stderr.is_terminal() {
        true => stderr.write_all(error.render().to_string().as_bytes()),
        false => error.print(),
    };
}

/// A command line that asks for no verb.
enum Unread {
    /// It is wrong.
    Failure(Failure),
    /// It asks for help, or the command-line library says what is wrong.
    Library(clap::Error),
}

fn parse(typed: impl Iterator<Item = OsString>) -> Result<Cli, Unread> {
    let words: Vec<OsString> = typed.map(without_line_end).collect();
    habits::check_program(&words).map_err(Unread::Failure)?;
    if let Some(first) = words.get(1) {
        habits::check_verb(&first.to_string_lossy()).map_err(Unread::Failure)?;
    }
    let words = in_order(words.into_iter());
    let cli = Cli::try_parse_from(&words)
        .map_err(|error| habits::explain(&error, &words).map_or(Unread::Library(error), Unread::Failure))?;
    if let Verb::Train(args) = &cli.verb {
        habits::check_settings(&args.overrides, args.cfg).map_err(Unread::Failure)?;
    }
    Ok(cli)
}

/// The last word of a line in a script with Windows line ends carries one.
fn without_line_end(word: OsString) -> OsString {
    match word.to_str().and_then(|text| text.strip_suffix('\r')) {
        Some(text) => text.into(),
        None => word,
    }
}
