//! The `dtrain` binary: command line, world, verbs, messages, exit codes.

mod cli;
mod cmd;
mod context;
mod exit;
mod inspect;
mod launch;
mod logging;
mod resume_proof;
mod signals;
mod slurm;
mod ui;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

fn main() -> ExitCode {
    launch::rank::begin(rank());
    let args = match cli::Cli::try_parse_from(cli::with_default_verb(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let printer = ui::Printer::new(rank());
    let exit = match cmd::run(args, &printer) {
        Ok(exit) => exit,
        Err(failure) => printer.failure(&failure),
    };
    ExitCode::from(exit as u8)
}

/// As the launcher's environment says, before anything is connected.
fn rank() -> usize {
    dtrain_comm::Hint::from_environment(&|name| std::env::var(name).ok()).map_or(0, |hint| hint.rank)
}

/// Help goes to stdout with 0; a wrong command line is said once per world.
fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if rank() == 0 {
        // Nothing is left to report to when the terminal is gone.
        let _ = error.print();
    }
    ExitCode::from(if asked_for { exit::Exit::Done } else { exit::Exit::Usage } as u8)
}
