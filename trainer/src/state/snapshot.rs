//! The state of all components at one moment, still in their own memory.

use std::io::{self, Write};

use tch::{Device, Tensor};

use super::{Layout, Stateful, bytes_of};
use crate::checkpoint::{
    CheckpointStore, Content, ManifestInfo, Retention, Sections, TensorHome, TensorSpec, Written,
    write_and_retain,
};
use crate::error::TrainError;

/// Tensors of one file.
#[derive(Debug, Default)]
pub(super) struct Tensors {
    pub(super) specs: Vec<TensorSpec>,
    pub(super) tensors: Vec<Tensor>,
}

/// What a checkpoint is made of.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) model: Tensors,
    pub(super) optimizer: Tensors,
    /// Small values; the caller adds those of components without tensors.
    pub sections: Sections,
}

impl Snapshot {
    /// The state of `parts`; all ranks call it.
    ///
    /// # Errors
    /// Those of the components, and two components of one name.
    pub fn of(parts: &[Box<dyn Stateful + '_>]) -> Result<Self, TrainError> {
        let mut snapshot = Self::default();
        for part in parts {
            let Layout { home, tensors: specs, kind } = part.layout()?;
            let values = part.save()?;
            if specs.len() != values.tensors.len() {
                let (told, given) = (specs.len(), values.tensors.len());
                return Err(TrainError::internal(format!("`{}` gives {given} tensors of {told}", kind.name)));
            }
            let file = match home {
                TensorHome::Model => &mut snapshot.model,
                TensorHome::Optimizer => &mut snapshot.optimizer,
            };
            file.specs.extend(specs);
            file.tensors.extend(values.tensors);
            (values.put)(&mut snapshot.sections)?;
        }
        Ok(snapshot)
    }

    /// Writes it at once, while the caller waits.
    ///
    /// # Errors
    /// Those of the disk, and of a device.
    pub fn write(
        &self,
        store: &CheckpointStore,
        step: u64,
        info: ManifestInfo,
        retention: &Retention,
    ) -> Result<Written, TrainError> {
        let fill = |home: TensorHome, index: usize, writer: &mut dyn Write| {
            let file = match home {
                TensorHome::Model => &self.model,
                TensorHome::Optimizer => &self.optimizer,
            };
            let Some(tensor) = file.tensors.get(index) else { return Ok(()) };
            let on_host = tensor.f_to_device(Device::Cpu).and_then(|tensor| tensor.f_contiguous());
            writer.write_all(bytes_of(&on_host.map_err(io::Error::other)?))
        };
        let content = Content {
            step,
            model: &self.model.specs,
            optimizer: &self.optimizer.specs,
            fill: &fill,
            state: &self.sections.to_bytes()?,
            info,
        };
        Ok(write_and_retain(store, content, retention)?)
    }
}
