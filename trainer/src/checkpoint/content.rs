//! One checkpoint from its parts: two files of tensors, the state, the manifest. Where the elements come from is the
//! caller's business; whatever they come from, a checkpoint is written here and nowhere else.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use super::error::CheckpointError;
use super::manifest::{MODEL_FILE, ManifestInfo, OPTIMIZER_FILE, STATE_FILE};
use super::store::CheckpointStore;
use super::tensor_spec::TensorSpec;
use super::tensor_writer::{file_bytes, write_tensors};

/// Which file a component's tensors go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TensorHome {
    /// Parameters and buffers.
    Model,
    /// Moments and whatever else a component keeps in tensors.
    Optimizer,
}

impl TensorHome {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Model, Self::Optimizer];

    /// Name of the file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Model => MODEL_FILE,
            Self::Optimizer => OPTIMIZER_FILE,
        }
    }
}

/// A checkpoint that is to be written.
pub struct Content<'a> {
    /// Optimizer steps that it holds.
    pub step: u64,
    /// Tensors of `model.safetensors`.
    pub model: &'a [TensorSpec],
    /// Tensors of `optimizer.safetensors`.
    pub optimizer: &'a [TensorSpec],
    /// Writes the bytes of a tensor, by its file and its place among the specs.
    pub fill: &'a dyn Fn(TensorHome, usize, &mut dyn Write) -> io::Result<()>,
    /// Bytes of `state.bin`.
    pub state: &'a [u8],
    /// What the manifest says besides.
    pub info: ManifestInfo,
}

impl Content<'_> {
    fn specs(&self, home: TensorHome) -> &[TensorSpec] {
        match home {
            TensorHome::Model => self.model,
            TensorHome::Optimizer => self.optimizer,
        }
    }

    /// Bytes of all files but the manifest.
    ///
    /// # Errors
    /// Names that repeat, and shapes that are larger than any file.
    pub fn num_bytes(&self) -> Result<u64, CheckpointError> {
        let none = BTreeMap::new();
        let tensors = file_bytes(self.model, &none)? + file_bytes(self.optimizer, &none)?;
        Ok(tensors + self.state.len() as u64)
    }
}

impl CheckpointStore {
    /// Writes a whole checkpoint. When this returns its folder, the checkpoint survives a crash of the machine; when it
    /// fails, those that existed before still do.
    ///
    /// # Errors
    /// [`CheckpointError::DiskFull`], I/O errors, and those of `content.fill`.
    pub fn save(&self, content: Content<'_>) -> Result<PathBuf, CheckpointError> {
        self.require_space(content.num_bytes()?)?;
        let mut staged = self.begin(content.step)?;
        for home in TensorHome::ALL {
            staged.write_file(home.file(), |writer| {
                let fill = |index: usize, w: &mut dyn Write| (content.fill)(home, index, w);
                Ok(write_tensors(writer, content.specs(home), &BTreeMap::new(), fill)?)
            })?;
        }
        staged.write_file(STATE_FILE, |writer| Ok(writer.write_all(content.state)?))?;
        staged.commit(content.info)
    }
}
