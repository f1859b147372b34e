//! Elements that lie in memory in another order than in a file. Weights of convolutions are kept channels last, and a
//! checkpoint holds every tensor in row-major order: the order is changed while writing, not while training waits.

use std::io::{self, Write};

/// Elements that are put in order at once: what lies in the cache while it is hashed and written.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// Where the elements of a tensor lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strided {
    /// First byte.
    pub offset: usize,
    /// Bytes of an element.
    pub element_bytes: usize,
    /// Logical sizes.
    pub shape: Vec<usize>,
    /// Elements from one index to the next, for each dimension.
    pub strides: Vec<usize>,
}

impl Strided {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the elements.
    pub fn num_bytes(&self) -> usize {
        self.len() * self.element_bytes
    }

    /// Writes the elements that lie in `memory` in row-major order.
    ///
    /// # Errors
    /// Those of `writer`; [`io::ErrorKind::InvalidInput`] when the elements do not lie in `memory`.
    pub fn write_to(&self, memory: &[u8], writer: &mut dyn Write) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a tensor lies outside of its memory");
        let dims = self.merged();
        let reach: usize = dims.iter().map(|(size, stride)| (size - 1) * stride).sum();
        let end = self.offset + (reach + 1) * self.element_bytes;
        let bytes = memory.get(self.offset..end).ok_or_else(outside)?;
        if matches!(dims.as_slice(), [] | [(_, 1)]) {
            return writer.write_all(bytes);
        }
        match self.element_bytes {
            1 => gather(bytes.as_chunks::<1>().0, &dims, writer),
            2 => gather(bytes.as_chunks::<2>().0, &dims, writer),
            4 => gather(bytes.as_chunks::<4>().0, &dims, writer),
            8 => gather(bytes.as_chunks::<8>().0, &dims, writer),
            _ => Err(outside()),
        }
    }

    /// Sizes and strides without dimensions of size 1, neighbours that are walked as one joined.
    fn merged(&self) -> Vec<(usize, usize)> {
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (&size, &stride) in self.shape.iter().zip(&self.strides).filter(|(size, _)| **size != 1) {
            match merged.last_mut() {
                Some((outer, outer_stride)) if *outer_stride == size * stride => {
                    *outer *= size;
                    *outer_stride = stride;
                }
                _ => merged.push((size, stride)),
            }
        }
        merged
    }
}

/// Writes `elements` in the order of `dims`, which are not empty.
fn gather<const N: usize>(
    elements: &[[u8; N]],
    dims: &[(usize, usize)],
    writer: &mut dyn Write,
) -> io::Result<()> {
    let Some((&(inner, inner_stride), outer)) = dims.split_last() else { return Ok(()) };
    if let Some((&(columns, 1), outer)) = outer.split_last() {
        return transpose(elements, (inner, inner_stride), columns, outer, writer);
    }
    let mut chunk: Vec<[u8; N]> = Vec::with_capacity(CHUNK_ELEMENTS + inner.min(CHUNK_ELEMENTS));
    let mut index = vec![0; outer.len()];
    let mut start = 0;
    loop {
        let row = elements.get(start..).unwrap_or_default();
        chunk.extend(row.iter().step_by(inner_stride.max(1)).take(inner));
        if chunk.len() >= CHUNK_ELEMENTS {
            writer.write_all(chunk.as_flattened())?;
            chunk.clear();
        }
        if !advance(&mut index, outer, &mut start) {
            return writer.write_all(chunk.as_flattened());
        }
    }
}

/// As [`gather`], where the last two dimensions lie the other way round, as in a convolution's weight: `rows` of
/// `columns` neighbours each, a `stride` apart, are written column by column. Memory is read in the order in which it lies.
fn transpose<const N: usize>(
    elements: &[[u8; N]],
    (rows, stride): (usize, usize),
    columns: usize,
    outer: &[(usize, usize)],
    writer: &mut dyn Write,
) -> io::Result<()> {
    let at_once = (CHUNK_ELEMENTS / rows.max(1)).max(1);
    let mut chunk = vec![[0; N]; CHUNK_ELEMENTS.max(at_once.min(columns) * rows)];
    let mut used = 0;
    let mut index = vec![0; outer.len()];
    let mut start = 0;
    loop {
        for first in (0..columns).step_by(at_once) {
            let width = at_once.min(columns - first);
            if chunk.len() - used < width * rows {
                writer.write_all(chunk.get(..used).unwrap_or_default().as_flattened())?;
                used = 0;
            }
            let block = chunk.get_mut(used..used + width * rows).unwrap_or_default();
            for row in 0..rows {
                let begin = start + row * stride + first;
                let line = elements.get(begin..begin + width).unwrap_or_default();
                let places = block.get_mut(row..).unwrap_or_default().iter_mut().step_by(rows);
                places.zip(line).for_each(|(place, element)| *place = *element);
            }
            used += width * rows;
        }
        if !advance(&mut index, outer, &mut start) {
            return writer.write_all(chunk.get(..used).unwrap_or_default().as_flattened());
        }
    }
}

/// The next index, as an odometer, with the element where it starts; false after the last one.
fn advance(index: &mut [usize], dims: &[(usize, usize)], start: &mut usize) -> bool {
    for (index, (size, stride)) in index.iter_mut().zip(dims).rev() {
        *index += 1;
        *start += stride;
        if *index < *size {
            return true;
        }
        *start -= *size * stride;
        *index = 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(strided: &Strided, memory: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        strided.write_to(memory, &mut bytes).unwrap();
        bytes
    }

    /// One element at a time, by the definition of a stride.
    fn plain(strided: &Strided, memory: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..strided.len() {
            let (mut rest, mut at) = (number, 0);
            for (size, stride) in strided.shape.iter().zip(&strided.strides).rev() {
                at += rest % size * stride;
                rest /= size;
            }
            let begin = strided.offset + at * strided.element_bytes;
            bytes.extend_from_slice(&memory[begin..begin + strided.element_bytes]);
        }
        bytes
    }

    #[test]
    fn channels_last_becomes_row_major() {
        // (out, in, height, width) = (1, 2, 1, 3), stored as (out, height, width, in).
        let strided =
            Strided { offset: 2, element_bytes: 2, shape: vec![1, 2, 1, 3], strides: vec![6, 1, 6, 2] };
        let memory: Vec<u8> = (0..14).collect();
        assert_eq!(written(&strided, &memory), [2, 3, 6, 7, 10, 11, 4, 5, 8, 9, 12, 13]);
    }

    #[test]
    fn what_lies_outside_is_refused_and_nothing_is_nothing() {
        let strided = Strided { offset: 8, element_bytes: 4, shape: vec![2], strides: vec![1] };
        assert!(strided.write_to(&[0; 15], &mut Vec::new()).is_err());
        assert_eq!(written(&strided, &[1; 16]), [1; 8]);
        let empty = Strided { offset: 99, element_bytes: 4, shape: vec![3, 0], strides: vec![0, 1] };
        assert!(written(&empty, &[]).is_empty());
        let scalar = Strided { offset: 0, element_bytes: 8, shape: vec![], strides: vec![] };
        assert_eq!(written(&scalar, &[7; 8]), [7; 8]);
    }

    proptest! {
        #[test]
        fn any_order_of_the_dimensions_is_put_right(
            sizes in prop::collection::vec(1usize..7, 0..5),
            order in any::<prop::sample::Index>(),
            element_bytes in prop::sample::select(vec![1usize, 2, 4, 8]),
            offset in 0usize..3,
        ) {
            let mut places: Vec<usize> = (0..sizes.len()).collect();
            if !places.is_empty() {
                let len = places.len();
                places.rotate_left(order.index(len));
                places.swap(0, order.index(len * len) / len);
            }
            let mut strides = vec![0; sizes.len()];
            let mut next = 1;
            for &place in places.iter().rev() {
                strides[place] = next;
                next *= sizes[place];
            }
            let offset = offset * element_bytes;
            let memory: Vec<u8> = (0..offset + next * element_bytes).map(|i| i as u8).collect();
            let strided = Strided { offset, element_bytes, shape: sizes, strides };
            prop_assert_eq!(written(&strided, &memory), plain(&strided, &memory));
        }
    }

    #[test]
    fn more_than_a_chunk_arrives_whole() {
        let (rows, columns) = (300, CHUNK_ELEMENTS / 100);
        let strided =
            Strided { offset: 0, element_bytes: 4, shape: vec![rows, columns], strides: vec![1, rows] };
        let memory: Vec<u8> = (0..rows * columns * 4).map(|i| (i / 7) as u8).collect();
        assert!(written(&strided, &memory) == plain(&strided, &memory));
    }
}
