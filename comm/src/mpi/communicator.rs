//! One communicator over all ranks as a [`Collective`].

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard};

use mpi::ffi;

use super::raw::{self, Handle};
use super::runtime::{self, Runtime};
use crate::buffer::Buffer;
use crate::chunks::chunks;
use crate::collective::{Collective, ReduceOp, check_all_gather, check_root};
use crate::error::CommError;
use crate::world::World;

/// The ranks of an MPI job, over a communicator of their own.
///
/// MPI forbids two collectives at once on one communicator, which the mutex rules out within a process; that all ranks
/// call them in the same order is promised by the callers, as [`Collective`] says. Several communicators work at the
/// same time on several threads, since MPI was initialized with `MPI_THREAD_MULTIPLE`.
#[derive(Debug)]
pub struct MpiCollective {
    handle: Mutex<Handle>,
    runtime: Arc<Runtime>,
    world: World,
    max_chunk_bytes: usize,
}

impl MpiCollective {
    pub(super) fn new(runtime: Arc<Runtime>, handle: Handle, world: World, max_chunk_bytes: usize) -> Self {
        Self { handle: Mutex::new(handle), runtime, world, max_chunk_bytes }
    }

    /// A second communicator over the same ranks, whose calls never mix with this one's; all ranks call it.
    ///
    /// # Errors
    /// What MPI reports.
    pub fn duplicate(&self) -> Result<Self, CommError> {
        let call = self.enter("duplicate")?;
        let handle = runtime::duplicate(call.handle.0, &self.world)?;
        Ok(Self::new(self.runtime.clone(), handle, self.world.clone(), self.max_chunk_bytes))
    }

    /// Cuts messages into pieces of at most `bytes`: 1 GiB unless set here, which is meant for tests.
    #[must_use]
    pub fn with_max_chunk_bytes(self, bytes: usize) -> Self {
        Self { max_chunk_bytes: bytes, ..self }
    }

    /// Ends MPI; all ranks call it.
    pub(crate) fn finalize(&self) -> Result<(), CommError> {
        self.runtime.finalize(&self.world)
    }

    fn enter(&self, operation: &'static str) -> Result<Call<'_>, CommError> {
        let running = self.runtime.enter(operation, &self.world)?;
        // A panic while the lock was held leaves the handle as it was.
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Call { handle, _running: running })
    }

    /// Sends the piece of a buffer; `count` fits an `int`, since pieces are at most 1 GiB.
    fn broadcast_piece(&self, call: &Call<'_>, piece: &mut [u8], root: usize) -> Result<(), CommError> {
        let count = self.count("broadcast", piece.len())?;
        let root = self.count("broadcast", root)?;
        // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only, and
        // `piece` is `count` writable bytes.
        let status = unsafe {
            ffi::MPI_Bcast(piece.as_mut_ptr().cast(), count, raw::byte_type(), root, call.handle.0)
        };
        raw::check(status, "MPI_Bcast", &self.world, piece.len())
    }

    fn broadcast_all(&self, call: &Call<'_>, buffer: &mut [u8], root: usize) -> Result<(), CommError> {
        for piece in buffer.chunks_mut(self.max_chunk_bytes.max(1)) {
            self.broadcast_piece(call, piece, root)?;
        }
        Ok(())
    }

    /// One `MPI_Allgatherv`, for messages whose displacements fit an `int`.
    fn all_gather_at_once(
        &self,
        call: &Call<'_>,
        send: &[u8],
        counts: &[usize],
        recv: &mut [u8],
    ) -> Result<(), CommError> {
        let mut starts = Vec::with_capacity(counts.len());
        let mut lengths = Vec::with_capacity(counts.len());
        let mut start = 0;
        for &count in counts {
            starts.push(self.count("all_gather", start)?);
            lengths.push(self.count("all_gather", count)?);
            start += count;
        }
        let own = self.count("all_gather", send.len())?;
        // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only; `send` has
        // `own` bytes, and `recv` has room for all counts, as `check_all_gather` has proved.
        let status = unsafe {
            ffi::MPI_Allgatherv(
                send.as_ptr().cast(),
                own,
                raw::byte_type(),
                recv.as_mut_ptr().cast(),
                lengths.as_ptr(),
                starts.as_ptr(),
                raw::byte_type(),
                call.handle.0,
            )
        };
        raw::check(status, "MPI_Allgatherv", &self.world, recv.len())
    }

    fn count(&self, operation: &'static str, value: usize) -> Result<c_int, CommError> {
        c_int::try_from(value).map_err(|_| {
            CommError::argument(operation, &self.world, format!("{value} is more than MPI can count"))
        })
    }
}

/// The right to use the communicator.
struct Call<'a> {
    handle: MutexGuard<'a, Handle>,
    _running: RwLockReadGuard<'a, bool>,
}

impl Collective for MpiCollective {
    fn world(&self) -> &World {
        &self.world
    }

    fn all_reduce(&self, mut buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError> {
        let call = self.enter("all_reduce")?;
        let (kind, len) = (buffer.kind(), buffer.len());
        let element_bytes = kind.num_bytes();
        let bytes = buffer.bytes_mut();
        for chunk in chunks(len, element_bytes, self.max_chunk_bytes) {
            let count = self.count("all_reduce", chunk.len())?;
            let Some(piece) = bytes.get_mut(chunk.start * element_bytes..chunk.end * element_bytes) else {
                break;
            };
            // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only;
            // `piece` is `count` elements of the datatype, which MPI_IN_PLACE makes input and output.
            let status = unsafe {
                ffi::MPI_Allreduce(
                    raw::address(self.runtime.in_place()),
                    piece.as_mut_ptr().cast(),
                    count,
                    raw::datatype(kind),
                    raw::operation(op),
                    call.handle.0,
                )
            };
            raw::check(status, "MPI_Allreduce", &self.world, chunk.len())?;
        }
        Ok(())
    }

    fn all_gather(&self, send: &[u8], counts: &[usize], recv: &mut [u8]) -> Result<(), CommError> {
        check_all_gather(&self.world, send.len(), counts, recv.len())?;
        let call = self.enter("all_gather")?;
        if recv.is_empty() {
            return Ok(());
        }
        if recv.len() <= self.max_chunk_bytes {
            return self.all_gather_at_once(&call, send, counts, recv);
        }
        // Displacements beyond an `int`: every rank broadcasts its own part.
        let mut rest = recv;
        for (root, &count) in counts.iter().enumerate() {
            let Some((part, later)) = rest.split_at_mut_checked(count) else { break };
            if root == self.world.rank {
                part.copy_from_slice(send);
            }
            self.broadcast_all(&call, part, root)?;
            rest = later;
        }
        Ok(())
    }

    fn broadcast(&self, buffer: &mut [u8], root: usize) -> Result<(), CommError> {
        check_root(&self.world, root)?;
        let call = self.enter("broadcast")?;
        self.broadcast_all(&call, buffer, root)
    }

    fn barrier(&self) -> Result<(), CommError> {
        let call = self.enter("barrier")?;
        // SAFETY: MPI runs as long as `call` lives, and the communicator is valid and used by this thread only.
        raw::check(unsafe { ffi::MPI_Barrier(call.handle.0) }, "MPI_Barrier", &self.world, 0)
    }
}
