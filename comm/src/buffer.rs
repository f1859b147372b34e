//! Memory that a collective reads and writes in place, with its element type.

use std::marker::PhantomData;
use std::ptr::NonNull;

/// Type of the elements of a [`Buffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementKind {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
    /// Byte.
    U8,
}

impl ElementKind {
    /// Bytes per element.
    #[must_use]
    pub fn num_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::U8 => 1,
        }
    }
}

/// An exclusive borrow of `len` elements, from a slice or from memory that another library owns.
#[derive(Debug)]
pub struct Buffer<'a> {
    start: NonNull<u8>,
    len: usize,
    kind: ElementKind,
    borrow: PhantomData<&'a mut [u8]>,
}

// SAFETY: a `Buffer` is an exclusive borrow of plain numbers, like `&mut [f32]`, which is `Send`.
unsafe impl Send for Buffer<'_> {}

impl<'a> Buffer<'a> {
    /// A buffer over memory of another library, such as a tensor's.
    ///
    /// # Safety
    /// For `'a`, which the caller chooses:
    /// - `start` points to `len` initialized elements of `kind`, aligned for it, in one allocation; it may be null
    ///   when `len` is 0;
    /// - the memory stays allocated, and nothing else reads or writes it.
    #[must_use]
    pub unsafe fn from_raw(start: *mut u8, len: usize, kind: ElementKind) -> Self {
        let start = NonNull::new(start).unwrap_or(NonNull::<u64>::dangling().cast());
        Self { start, len, kind, borrow: PhantomData }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Type of the elements.
    #[must_use]
    pub fn kind(&self) -> ElementKind {
        self.kind
    }

    /// Address of the first element; dangling when the buffer is empty.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The same memory for a shorter time.
    pub fn reborrow(&mut self) -> Buffer<'_> {
        Buffer { start: self.start, len: self.len, kind: self.kind, borrow: PhantomData }
    }

    /// The memory as bytes, in the machine's byte order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `start` and `len` describe initialized memory that this borrow holds exclusively; every bit pattern
        // is a valid byte and a valid number of each kind.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len * self.kind.num_bytes()) }
    }

    /// The same memory under a lifetime that the caller promises.
    ///
    /// # Safety
    /// As for [`Buffer::from_raw`] with the new lifetime.
    #[must_use]
    pub unsafe fn extend<'b>(self) -> Buffer<'b> {
        Buffer { start: self.start, len: self.len, kind: self.kind, borrow: PhantomData }
    }
}

macro_rules! from_slice {
    ($($element:ty => $kind:ident),* $(,)?) => {$(
        impl<'a> From<&'a mut [$element]> for Buffer<'a> {
            fn from(slice: &'a mut [$element]) -> Self {
                Self {
                    start: NonNull::from(&mut *slice).cast(),
                    len: slice.len(),
                    kind: ElementKind::$kind,
                    borrow: PhantomData,
                }
            }
        }
    )*};
}
from_slice!(f32 => F32, f64 => F64, i32 => I32, i64 => I64, u64 => U64, u8 => U8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_pointer_without_elements_is_an_empty_buffer() {
        // SAFETY: no element is promised.
        let mut buffer = unsafe { Buffer::from_raw(std::ptr::null_mut(), 0, ElementKind::F64) };
        assert!(buffer.is_empty());
        assert!(buffer.bytes_mut().is_empty());
    }

    #[test]
    fn bytes_are_those_of_the_slice() {
        let mut numbers = [1.0_f32, -2.5];
        let expected: Vec<u8> = numbers.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let mut buffer = Buffer::from(&mut numbers[..]);
        assert_eq!((buffer.len(), buffer.kind()), (2, ElementKind::F32));
        assert_eq!(buffer.reborrow().bytes_mut(), expected);
    }
}
