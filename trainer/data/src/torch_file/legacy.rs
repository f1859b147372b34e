//! The form before PyTorch 1.6, and that of `_use_new_zipfile_serialization=False`: pickles of a magic number, a version, facts
//! about the machine, what was saved, and the keys of storages; then each storage, its number of elements before it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{TorchFileProblem, Unpickled};
use crate::dtype::Dtype;
use crate::pickle::{Code, Dialect, Heap, PickleProblem, Value, run, shown};

/// 0x1950a86a20f9469cfc6c, the lowest byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;
const PLAIN: &str = "the magic number of `torch.save`";

/// # Errors
/// Anything but a whole file of this form.
pub(super) fn read(bytes: &[u8]) -> Result<Unpickled, TorchFileProblem> {
    let code = Code(bytes);
    let magic = run(code, 0, Dialect::Tensors)?;
    let is_magic = match magic.value {
        Value::Long { len, offset } => code.part(offset, len.into(), "a number")? == MAGIC.as_slice(),
        _ => false,
    };
    if !is_magic {
        let found = magic.heap.describe(magic.value);
        return Err(PickleProblem::unexpected(0, PLAIN, found).into());
    }
    let version = run(code, magic.end, Dialect::Tensors)?;
    if version.value != Value::Int(VERSION) {
        let found = version.heap.describe(version.value);
        return Err(PickleProblem::unexpected(magic.end, format!("version {VERSION}"), found).into());
    }
    let facts = run(code, version.end, Dialect::Tensors)?;
    let is_little = match facts.value {
        Value::Dict(index) => facts.heap.lookup(code, index, "little_endian"),
        _ => None,
    };
    let saved = run(code, facts.end, Dialect::Tensors)?;
    let keys = run(code, saved.end, Dialect::Tensors)?;
    let Value::List(list) = keys.value else {
        let found = keys.heap.describe(keys.value);
        return Err(PickleProblem::unexpected(saved.end, "the list of the keys of storages", found).into());
    };
    let mut reader = Storages { code, at: keys.end, ranges: BTreeMap::new() };
    let types = types(code, &saved.heap);
    for &key in keys.heap.list(list) {
        reader.next(key, &keys.heap, &types)?;
    }
    if (reader.at as usize) < bytes.len() {
        let extra = bytes.len() - reader.at as usize;
        return Err(
            PickleProblem::unexpected(reader.at, "the end of the file", format!("{extra} bytes")).into()
        );
    }
    Ok(Unpickled {
        root: saved.value,
        heap: saved.heap,
        pickle_bytes: saved.end - facts.end,
        storages: reader.ranges,
        is_big_endian: is_little == Some(Value::Bool(false)),
    })
}

/// The type of each storage that the pickle names.
fn types<'a>(code: Code<'a>, heap: &Heap) -> BTreeMap<&'a [u8], Dtype> {
    let of_entry = |key: &crate::pickle::StorageEntry| {
        Some((code.part(key.key.offset, key.key.len, "a key").ok()?, key.dtype))
    };
    heap.storages.iter().filter_map(of_entry).collect()
}

struct Storages<'a> {
    code: Code<'a>,
    at: u64,
    ranges: BTreeMap<String, Range<usize>>,
}

impl Storages<'_> {
    /// Reads the number of elements of a storage and passes over its contents.
    fn next(
        &mut self,
        key: Value,
        heap: &Heap,
        types: &BTreeMap<&[u8], Dtype>,
    ) -> Result<(), TorchFileProblem> {
        let Value::Text { len, offset } = key else {
            return Err(PickleProblem::unexpected(self.at, "the key of a storage", heap.describe(key)).into());
        };
        let key = self.code.part(offset, len.into(), "a key")?;
        let Some(dtype) = types.get(key) else {
            let found = format!("storage `{}` of a type that is not known here", shown(key));
            return Err(PickleProblem::unexpected(self.at, "a storage of a known type", found).into());
        };
        let count = u64::from_le_bytes(self.code.array(self.at, "the length of a storage")?);
        let begin = self.at + 8;
        let num_bytes = count.saturating_mul(dtype.num_bytes());
        self.code.part(begin, num_bytes, "a storage")?;
        self.at = begin + num_bytes;
        self.ranges.insert(shown(key), begin as usize..self.at as usize);
        Ok(())
    }
}
