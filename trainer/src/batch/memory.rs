//! Memory of the host for the views of a batch: written once, by the loader, and then read only, as numbers and as a tensor.
//!
//! Nobody gives it back by hand. libtorch's allocators do, once the last tensor over it is gone, and pinned memory only when the
//! copies that were queued from it are done; the next batch finds it there, so that none is given to two batches at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};

use dtrain_data::memory::Written;
use dtrain_data::{HostMemory, NoMemory};
use tch::{Device, TchError, Tensor};

use crate::torch_extra::host_floats;

/// Blocks of libtorch's, pinned where `device` is a GPU.
#[derive(Debug, Clone, Copy)]
pub struct TensorMemory {
    /// Where batches are used.
    pub device: Device,
}

impl HostMemory for TensorMemory {
    type Block = HostBlock;

    fn allocate(&self, len: usize) -> Result<HostBlock, NoMemory> {
        let tensor = host_floats(len, self.device);
        let tensor = tensor.map_err(|e| NoMemory { num_values: len, reason: e.to_string() })?;
        Ok(HostBlock { tensor, len })
    }
}

/// Values of a batch.
pub struct HostBlock {
    /// `[capacity]`, f32, contiguous, shared with nobody while it is written.
    tensor: Tensor,
    len: usize,
}

/// The values as a tensor of `shape` over the same memory, to be read only: nobody can write them any more.
///
/// # Errors
/// When the shape is of another number of values.
pub fn tensor(values: &Written<HostBlock>, shape: &[i64]) -> Result<Tensor, TchError> {
    values.block().tensor.f_narrow(0, 0, values.len() as i64)?.f_view(shape)
}

impl Deref for HostBlock {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the tensor holds at least `len` contiguous f32 in host memory, for which any bits are a number; who may write
        // them has `&mut self`, and has no tensor of them.
        unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast::<f32>(), self.len) }
    }
}

impl DerefMut for HostBlock {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; the borrow is exclusive, and the tensor is shared only once nobody writes any more.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast::<f32>(), self.len) }
    }
}

impl fmt::Debug for HostBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(len: usize) -> HostBlock {
        TensorMemory { device: Device::Cpu }.allocate(len).unwrap()
    }

    fn filled(len: usize, value: f32) -> Written<HostBlock> {
        let mut block = allocated(len);
        block.fill(value);
        Written::new(block, len)
    }

    #[test]
    fn a_tensor_is_the_same_memory_without_what_was_cut_off() {
        let mut block = allocated(8);
        block.copy_from_slice(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let values = Written::new(block, 6);
        assert_eq!(*values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let matrix = tensor(&values, &[3, 2]).unwrap();
        assert_eq!(matrix.data_ptr().cast_const().cast::<f32>(), values.as_ptr());
        assert_eq!(matrix.double_value(&[2, 1]), 5.0);
        assert!(tensor(&values, &[4, 2]).is_err());
        assert!(tensor(&Written::new(allocated(0), 0), &[0, 1, 2, 2]).is_ok());
    }

    /// Large enough for the pool, and of a size of its own.
    #[test]
    fn memory_is_used_again_when_the_last_tensor_of_it_is_gone_and_not_before() {
        const LEN: usize = 70_000_003;
        crate::torch_extra::keep_large_blocks();
        let first = filled(LEN, 1.0);
        let address = first.as_ptr();
        let held = tensor(&first, &[LEN as i64]).unwrap();
        drop(first);
        let second = filled(LEN, 2.0);
        assert_ne!(second.as_ptr(), address);
        assert_eq!((held.double_value(&[0]), held.double_value(&[LEN as i64 - 1])), (1.0, 1.0));
        drop(held);
        // Where it begins may differ: what lay free beside it has been joined to it.
        let distance = (filled(LEN, 3.0).as_ptr() as usize).abs_diff(address as usize);
        assert!(distance < 4 * LEN, "{distance} bytes away");
        assert_eq!(second[LEN - 1], 2.0);
    }
}
