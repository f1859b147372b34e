//! One communicator over all ranks as a [`Collective`].

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard};

use mpi::ffi;

use super::raw::{self, Handle};
use super::runtime::{self, Runtime};
use crate::backend::Backend;
use crate::buffer::{Buffer, ElementKind};
use crate::chunks::chunks;
use crate::collective::{
    Collective, ReduceOp, check_all_gather, check_parts, check_reduce_scatter, check_root, part_range,
};
use crate::error::CommError;
use crate::heartbeat::{Channel, Heartbeat, Noted, Operation, Purpose};
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
    heartbeat: Heartbeat,
    channel: Channel,
}

impl MpiCollective {
    /// Of a rank whose heartbeat nobody reads yet.
    pub(super) fn new(runtime: Arc<Runtime>, handle: Handle, world: World, max_chunk_bytes: usize) -> Self {
        let heartbeat = Heartbeat::detached(&world);
        let channel = heartbeat.open(Purpose::Control);
        Self { handle: Mutex::new(handle), runtime, world, max_chunk_bytes, heartbeat, channel }
    }

    /// The same, with calls from now on noted in `heartbeat`.
    pub(super) fn noted_in(self, heartbeat: Heartbeat, purpose: Purpose) -> Self {
        let channel = heartbeat.open(purpose);
        Self { heartbeat, channel, ..self }
    }

    /// A second communicator over the same ranks, whose calls never mix with this one's; all ranks call it.
    ///
    /// # Errors
    /// What MPI reports.
    pub fn duplicate(&self) -> Result<Self, CommError> {
        let call = self.enter(Operation::Duplicate)?;
        let handle = runtime::duplicate(call.handle.0, &self.world)?;
        let copy = Self::new(self.runtime.clone(), handle, self.world.clone(), self.max_chunk_bytes);
        Ok(copy.noted_in(self.heartbeat.clone(), Purpose::Tensors))
    }

    /// Cuts messages into pieces of at most `bytes`: 1 GiB unless set here, which is meant for tests.
    #[must_use]
    pub fn with_max_chunk_bytes(self, bytes: usize) -> Self {
        Self { max_chunk_bytes: bytes, ..self }
    }

    /// Ends MPI; all ranks call it.
    pub(crate) fn finalize(&self) -> Result<(), CommError> {
        // Ranks that never come keep the others waiting here too.
        let _noted = self.channel.begin(Operation::Finalize);
        self.runtime.finalize(&self.world)?;
        self.heartbeat.finish();
        Ok(())
    }

    /// Sums `buffer` over all ranks with one `MPI_Allreduce` in place and nothing else: what the other ways are measured
    /// against.
    ///
    /// # Errors
    /// [`CommError::Argument`] for more elements than MPI can count; what MPI reports.
    pub fn bare_all_reduce(&self, buffer: &mut [f32]) -> Result<(), CommError> {
        let call = self.enter(Operation::AllReduce)?;
        let count = self.count("all_reduce", buffer.len())?;
        // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only; `buffer` is
        // `count` elements of the datatype, which MPI_IN_PLACE makes input and output.
        let status = unsafe {
            ffi::MPI_Allreduce(
                raw::address(self.runtime.in_place()),
                buffer.as_mut_ptr().cast(),
                count,
                raw::datatype(ElementKind::F32),
                raw::operation(ReduceOp::Sum),
                call.handle.0,
            )
        };
        raw::check(status, "MPI_Allreduce", &self.world, buffer.len())
    }

    fn enter(&self, operation: Operation) -> Result<Call<'_>, CommError> {
        let running = self.runtime.enter(operation.name(), &self.world)?;
        // A panic while the lock was held leaves the handle as it was.
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = self.channel.begin(operation);
        Ok(Call { handle, _running: running, _noted: noted })
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

    /// One `MPI_Allgatherv`, for messages whose displacements fit an `int`; without `send`, this rank's part is in
    /// `recv`.
    fn all_gather_at_once(
        &self,
        call: &Call<'_>,
        send: Option<&[u8]>,
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
        let own = self.count("all_gather", send.unwrap_or_default().len())?;
        let in_place = raw::address(self.runtime.in_place());
        // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only; `send` has
        // `own` bytes, which are ignored with MPI_IN_PLACE, and `recv` has room for all counts, as the callers have
        // checked.
        let status = unsafe {
            ffi::MPI_Allgatherv(
                send.map_or(in_place, |send| send.as_ptr().cast()),
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

    /// An all-gather in place with displacements beyond an `int`: every rank broadcasts its own part.
    fn broadcast_parts(&self, call: &Call<'_>, counts: &[usize], recv: &mut [u8]) -> Result<(), CommError> {
        let mut rest = recv;
        for (root, &count) in counts.iter().enumerate() {
            let Some((part, later)) = rest.split_at_mut_checked(count) else { break };
            self.broadcast_all(call, part, root)?;
            rest = later;
        }
        Ok(())
    }

    /// One `MPI_Reduce_scatter`. In place it leaves the result at the start of the buffer, from where it is moved.
    fn reduce_scatter_at_once(
        &self,
        call: &Call<'_>,
        buffer: &mut Buffer<'_>,
        op: ReduceOp,
    ) -> Result<(), CommError> {
        let World { rank, world_size, .. } = self.world;
        let (kind, len) = (buffer.kind(), buffer.len());
        let part = len / world_size.max(1);
        let counts = vec![self.count("reduce_scatter", part)?; world_size];
        let bytes = buffer.bytes_mut();
        // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only; the buffer
        // is as many elements as `counts` adds up to, which MPI_IN_PLACE makes input and output.
        let status = unsafe {
            ffi::MPI_Reduce_scatter(
                raw::address(self.runtime.in_place()),
                bytes.as_mut_ptr().cast(),
                counts.as_ptr(),
                raw::datatype(kind),
                raw::operation(op),
                call.handle.0,
            )
        };
        raw::check(status, "MPI_Reduce_scatter", &self.world, len)?;
        let part_bytes = part * kind.num_bytes();
        bytes.copy_within(..part_bytes, rank * part_bytes);
        Ok(())
    }

    /// A reduce-scatter of more than MPI can count: each part is reduced to its rank, piece by piece.
    fn reduce_parts(&self, call: &Call<'_>, buffer: &mut Buffer<'_>, op: ReduceOp) -> Result<(), CommError> {
        let World { rank, world_size, .. } = self.world;
        let (kind, len) = (buffer.kind(), buffer.len());
        let element_bytes = kind.num_bytes();
        let part = len / world_size.max(1);
        let in_place = raw::address(self.runtime.in_place());
        for (root, bytes) in buffer.bytes_mut().chunks_mut((part * element_bytes).max(1)).enumerate() {
            let root_index = self.count("reduce_scatter", root)?;
            for chunk in chunks(part, element_bytes, self.max_chunk_bytes) {
                let count = self.count("reduce_scatter", chunk.len())?;
                let Some(piece) = bytes.get_mut(chunk.start * element_bytes..chunk.end * element_bytes)
                else {
                    break;
                };
                let memory: *mut c_void = piece.as_mut_ptr().cast();
                let (send, recv) = if root == rank {
                    (in_place, memory)
                } else {
                    (memory.cast_const(), std::ptr::null_mut())
                };
                // SAFETY: MPI runs as long as `call` lives, the communicator is valid and used by this thread only;
                // `piece` is `count` elements, input and output at the root, input elsewhere, where the second address
                // is not used.
                let status = unsafe {
                    ffi::MPI_Reduce(
                        send,
                        recv,
                        count,
                        raw::datatype(kind),
                        raw::operation(op),
                        root_index,
                        call.handle.0,
                    )
                };
                raw::check(status, "MPI_Reduce", &self.world, chunk.len())?;
            }
        }
        Ok(())
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
    _noted: Noted<'a>,
}

impl Collective for MpiCollective {
    fn world(&self) -> &World {
        &self.world
    }

    fn backend(&self) -> Backend {
        Backend::Mpi
    }

    fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    fn all_reduce(&self, mut buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError> {
        let call = self.enter(Operation::AllReduce)?;
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
        let call = self.enter(Operation::AllGather)?;
        if recv.is_empty() {
            return Ok(());
        }
        if recv.len() <= self.max_chunk_bytes {
            return self.all_gather_at_once(&call, Some(send), counts, recv);
        }
        if let Some(part) = recv.get_mut(part_range(counts, self.world.rank)) {
            part.copy_from_slice(send);
        }
        self.broadcast_parts(&call, counts, recv)
    }

    fn reduce_scatter(&self, mut buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError> {
        check_reduce_scatter(&self.world, buffer.len())?;
        let call = self.enter(Operation::ReduceScatter)?;
        if buffer.is_empty() {
            return Ok(());
        }
        if buffer.len() * buffer.kind().num_bytes() <= self.max_chunk_bytes {
            return self.reduce_scatter_at_once(&call, &mut buffer, op);
        }
        self.reduce_parts(&call, &mut buffer, op)
    }

    fn all_gather_in_place(&self, mut buffer: Buffer<'_>, counts: &[usize]) -> Result<(), CommError> {
        check_parts(&self.world, buffer.len(), counts)?;
        let call = self.enter(Operation::AllGather)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let element_bytes = buffer.kind().num_bytes();
        let counts: Vec<usize> = counts.iter().map(|count| count * element_bytes).collect();
        let bytes = buffer.bytes_mut();
        if bytes.len() <= self.max_chunk_bytes {
            return self.all_gather_at_once(&call, None, &counts, bytes);
        }
        self.broadcast_parts(&call, &counts, bytes)
    }

    fn broadcast(&self, buffer: &mut [u8], root: usize) -> Result<(), CommError> {
        check_root(&self.world, root)?;
        let call = self.enter(Operation::Broadcast)?;
        self.broadcast_all(&call, buffer, root)
    }

    fn barrier(&self) -> Result<(), CommError> {
        let call = self.enter(Operation::Barrier)?;
        // SAFETY: MPI runs as long as `call` lives, and the communicator is valid and used by this thread only.
        raw::check(unsafe { ffi::MPI_Barrier(call.handle.0) }, "MPI_Barrier", &self.world, 0)
    }

    fn another(&self) -> Result<Arc<dyn Collective>, CommError> {
        Ok(Arc::new(self.duplicate()?))
    }
}
