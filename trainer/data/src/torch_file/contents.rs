//! The contents of a tensor: those of its storage in place where it lies there in one piece, otherwise gathered by its strides.

use std::borrow::Cow;

use super::TorchFile;
use crate::dtype::Dtype;
use crate::pickle::{StorageEntry, TensorEntry};

/// A tensor of a file.
#[derive(Debug, Clone, Copy)]
pub struct StoredTensor<'a> {
    file: &'a TorchFile,
    entry: &'a TensorEntry,
    storage: &'a StorageEntry,
}

impl TorchFile {
    /// A tensor by its number.
    pub(super) fn stored(&self, index: u32) -> Option<StoredTensor<'_>> {
        let entry = self.unpickled.heap.tensors.get(index as usize)?;
        let storage = self.unpickled.heap.storages.get(entry.storage as usize)?;
        Some(StoredTensor { file: self, entry, storage })
    }
}

impl<'a> StoredTensor<'a> {
    /// Type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.storage.dtype
    }

    /// Sizes, outermost first; empty for a scalar.
    pub fn shape(&self) -> &'a [u64] {
        &self.entry.shape
    }

    /// Its elements row by row, little-endian.
    ///
    /// # Errors
    /// It reaches beyond its storage, or is larger than the whole file.
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>, String> {
        let storage = self.check()?;
        let size = self.dtype().num_bytes() as usize;
        let numel = self.numel().unwrap_or(0) as usize;
        let begin = self.entry.offset as usize * size;
        let mut bytes = match self.is_contiguous() {
            _ if numel == 0 => return Ok(Cow::Borrowed(&[])),
            true => Cow::Borrowed(storage.get(begin..begin + numel * size).unwrap_or_default()),
            false => Cow::Owned(self.gathered(storage, numel * size)),
        };
        if self.file.unpickled.is_big_endian && size > 1 {
            bytes.to_mut().chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }

    /// The storage, which holds all elements.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self) -> Result<&'a [u8], String> {
        let size = self.dtype().num_bytes();
        let key = self.file.code().part(self.storage.key.offset, self.storage.key.len, "a key");
        let key = String::from_utf8_lossy(key.unwrap_or_default());
        let expected = self.storage.num_elements.saturating_mul(size);
        let range = self.file.unpickled.storages.get(key.as_ref());
        let Some(storage) = range.and_then(|range| self.file.bytes.get(range.clone())) else {
            return Err(format!("its storage `{}` is not in the file", crate::pickle::shown(key.as_bytes())));
        };
        if (storage.len() as u64) < expected {
            let key = crate::pickle::shown(key.as_bytes());
            let found = storage.len();
            return Err(format!("its storage `{key}` has {found} bytes, expected {expected}"));
        }
        let (shape, strides) = (&self.entry.shape, &self.entry.strides);
        let num_bytes = self.numel().and_then(|numel| numel.checked_mul(size));
        let Some(num_bytes) = num_bytes.filter(|&bytes| bytes <= self.file.bytes.len() as u64) else {
            return Err(format!("{} {shape:?} is larger than the file", self.dtype().name()));
        };
        let last = shape.iter().zip(strides).try_fold(self.entry.offset, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        let elements = self.storage.num_elements;
        match last {
            Some(last) if num_bytes == 0 || last < elements => Ok(storage),
            _ => Err(format!(
                "{shape:?} with strides {strides:?} from element {} on reaches beyond the {elements} elements of its \
                 storage",
                self.entry.offset
            )),
        }
    }

    fn numel(&self) -> Option<u64> {
        // A size of 0 behind others whose product is too large makes an empty tensor as well.
        if self.entry.shape.contains(&0) {
            return Some(0);
        }
        self.entry.shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size))
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1_u64;
        self.entry.shape.iter().zip(&self.entry.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
    }

    /// Copies element by element; the innermost dimension changes fastest.
    fn gathered(&self, storage: &[u8], num_bytes: usize) -> Vec<u8> {
        let (shape, strides) = (&self.entry.shape, &self.entry.strides);
        let size = self.dtype().num_bytes() as usize;
        let mut out = Vec::with_capacity(num_bytes);
        let mut index = vec![0_u64; shape.len()];
        let mut at = self.entry.offset;
        while out.len() < num_bytes {
            let begin = at as usize * size;
            let Some(element) = storage.get(begin..begin + size) else { break };
            out.extend_from_slice(element);
            let dimensions = index.iter_mut().zip(shape.iter().zip(strides)).rev();
            for (place, (&size, &stride)) in dimensions {
                *place += 1;
                at += stride;
                if *place < size {
                    break;
                }
                // `check` made sure that this product does not overflow.
                at -= size * stride;
                *place = 0;
            }
        }
        out
    }
}
