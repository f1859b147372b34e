//! The ranks of a verb: connected before the work, finalized or aborted after it.

use std::sync::Arc;

use dtrain_comm::Collective;

use crate::cmd::Failure;
use crate::exit::Exit;
use crate::ui::Printer;

/// Connects to the other ranks, does `work` and ends together with them. Everything that rank 0 writes happens in
/// `work`, before MPI is finalized: mpirun kills a rank that exits non-zero while others still run.
pub fn with_ranks(
    printer: &Printer,
    work: impl FnOnce(&Arc<dyn Collective>) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let session = dtrain_comm::connect().map_err(|e| Failure {
        hint: e.hint(),
        message: e.to_string(),
        exit: Exit::Environment,
        agreed: false,
    })?;
    for warning in session.warnings() {
        printer.warn(&warning.to_string());
    }
    let _span = tracing::info_span!("rank", rank = session.world().rank).entered();
    let done = match work(session.collective()) {
        Ok(exit) => Ok(if printer.speaks() { exit } else { Exit::Done }),
        Err(failure) if failure.agreed => Ok(printer.failure(&failure)),
        Err(failure) => {
            // This rank fails alone: the others wait in a collective that it will never join.
            let exit = printer.failure(&failure);
            session.abort(exit as i32)
        }
    };
    if let Err(error) = session.finalize() {
        tracing::warn!("MPI could not be finalized: {error}");
    }
    done
}
