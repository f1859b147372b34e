//! Where gradients, embeddings and statistics cross ranks.
//!
//! A [`Collective`](crate::Collective) blocks and knows host memory only. A [`Transport`] starts operations on tensors'
//! memory, host or device, and hands out [`Ticket`]s to wait on, so that the code above is the same whether an operation
//! runs at once ([`Inline`]), beside the computation on a thread ([`Background`]) or on a GPU ([`crate::NcclTransport`]).

mod background;
mod inline;
mod op;
mod ticket;

pub use background::Background;
pub use inline::Inline;
pub use op::{TensorOp, padded_part};
pub(crate) use ticket::Pending;
pub use ticket::Ticket;

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::CommError;
use crate::world::World;

/// Operations on tensors' memory that are started now and waited for later.
///
/// All ranks submit the same operations in the same order; they take effect in this order, and may complete later.
/// Calls may come from any thread.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// The ranks that take part.
    fn world(&self) -> &World;

    /// What carries the bytes.
    fn backend(&self) -> Backend;

    /// Whether the work goes on while the caller computes.
    fn is_asynchronous(&self) -> bool;

    /// Starts `op` after everything that the caller (host memory) or the compute stream (device memory) has done so far.
    ///
    /// # Errors
    /// [`CommError::Argument`] when `op` and the buffer do not fit; what the transport reports.
    ///
    /// # Safety
    /// Until the ticket has been waited for or dropped, the memory of `buffer` stays allocated and nothing else reads or
    /// writes it. A ticket that is leaked keeps this true for ever. Device memory goes to a transport for device memory
    /// only, host memory to one for host memory.
    unsafe fn start(&self, op: TensorOp, buffer: Buffer<'static>) -> Result<Ticket, CommError>;

    /// Starts several operations as one: where the transport can, as one launch. Their buffers do not overlap. The
    /// ticket waits for all.
    ///
    /// # Errors
    /// As for [`Transport::start`].
    ///
    /// # Safety
    /// As for [`Transport::start`], for each buffer.
    unsafe fn start_group(&self, ops: Vec<(TensorOp, Buffer<'static>)>) -> Result<Ticket, CommError> {
        let mut tickets = Vec::with_capacity(ops.len());
        for (op, buffer) in ops {
            // SAFETY: the caller promises for each buffer what `start` asks for. Where a later operation is refused,
            // dropping the tickets waits for the earlier ones.
            tickets.push(unsafe { self.start(op, buffer) }?);
        }
        Ok(Ticket::all(tickets))
    }
}
