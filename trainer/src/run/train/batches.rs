//! This rank's batches, the next one asked for before the directive that uses it.

use tch::Device;

use crate::batch::{Batch, BatchUpload, Loader, upload};
use crate::error::TrainError;

/// A batch, with its views on their way to the device.
pub(super) struct Ready {
    pub(super) batch: Batch,
    pub(super) inputs: BatchUpload,
}

/// The loader and the batch that it has handed over.
pub(super) struct Batches {
    loader: Loader,
    next: Option<Ready>,
}

impl Batches {
    pub(super) fn new(loader: Loader) -> Self {
        Self { loader, next: None }
    }

    /// Whether [`Self::fetch`] has to wait for the loader.
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_none()
    }

    /// Waits for the next batch and starts its way to `device`, which may still be busy with the step before.
    ///
    /// # Errors
    /// Those of the loader, and want of memory.
    pub(super) fn fetch(&mut self, device: Device) -> Result<(), TrainError> {
        if let Some(batch) = self.loader.next().transpose()? {
            let inputs = upload(&batch, device)?;
            self.next = Some(Ready { batch, inputs });
        }
        Ok(())
    }

    /// Samples of the next batch; 0 after the last one.
    pub(super) fn ready_samples(&self) -> u32 {
        self.next.as_ref().map_or(0, |ready| ready.batch.kept.len() as u32)
    }

    /// Samples of the next batch that could not be read, with the reason; each is told once.
    pub(super) fn take_failures(&mut self) -> Vec<(u32, String)> {
        let failed = self.next.as_mut().map(|ready| std::mem::take(&mut ready.batch.failed));
        let told = |path: &std::path::Path, reason: &str| format!("`{}`: {reason}", path.display());
        failed.unwrap_or_default().into_iter().map(|f| (f.sample_id, told(&f.path, &f.reason))).collect()
    }

    /// The next batch, for the step that uses it.
    pub(super) fn take(&mut self) -> Option<Ready> {
        self.next.take()
    }
}
