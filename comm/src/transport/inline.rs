//! Operations that run at once on the calling thread.

use std::sync::Arc;

use super::{Backend, TensorOp, Ticket, Transport};
use crate::buffer::Buffer;
use crate::collective::Collective;
use crate::error::CommError;
use crate::world::World;

/// Runs each operation when it is started, on the calling thread, over host memory.
#[derive(Debug, Clone)]
pub struct Inline {
    collective: Arc<dyn Collective>,
}

impl Inline {
    /// Operations over `collective`.
    #[must_use]
    pub fn new(collective: Arc<dyn Collective>) -> Self {
        Self { collective }
    }
}

impl Transport for Inline {
    fn world(&self) -> &World {
        self.collective.world()
    }

    fn backend(&self) -> Backend {
        self.collective.backend()
    }

    fn is_asynchronous(&self) -> bool {
        false
    }

    unsafe fn start(&self, op: TensorOp, buffer: Buffer<'static>) -> Result<Ticket, CommError> {
        op.run(&*self.collective, buffer)?;
        Ok(Ticket::done())
    }
}
