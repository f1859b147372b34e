//! The zip form: `NAME/data.pkl`, `NAME/byteorder`, and the contents of storages in `NAME/data/KEY`, all stored as they are.
//! Checksums are not looked at: PyTorch leaves them out by choice.

use std::collections::BTreeMap;
use std::ops::Range;

use rawzip::{CompressionMethod, ZipArchive, ZipSliceArchive};

use super::{TorchFileProblem, Unpickled};
use crate::pickle::{Code, Dialect, run, shown};

const PICKLE: &[u8] = b"/data.pkl";

/// # Errors
/// Anything but a whole archive of `torch.save`.
pub(super) fn read(bytes: &[u8]) -> Result<Unpickled, TorchFileProblem> {
    let archive = ZipArchive::from_slice(bytes).map_err(unreadable)?;
    let folder = folder(&archive)?;
    let mut found = Found::default();
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(unreadable)? {
        let path = entry.file_path();
        let path: &[u8] = path.as_ref();
        let Some(name) = path.strip_prefix(folder.as_slice()) else { continue };
        let key = name.strip_prefix(b"/data/");
        let is_known = key.is_some() || name == PICKLE || name == b"/byteorder";
        if name.starts_with(b"/code/") || name == b"/constants.pkl" {
            return Err(TorchFileProblem::TorchScript);
        }
        if !is_known {
            continue;
        }
        let packed = match (entry.flags().is_encrypted(), entry.compression_method()) {
            (true, _) => Some("encrypted"),
            (false, CompressionMethod::STORE) => None,
            (false, _) => Some("compressed"),
        };
        if let Some(found) = packed {
            return Err(TorchFileProblem::Packed { entry: shown(path), found });
        }
        let (begin, end) = archive.get_entry(entry.wayfinder()).map_err(unreadable)?.compressed_data_range();
        let range = begin as usize..end as usize;
        match key {
            Some(key) => {
                let key = std::str::from_utf8(key).map_err(|_| unreadable("a name that is not UTF-8"))?;
                found.storages.insert(key.to_owned(), range);
            }
            None if name == PICKLE => found.pickle = Some(range),
            None => found.is_big_endian = bytes.get(range) == Some(b"big"),
        }
    }
    let pickle = found.pickle.ok_or(TorchFileProblem::NoPickle)?;
    // Places in messages are those of the whole file.
    let code = Code(bytes.get(..pickle.end).unwrap_or_default());
    let ran = run(code, pickle.start as u64, Dialect::Tensors)?;
    Ok(Unpickled {
        root: ran.value,
        heap: ran.heap,
        pickle_bytes: pickle.len() as u64,
        storages: found.storages,
        is_big_endian: found.is_big_endian,
    })
}

#[derive(Default)]
struct Found {
    pickle: Option<Range<usize>>,
    storages: BTreeMap<String, Range<usize>>,
    is_big_endian: bool,
}

/// The folder of the archive in which the pickle is.
fn folder(archive: &ZipSliceArchive<&[u8]>) -> Result<Vec<u8>, TorchFileProblem> {
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(unreadable)? {
        let path = entry.file_path();
        if let Some(folder) = path.as_ref().strip_suffix(PICKLE)
            && !folder.contains(&b'/')
        {
            return Ok(folder.to_vec());
        }
    }
    Err(TorchFileProblem::NoPickle)
}

fn unreadable(error: impl std::fmt::Display) -> TorchFileProblem {
    TorchFileProblem::Archive(error.to_string())
}
