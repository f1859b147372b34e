//! Files of named tensors as they are written: as a stream, so that a model is never held twice.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::tensor_spec::{MAX_HEADER_BYTES, METADATA_KEY, TensorFileError, TensorSpec};

/// Writes a file of `specs`. `fill(i, w)` writes the bytes of `specs[i]`, each once, wide types first, so that every
/// tensor lies at a multiple of its element size.
///
/// # Errors
/// Names that repeat, a tensor of other than its bytes, and I/O errors, also those of `fill`.
pub fn write_tensors(
    writer: &mut dyn Write,
    specs: &[TensorSpec],
    metadata: &BTreeMap<String, String>,
    mut fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<(), TensorFileError> {
    let (header, order) = encode_header(specs, metadata)?;
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(&header)?;
    for (index, spec) in order {
        let mut counted = Counted { inner: &mut *writer, bytes: 0 };
        fill(index, &mut counted)?;
        let actual = counted.bytes;
        if spec.num_bytes() != Some(actual) {
            return Err(TensorFileError::Tensor {
                name: spec.name.clone(),
                reason: format!("{} {:?} was written with {actual} bytes", spec.dtype.name(), spec.shape),
            });
        }
    }
    Ok(())
}

/// Length of the file that [`write_tensors`] makes.
///
/// # Errors
/// As [`write_tensors`].
pub fn file_bytes(specs: &[TensorSpec], metadata: &BTreeMap<String, String>) -> Result<u64, TensorFileError> {
    let (header, order) = encode_header(specs, metadata)?;
    let data = order.iter().filter_map(|(_, spec)| spec.num_bytes()).sum::<u64>();
    Ok(8 + header.len() as u64 + data)
}

type Ordered<'a> = Vec<(usize, &'a TensorSpec)>;

fn encode_header<'a>(
    specs: &'a [TensorSpec],
    metadata: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Ordered<'a>), TensorFileError> {
    let mut order: Ordered<'a> = specs.iter().enumerate().collect();
    order.sort_by_key(|(_, spec)| std::cmp::Reverse(spec.dtype.num_bytes()));
    let mut names = std::collections::BTreeSet::from([METADATA_KEY]);
    let mut entries = Vec::with_capacity(order.len());
    let mut begin = 0u64;
    for (_, spec) in &order {
        let fail = |reason: &str| TensorFileError::Tensor { name: spec.name.clone(), reason: reason.into() };
        if !names.insert(&spec.name) {
            return Err(fail("the name is taken"));
        }
        let end = spec.num_bytes().and_then(|bytes| begin.checked_add(bytes));
        let end = end.ok_or_else(|| fail("the shape is larger than any file"))?;
        entries.push((*spec, begin, end));
        begin = end;
    }
    let mut header = serde_json::to_vec(&Header { metadata, entries: &entries })
        .map_err(|error| TensorFileError::Header { reason: error.to_string() })?;
    // The data begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER_BYTES {
        return Err(TensorFileError::Header { reason: format!("longer than {MAX_HEADER_BYTES} bytes") });
    }
    Ok((header, order))
}

struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    entries: &'a [(&'a TensorSpec, u64, u64)],
}

#[derive(serde::Serialize)]
struct Entry<'a> {
    dtype: &'a str,
    shape: &'a [u64],
    data_offsets: (u64, u64),
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        for (spec, begin, end) in self.entries {
            let entry = Entry { dtype: spec.dtype.name(), shape: &spec.shape, data_offsets: (*begin, *end) };
            map.serialize_entry(&spec.name, &entry)?;
        }
        map.end()
    }
}

struct Counted<'a> {
    inner: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
