//! The first collective of each kind and size, at the start.
//!
//! NCCL connects ranks lazily: at the first collective for which it chooses a certain algorithm, inside the call. In a run
//! that would be a wait in the middle of a backward pass. Here it is one of its own, with a limit and a name.

use std::sync::Arc;

use super::call::{Backoff, Call};
use super::link::Link;
use crate::buffer::{Buffer, ElementKind};
use crate::collective::ReduceOp;
use crate::cuda::{CudaError, DeviceMemory};
use crate::error::CommError;
use crate::transport::TensorOp;

/// Between the sizes of two classes; NCCL's choice depends on the size, among other things.
const CLASS: usize = 16;
/// Below, everything is small.
const SMALLEST_BYTES: usize = 4096;

/// Runs each kind of operation at each size up to about `largest_bytes`, on the calling thread, and returns when all are
/// complete. All ranks call it.
///
/// # Errors
/// What NCCL or the driver report; nothing is under way then.
pub(super) fn meet(link: &Arc<Link>, largest_bytes: usize) -> Result<(), CommError> {
    link.enter()?;
    let cuda = |error: CudaError| error.on(&link.world);
    let operations = operations(link.world.world_size, largest_bytes);
    let bytes = operations.iter().map(|(_, kind, len)| kind.num_bytes() * len).max().unwrap_or(0);
    let memory = DeviceMemory::allocate(&link.context, bytes).map_err(cuda)?;
    let met = operations
        .into_iter()
        .try_for_each(|(op, kind, len)| launch(link, op, &memory, kind, len))
        .and_then(|()| wait(link));
    if let Err(error) = &met {
        // The memory may still be written.
        link.fail(error.clone());
        link.wait_until_idle();
    }
    met
}

fn launch(
    link: &Link,
    op: TensorOp,
    memory: &DeviceMemory,
    kind: ElementKind,
    len: usize,
) -> Result<(), CommError> {
    let call = Call { count: len, ..Call::without_elements(op.name(), &link.world) };
    // SAFETY: the memory is long enough, holds numbers of any value, and is kept until nothing uses it.
    let buffer = unsafe { Buffer::from_raw(memory.address(), len, kind) };
    let _order = link.order();
    // SAFETY: as above; the lengths fit the operations.
    let goes_on = unsafe { link.communicator.launch(vec![(op, buffer)], link.stream.handle(), call) }?;
    if goes_on { link.communicator.settle(call, link.timeout) } else { Ok(()) }
}

fn wait(link: &Link) -> Result<(), CommError> {
    let call = Call::without_elements("first contact", &link.world);
    let backoff = Backoff::new();
    while !link.stream.is_idle().map_err(|error| error.on(&link.world))? {
        link.communicator.is_busy(call)?;
        backoff.pause();
    }
    Ok(())
}

/// Kinds of operations that a run starts, with the element type and the number of elements.
fn operations(world_size: usize, largest_bytes: usize) -> Vec<(TensorOp, ElementKind, usize)> {
    let mut all = Vec::new();
    let mut bytes = largest_bytes.max(SMALLEST_BYTES);
    while bytes >= SMALLEST_BYTES {
        // A whole number of elements for each rank.
        let part = |kind: ElementKind| (bytes / kind.num_bytes() / world_size.max(1)).max(1);
        let counts = vec![part(ElementKind::F32); world_size];
        for (op, kind) in [
            (TensorOp::AllReduce(ReduceOp::Sum), ElementKind::F32),
            // Some algorithms are for few types only.
            (TensorOp::AllReduce(ReduceOp::Sum), ElementKind::F64),
            (TensorOp::ReduceScatter, ElementKind::F32),
            (TensorOp::AllGather { counts }, ElementKind::F32),
            (TensorOp::Broadcast { root: 0 }, ElementKind::F32),
        ] {
            all.push((op, kind, part(kind) * world_size));
        }
        bytes /= CLASS;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn every_size_class_is_met_by_lengths_that_fit() {
        for (world_size, largest) in [(1, 0), (2, 1), (3, 25 << 20), (8, 25 << 20), (3000, 4096)] {
            let world = World { world_size, ..World::single() };
            let all = operations(world_size, largest);
            assert!(all.iter().all(|(op, _, len)| op.check(&world, *len).is_ok()), "{all:?}");
            let mut sizes: Vec<usize> = all.iter().map(|(_, kind, len)| kind.num_bytes() * len).collect();
            sizes.sort_unstable();
            let gap = sizes.windows(2).map(|pair| pair[1] / pair[0].max(1)).max().unwrap_or(0);
            assert!(gap <= 2 * CLASS, "{sizes:?}");
            let largest = largest.max(SMALLEST_BYTES);
            assert!(
                sizes.last().is_some_and(|&size| size <= largest.max(8 * world_size) && 2 * size > largest)
            );
        }
    }
}
