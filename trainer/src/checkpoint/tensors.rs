//! Files of named tensors as they are read: one tensor at a time, or as views of one buffer.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use fs_err as fs;

use super::tensor_index::TensorIndex;
use super::tensor_spec::{TensorFileError, TensorSpec};

/// A tensor and where its bytes are.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Name, type and shape.
    pub spec: &'a TensorSpec,
    /// Its elements.
    pub bytes: &'a [u8],
}

/// A whole file in memory, checked; tensors are views of it.
#[derive(Debug)]
pub struct TensorFile {
    bytes: Vec<u8>,
    index: TensorIndex,
}

impl TensorFile {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// Anything but a whole, consistent file.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, TensorFileError> {
        let index = TensorIndex::read(&mut bytes.as_slice(), bytes.len() as u64)?;
        Ok(Self { bytes, index })
    }

    /// The tensor `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, TensorFileError> {
        let (spec, begin) = self.index.find(name)?;
        Ok(self.view(spec, begin))
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.index.entries().iter().map(|(spec, begin)| self.view(spec, *begin))
    }

    /// The file's words about itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.index.metadata()
    }

    fn view<'a>(&'a self, spec: &'a TensorSpec, begin: u64) -> TensorView<'a> {
        // `parse` made sure that the range is inside.
        let end = begin + spec.num_bytes().unwrap_or(0);
        TensorView { spec, bytes: self.bytes.get(begin as usize..end as usize).unwrap_or_default() }
    }
}

/// An open file of which one tensor after the other is read.
#[derive(Debug)]
pub struct TensorReader<R> {
    source: R,
    index: TensorIndex,
}

impl TensorReader<io::BufReader<fs::File>> {
    /// Opens the file at `path` and checks its header.
    ///
    /// # Errors
    /// I/O errors, and anything but a consistent header that fits the file's length.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        Self::new(io::BufReader::new(file), len)
    }
}

impl<R: Read + Seek> TensorReader<R> {
    /// Reads the header of a source of `len` bytes that stands at its beginning.
    ///
    /// # Errors
    /// As [`TensorReader::open`].
    pub fn new(mut source: R, len: u64) -> Result<Self, TensorFileError> {
        let index = TensorIndex::read(&mut source, len)?;
        Ok(Self { source, index })
    }

    /// Name, type and shape of all tensors, in the order of the file.
    pub fn specs(&self) -> impl Iterator<Item = &TensorSpec> {
        self.index.entries().iter().map(|(spec, _)| spec)
    }

    /// The file's words about itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.index.metadata()
    }

    /// Replaces the content of `buffer` by the bytes of `name`; one buffer serves all tensors.
    ///
    /// # Errors
    /// When there is no such tensor, or the file shrank.
    pub fn read(&mut self, name: &str, buffer: &mut Vec<u8>) -> Result<TensorSpec, TensorFileError> {
        let (spec, begin) = self.index.find(name)?;
        let spec = spec.clone();
        // Bounded by the file's length, which the header was checked against.
        let bytes = spec.num_bytes().unwrap_or(0);
        self.source.seek(SeekFrom::Start(begin))?;
        buffer.clear();
        buffer.resize(bytes as usize, 0);
        self.source.read_exact(buffer)?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tensor_spec::{Dtype, METADATA_KEY};
    use super::super::tensor_writer::{file_bytes, write_tensors};
    use super::*;

    fn spec(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, shape: shape.into() }
    }

    fn written(tensors: &[(TensorSpec, Vec<u8>)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
        let specs: Vec<_> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let mut bytes = Vec::new();
        write_tensors(&mut bytes, &specs, metadata, |i, w| w.write_all(&tensors[i].1)).unwrap();
        assert_eq!(bytes.len() as u64, file_bytes(&specs, metadata).unwrap());
        bytes
    }

    fn tensors() -> impl Strategy<Value = Vec<(TensorSpec, Vec<u8>)>> {
        let one = (0..Dtype::ALL.len(), prop::collection::vec(0..4u64, 0..4), any::<u8>());
        prop::collection::btree_map("[a-z]{1,6}(\\.[a-zé\"]{1,4})?", one, 0..6).prop_map(|map| {
            map.into_iter()
                .map(|(name, (dtype, shape, byte))| {
                    let spec = spec(&name, Dtype::ALL[dtype].0, &shape);
                    let bytes =
                        (0..spec.num_bytes().unwrap()).map(|i| byte.wrapping_add(i as u8) & 1).collect();
                    (spec, bytes)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn files_come_back_and_the_reference_reader_agrees(
            tensors in tensors(),
            metadata in prop::collection::btree_map("[a-z]{1,5}", ".{0,9}", 0..3),
        ) {
            let bytes = written(&tensors, &metadata);
            prop_assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0);
            let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            prop_assert_eq!(reference.len(), tensors.len());
            let mut reader = TensorReader::new(io::Cursor::new(bytes.clone()), bytes.len() as u64).unwrap();
            let file = TensorFile::parse(bytes.clone()).unwrap();
            prop_assert_eq!(file.metadata(), &metadata);
            prop_assert_eq!(file.tensors().count(), tensors.len());
            let mut buffer = vec![9];
            for (spec, data) in &tensors {
                let view = file.tensor(&spec.name).unwrap();
                prop_assert_eq!(view.spec, spec);
                prop_assert_eq!(view.bytes, data.as_slice());
                prop_assert_eq!(&reader.read(&spec.name, &mut buffer).unwrap(), spec);
                prop_assert_eq!(&buffer, data);
                prop_assert_eq!(reference.tensor(&spec.name).unwrap().data(), data.as_slice());
            }
        }

        #[test]
        fn the_reference_writer_is_read(shape in prop::collection::vec(0..5usize, 0..3), byte in any::<u8>()) {
            let data = vec![byte; shape.iter().product::<usize>() * 4];
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), &data).unwrap();
            let bytes = safetensors::serialize([("a.b", view)], None).unwrap();
            let file = TensorFile::parse(bytes).unwrap();
            prop_assert_eq!(file.tensor("a.b").unwrap().bytes, data.as_slice());
        }

        /// No panic, and no view reaches beyond the file.
        #[test]
        fn damaged_files_are_errors_or_consistent(
            tensors in tensors(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = written(&tensors, &BTreeMap::new());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut.index(3) == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
            let len = bytes.len();
            let reference = safetensors::SafeTensors::deserialize(&bytes).is_ok();
            match TensorFile::parse(bytes) {
                Ok(file) => prop_assert!(file.tensors().map(|t| t.bytes.len()).sum::<usize>() <= len),
                // Stricter than the reference in types only, which a changed byte hits by chance.
                Err(TensorFileError::Tensor { reason, .. }) if reason.contains("type") => {}
                Err(error) => prop_assert!(!reference, "{error}"),
            }
        }
    }

    #[test]
    fn wrong_byte_counts_and_repeated_names_are_refused() {
        let specs = [spec("a", Dtype::F32, &[2])];
        let short = write_tensors(&mut Vec::new(), &specs, &BTreeMap::new(), |_, w| w.write_all(&[0; 7]));
        assert_eq!(short.unwrap_err().to_string(), "tensor `a`: F32 [2] was written with 7 bytes");
        let twice = [spec("a", Dtype::U8, &[]), spec("a", Dtype::F32, &[])];
        assert!(file_bytes(&twice, &BTreeMap::new()).unwrap_err().to_string().contains("the name is taken"));
        assert!(file_bytes(&[spec(METADATA_KEY, Dtype::U8, &[])], &BTreeMap::new()).is_err());
        assert!(file_bytes(&[spec("a", Dtype::U8, &[u64::MAX, 2])], &BTreeMap::new()).is_err());
    }
}
