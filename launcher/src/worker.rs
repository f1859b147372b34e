//! The program that `dtrain` becomes for all that needs tensors or ranks: libtorch and MPI are linked here alone.

mod cmd;
mod context;
mod exit;
mod failure;
mod inspect;
mod launch;
mod logging;
mod memory;
mod resume_proof;
mod signals;
mod ui;

use std::process::ExitCode;

use dtrain_front::{Printer, rank_from_environment, read, worker};

fn main() -> ExitCode {
    let rank = rank_from_environment();
    let printer = Printer::new(rank);
    if let Err(failure) = worker::check_start() {
        return ExitCode::from(printer.failure(&failure) as u8);
    }
    let cli = match read(std::env::args_os(), &printer) {
        Ok(cli) => cli,
        Err(exit) => return ExitCode::from(exit as u8),
    };
    let exit = memory::caught(|| cmd::run(cli, &printer)).unwrap_or_else(|failure| printer.failure(&failure));
    ExitCode::from(exit as u8)
}
