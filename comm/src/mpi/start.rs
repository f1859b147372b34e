//! Initializes MPI and makes the communicator over all ranks.

use std::ffi::c_int;

use mpi::ffi;

use super::communicator::MpiCollective;
use super::discover::{find_world, rank_and_size};
use super::raw;
use super::runtime::{self, Runtime};
use crate::chunks::MAX_CHUNK_BYTES;
use crate::error::CommError;
use crate::heartbeat::Purpose;
use crate::hint::Hint;
use crate::join::join;
use crate::warning::Warning;
use crate::world::World;

/// Initializes MPI with [`ffi::MPI_THREAD_MULTIPLE`], compares its world with `hint`, and returns a communicator
/// over all ranks, with what is unusual about it.
///
/// # Errors
/// MPI is initialized already, has no threads, or sees another world than the launcher.
pub(crate) fn start(hint: &Hint) -> Result<(MpiCollective, Option<Warning>), CommError> {
    let mut initialized: c_int = 0;
    // SAFETY: allowed at any time; the pointer is to a local.
    unsafe { ffi::MPI_Initialized(&raw mut initialized) };
    if initialized != 0 {
        return Err(CommError::AlreadyInitialized);
    }
    let in_place = raw::in_place(&raw::library_version())?;
    let unknown = World { rank: hint.rank, ..World::of_one(hint.source) };
    let mut granted: c_int = 0;
    // SAFETY: MPI is not initialized; null stands for no arguments.
    let status = unsafe {
        ffi::MPI_Init_thread(
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            ffi::RSMPI_THREAD_MULTIPLE,
            &raw mut granted,
        )
    };
    raw::check(status, "MPI_Init_thread", &unknown, 0)?;
    let runtime = Runtime::new(in_place);
    let found = find_world(hint, granted);
    if found.is_err() && rank_and_size(&unknown).is_ok_and(|(_, size)| size == 1) {
        // Nobody waits for a process that MPI believes to be alone; it ends without a complaint of its launcher.
        runtime.finalize(&unknown)?;
    }
    let world = found?;
    let handle = runtime::duplicate(raw::comm_world(), &world)?;
    let unnoted = MpiCollective::new(runtime, handle, world, MAX_CHUNK_BYTES);
    let (heartbeat, warning) = join(&unnoted)?;
    heartbeat.publish();
    Ok((unnoted.noted_in(heartbeat, Purpose::Control), warning))
}
