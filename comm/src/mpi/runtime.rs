//! The initialized library: finalized once, or aborted.

use std::ffi::c_int;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use mpi::ffi;

use super::raw::{self, Handle};
use crate::error::CommError;
use crate::world::World;

/// The initialized library. Calls hold `finalized` for reading, so that none is under way when MPI goes away.
#[derive(Debug)]
pub(crate) struct Runtime {
    finalized: RwLock<bool>,
    in_place: usize,
}

impl Runtime {
    /// Of a library that was just initialized.
    pub(super) fn new(in_place: usize) -> Arc<Self> {
        Arc::new(Self { finalized: RwLock::new(false), in_place })
    }

    /// Whether the library is Open MPI; may be asked before MPI is initialized.
    pub(crate) fn is_open_mpi() -> bool {
        raw::library_version().starts_with("Open MPI")
    }

    /// Keeps MPI from being finalized while the guard lives.
    ///
    /// # Errors
    /// [`CommError::Finalized`].
    pub(super) fn enter(
        &self,
        operation: &'static str,
        world: &World,
    ) -> Result<RwLockReadGuard<'_, bool>, CommError> {
        let finalized = self.finalized.read().unwrap_or_else(PoisonError::into_inner);
        if *finalized { Err(CommError::Finalized { operation, rank: world.rank }) } else { Ok(finalized) }
    }

    /// `MPI_IN_PLACE` of the library.
    pub(super) fn in_place(&self) -> usize {
        self.in_place
    }

    /// Waits until calls under way on other threads have returned, then ends MPI; all ranks call it.
    ///
    /// # Errors
    /// What MPI reports.
    pub(crate) fn finalize(&self, world: &World) -> Result<(), CommError> {
        let mut finalized = self.finalized.write().unwrap_or_else(PoisonError::into_inner);
        if *finalized {
            return Ok(());
        }
        *finalized = true;
        // SAFETY: MPI is initialized and not finalized, and the write lock proves that no call is under way.
        let status = unsafe { ffi::MPI_Finalize() };
        raw::check(status, "MPI_Finalize", world, 0)
    }

    /// Asks the launcher to end all ranks with `code`. Takes no lock: it must work while other threads wait in MPI.
    pub(crate) fn abort(code: i32) {
        let (mut initialized, mut finalized): (c_int, c_int) = (0, 0);
        // SAFETY: allowed at any time; the pointers are to locals.
        unsafe {
            ffi::MPI_Initialized(&raw mut initialized);
            ffi::MPI_Finalized(&raw mut finalized);
        }
        if initialized != 0 && finalized == 0 {
            // SAFETY: MPI is running; MPI_THREAD_MULTIPLE lets any thread call it.
            unsafe { ffi::MPI_Abort(raw::comm_world(), code) };
        }
    }
}

/// A duplicate of `parent` that returns its errors; all ranks of `parent` call it.
///
/// Duplicates are freed by `MPI_Finalize`: `MPI_Comm_free` is itself collective, and values are dropped in no agreed
/// order.
pub(super) fn duplicate(parent: ffi::MPI_Comm, world: &World) -> Result<Handle, CommError> {
    let mut copy = parent;
    // SAFETY: MPI is running and `parent` is a valid communicator.
    raw::check(unsafe { ffi::MPI_Comm_dup(parent, &raw mut copy) }, "MPI_Comm_dup", world, 0)?;
    // SAFETY: as above for `copy`.
    let status = unsafe { ffi::MPI_Comm_set_errhandler(copy, ffi::RSMPI_ERRORS_RETURN) };
    raw::check(status, "MPI_Comm_set_errhandler", world, 0)?;
    Ok(Handle(copy))
}
