//! Device memory for what the backend itself sends.

use std::sync::Arc;

use super::driver::CudaError;
use super::objects::Context;

/// Memory on a device, freed at the end.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    context: Arc<Context>,
    address: u64,
}

impl DeviceMemory {
    /// At least `bytes` bytes of undefined content, aligned for every number. The context is current.
    pub(crate) fn allocate(context: &Arc<Context>, bytes: usize) -> Result<Self, CudaError> {
        let driver = context.driver();
        let mut address = 0;
        // SAFETY: the pointer is to a local.
        let status = unsafe { (driver.memory_allocate)(&raw mut address, bytes.max(1)) };
        driver.check(status, "cuMemAlloc")?;
        Ok(Self { context: context.clone(), address })
    }

    /// Where it begins; nothing that the host may read.
    pub(crate) fn address(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(usize::try_from(self.address).unwrap_or_default())
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by this value. An error here has no consequence but memory that stays taken.
        unsafe { (self.context.driver().memory_free)(self.address) };
    }
}
