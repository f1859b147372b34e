//! A world of one: nothing is sent, and MPI is not touched.

use std::sync::Arc;

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::collective::{Collective, ReduceOp, check_all_gather, check_parts, check_root};
use crate::error::CommError;
use crate::heartbeat::Heartbeat;
use crate::world::World;

/// The collective operations of a process without peers. Arguments are checked as between many ranks.
#[derive(Debug, Clone)]
pub struct Single {
    world: World,
    heartbeat: Heartbeat,
}

impl Single {
    /// A process that was started by hand.
    #[must_use]
    pub fn new() -> Self {
        Self::of(World::single())
    }

    /// The only process of `world`'s launcher.
    pub(crate) fn of(world: World) -> Self {
        let heartbeat = Heartbeat::detached(&world);
        Self { world, heartbeat }
    }
}

impl Default for Single {
    fn default() -> Self {
        Self::new()
    }
}

impl Collective for Single {
    fn world(&self) -> &World {
        &self.world
    }

    fn backend(&self) -> Backend {
        Backend::Single
    }

    fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    fn all_reduce(&self, _buffer: Buffer<'_>, _op: ReduceOp) -> Result<(), CommError> {
        Ok(())
    }

    fn all_gather(&self, send: &[u8], counts: &[usize], recv: &mut [u8]) -> Result<(), CommError> {
        check_all_gather(&self.world, send.len(), counts, recv.len())?;
        recv.copy_from_slice(send);
        Ok(())
    }

    fn reduce_scatter(&self, _buffer: Buffer<'_>, _op: ReduceOp) -> Result<(), CommError> {
        Ok(())
    }

    fn all_gather_in_place(&self, buffer: Buffer<'_>, counts: &[usize]) -> Result<(), CommError> {
        check_parts(&self.world, buffer.len(), counts)
    }

    fn broadcast(&self, _buffer: &mut [u8], root: usize) -> Result<(), CommError> {
        check_root(&self.world, root)
    }

    fn barrier(&self) -> Result<(), CommError> {
        Ok(())
    }

    fn another(&self) -> Result<Arc<dyn Collective>, CommError> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_one_is_itself() {
        let mut numbers = [1.5_f32, -2.0];
        Single::new().all_reduce(Buffer::from(&mut numbers[..]), ReduceOp::Sum).unwrap();
        assert_eq!(numbers, [1.5, -2.0]);
    }

    #[test]
    fn wrong_lengths_are_named() {
        let single = Single::new();
        let message = |result: Result<(), CommError>| result.unwrap_err().to_string();
        assert_eq!(
            message(single.all_gather(&[1, 2], &[2], &mut [0; 3])),
            "all_gather on rank 0 of 1: receives 3 bytes, but `counts` adds up to 2"
        );
        assert_eq!(
            message(single.all_gather(&[1, 2], &[1], &mut [0; 1])),
            "all_gather on rank 0 of 1: sends 2 bytes, but `counts` says 1"
        );
        assert_eq!(
            message(single.all_gather(&[], &[0, 0], &mut [])),
            "all_gather on rank 0 of 1: 2 counts for 1 ranks"
        );
        assert_eq!(
            message(single.broadcast(&mut [], 1)),
            "broadcast on rank 0 of 1: there is no rank 1 to broadcast from"
        );
    }
}
