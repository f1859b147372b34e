//! The ranks of a verb: connected before the work, finalized or aborted after it.

use std::sync::Arc;
use std::time::Duration;

use dtrain_comm::{Collective, Session, WatchOptions};
use dtrain_configs::schema::CommConfig;
use dtrain_front::{Exit, Printer};

use crate::failure::Failure;
use crate::memory::caught;

/// Longest wait that a clock can count.
const MAX_TIMEOUT_SECS: f64 = 1e9;

/// Connects to the other ranks, does `work` and ends together with them. Everything that rank 0 writes happens in
/// `work`, before MPI is finalized: mpirun kills a rank that exits non-zero while others still run.
///
/// A collective that waits for longer than `comm.timeout_secs` ends the job; one rank says who has not arrived.
pub fn with_ranks(
    printer: &Printer,
    comm: &CommConfig,
    work: impl FnOnce(&Arc<dyn Collective>) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    with_session(printer, comm, |session| work(session.collective()))
}

/// As [`with_ranks`], for work that wants more of the connection than collectives.
pub fn with_session(
    printer: &Printer,
    comm: &CommConfig,
    work: impl FnOnce(&Session) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let session = dtrain_comm::connect().map_err(dtrain_front::Failure::from)?;
    for warning in session.warnings() {
        printer.warn(&warning.to_string());
    }
    let (abort, speaker) = (session.abort_handle(), printer.clone());
    let watch = session.watch(&watch_options(comm), move |stall| {
        if stall.speaks {
            let hint =
                format!("the logs of the ranks named above tell more; `{}` is the limit", stall.limit_key);
            speaker.failure(&dtrain_front::Failure {
                message: stall.to_string(),
                hint: Some(hint),
                exit: Exit::Failed,
                agreed: false,
            });
        }
        abort.abort(Exit::Failed as i32)
    });
    let _watch = watch.map_err(|e| dtrain_front::Failure {
        message: e.to_string(),
        hint: e.hint(),
        exit: Exit::Environment,
        agreed: false,
    })?;
    let _span = tracing::info_span!("rank", rank = session.world().rank).entered();
    let done = match caught(|| work(&session)) {
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

fn watch_options(comm: &CommConfig) -> WatchOptions {
    let limit = |secs: f64| Duration::from_secs_f64(secs.min(MAX_TIMEOUT_SECS));
    WatchOptions {
        limit: limit(comm.timeout_secs),
        slow_limit: limit(comm.slow_work_timeout_secs.max(comm.timeout_secs)),
        connect_limit: limit(comm.connect_timeout_secs),
        interface: comm.interface.clone(),
    }
}
