//! The file that weights come from, as tensors under its own names. Which program wrote it, its first bytes tell.

use std::collections::BTreeMap;
use std::path::Path;

use dtrain_data::torch_file::{TorchFile, TorchFileError};

use crate::checkpoint::{
    CheckpointStore, MODEL_FILE, TensorFile, TensorFileError, TensorSpec, Validation, write_tensors,
};
use crate::error::TrainError;

pub(super) const HINT: &str =
    "give a run directory, a checkpoint folder, a safetensors file or a file of `torch.save`";

/// Names of objects in a file of `torch.save` that were passed over, in the metadata of what it becomes.
pub(super) const PASSED_OVER: &str = "passed_over";

/// The tensors at `path` as the bytes of a safetensors file, so that the ranks hear of them in one form.
///
/// # Errors
/// What is not there, or cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    if !path.exists() {
        return Err(TrainError::config(format!("`init_from={}` does not exist", path.display()), HINT));
    }
    if path.is_dir() {
        let loaded = CheckpointStore::open_at(path, Validation::Full)?;
        return Ok(fs_err::read(loaded.dir.join(MODEL_FILE))?);
    }
    let bytes = fs_err::read(path)?;
    if !TorchFile::is_one(&bytes) {
        return Ok(bytes);
    }
    let file = TorchFile::parse(path, bytes).map_err(|error| of_torch(&error, path))?;
    converted(&file).map_err(|error| unreadable(&error, path))
}

fn converted(file: &TorchFile) -> Result<Vec<u8>, TensorFileError> {
    let reason = |error: &dyn std::fmt::Display| TensorFileError::Header { reason: error.to_string() };
    let tensors = file.tensors().map_err(|error| reason(&error))?;
    let spec = |(name, tensor): &(String, dtrain_data::torch_file::StoredTensor<'_>)| TensorSpec {
        name: name.clone(),
        dtype: tensor.dtype(),
        shape: tensor.shape().to_vec(),
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let metadata = match file.passed_over() {
        names if names.is_empty() => BTreeMap::new(),
        names => BTreeMap::from([(PASSED_OVER.to_owned(), names.join("`, `"))]),
    };
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, &specs, &metadata, |index, writer| match tensors.get(index) {
        Some((_, tensor)) => writer.write_all(&tensor.bytes().map_err(std::io::Error::other)?),
        None => Ok(()),
    })?;
    Ok(bytes)
}

/// Checks what [`read`] gave.
///
/// # Errors
/// Bytes that are no safetensors file.
pub(super) fn parse(bytes: Vec<u8>, path: &Path) -> Result<TensorFile, TrainError> {
    TensorFile::parse(bytes).map_err(|error| unreadable(&error, path))
}

fn unreadable(error: &TensorFileError, path: &Path) -> TrainError {
    TrainError::config(format!("`init_from={}` cannot be read: {error}", path.display()), HINT)
}

fn of_torch(error: &TorchFileError, path: &Path) -> TrainError {
    let hint = error.hint().unwrap_or_else(|| HINT.to_owned());
    TrainError::config(format!("`init_from={}` cannot be read: {}", path.display(), error.problem), hint)
}
