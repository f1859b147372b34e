//! What callers want more often than the four operations themselves.

use std::fmt::Display;

use crate::agree::{Disagreement, Failures, shortened};
use crate::buffer::Buffer;
use crate::collective::{Collective, ReduceOp};
use crate::error::CommError;

/// Most bytes that [`CollectiveExt::gather_bytes`] collects: reports and small tables; tensors have known sizes and go
/// through [`Collective::all_gather`].
pub(crate) const MAX_GATHERED_BYTES: u64 = 1 << 30;

/// Conveniences over [`Collective`]; like it, they are called by all ranks in the same order.
pub trait CollectiveExt: Collective {
    /// One number of each rank, in the order of ranks.
    ///
    /// # Errors
    /// What the transport reports.
    fn all_gather_usize(&self, value: usize) -> Result<Vec<usize>, CommError> {
        const WIDTH: usize = size_of::<u64>();
        let world_size = self.world().world_size;
        let mut recv = vec![0; world_size * WIDTH];
        self.all_gather(&(value as u64).to_ne_bytes(), &vec![WIDTH; world_size], &mut recv)?;
        let (numbers, _) = recv.as_chunks::<WIDTH>();
        Ok(numbers.iter().map(|bytes| u64::from_ne_bytes(*bytes) as usize).collect())
    }

    /// A message of each rank, of any length, in the order of ranks; 1 GiB in all.
    ///
    /// # Errors
    /// [`CommError::TooLarge`], on all ranks alike; what the transport reports.
    fn gather_bytes(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, CommError> {
        let counts = self.all_gather_usize(message.len())?;
        let total = counts.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count as u64));
        let bytes = total.unwrap_or(u64::MAX);
        if bytes > MAX_GATHERED_BYTES {
            return Err(CommError::TooLarge { operation: "gather_bytes", bytes, limit: MAX_GATHERED_BYTES });
        }
        let mut recv = vec![0; counts.iter().sum()];
        self.all_gather(message, &counts, &mut recv)?;
        let mut rest = recv.as_slice();
        let messages = counts.iter().map(|&count| {
            let (message, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            message.to_vec()
        });
        Ok(messages.collect())
    }

    /// The message of rank `root`, on all ranks; what other ranks pass is ignored. As long as memory
    /// can hold.
    ///
    /// # Errors
    /// [`CommError::OutOfMemory`] on all ranks when one of them lacks the memory; what the transport reports.
    fn broadcast_bytes(&self, message: Vec<u8>, root: usize) -> Result<Vec<u8>, CommError> {
        let mut len = (message.len() as u64).to_ne_bytes();
        self.broadcast(&mut len, root)?;
        let bytes = u64::from_ne_bytes(len);
        let mut buffer = message;
        let fits = self.world().rank == root || make_room(&mut buffer, bytes);
        if !self.all_true(fits)? {
            return Err(CommError::OutOfMemory { operation: "broadcast_bytes", bytes });
        }
        self.broadcast(&mut buffer, root)?;
        Ok(buffer)
    }

    /// Adds up `values` over all ranks, element by element.
    ///
    /// # Errors
    /// What the transport reports.
    fn sum_f64(&self, values: &mut [f64]) -> Result<(), CommError> {
        self.all_reduce(Buffer::from(values), ReduceOp::Sum)
    }

    /// Whether `value` holds on all ranks.
    ///
    /// # Errors
    /// What the transport reports.
    fn all_true(&self, value: bool) -> Result<bool, CommError> {
        let mut flag = [u8::from(value)];
        self.all_reduce(Buffer::from(&mut flag[..]), ReduceOp::Min)?;
        Ok(flag == [1])
    }

    /// Lets all ranks go on, or none: returns `local` where every rank succeeded, else what failed where.
    ///
    /// # Errors
    /// [`Disagreement::Failed`] with the messages of all ranks that failed, the same on each rank;
    /// [`Disagreement::Comm`] when the ranks could not talk.
    fn agree<T, E: Display>(&self, local: Result<T, E>) -> Result<T, Disagreement> {
        // One byte in front tells an error without text from none.
        let message = match &local {
            Ok(_) => String::new(),
            Err(error) => shortened(format!("!{error}")),
        };
        let lengths = self.all_gather_usize(message.len())?;
        match local {
            Ok(value) if lengths.iter().all(|&length| length == 0) => return Ok(value),
            _ => {}
        }
        let messages = self.gather_bytes(message.as_bytes())?;
        Err(Disagreement::Failed(Failures::fold(&messages)))
    }
}

impl<C: Collective + ?Sized> CollectiveExt for C {}

/// Makes `buffer` hold `bytes` zeros; false when there is no memory for it.
fn make_room(buffer: &mut Vec<u8>, bytes: u64) -> bool {
    let Ok(len) = usize::try_from(bytes) else { return false };
    buffer.clear();
    if buffer.try_reserve_exact(len).is_err() {
        return false;
    }
    buffer.resize(len, 0);
    true
}
