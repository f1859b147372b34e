//! A batch as tensors: where the loader makes it ([`HostBlock`]), and its way to the device.

mod memory;

use std::sync::Arc;

use dtrain_data::{BatchRequest, LoaderError, LoaderOptions, ViewMaker};
use tch::{Device, TchError, Tensor};

pub use memory::{HostBlock, TensorMemory, tensor};

use crate::torch_extra::Upload;

/// Views that a tensor can lie over.
pub type Batch = dtrain_data::Batch<HostBlock>;
/// Makes such batches.
pub type Loader = dtrain_data::Loader<HostBlock>;

/// Starts to make the batches of `requests` for `device`: for a GPU in pinned memory.
///
/// # Errors
/// [`LoaderError::Threads`].
pub fn start_loader(
    maker: &Arc<ViewMaker>,
    requests: impl Iterator<Item = BatchRequest> + Send + 'static,
    options: LoaderOptions,
    device: Device,
) -> Result<Loader, LoaderError> {
    Loader::start(Arc::clone(maker), requests, options, TensorMemory { device })
}

/// The views as a tensor over the batch's memory, to be read only.
///
/// # Shapes
/// [num_views * kept.len(), C, H, W].
///
/// # Errors
/// None for a batch as the loader made it.
pub fn views(batch: &Batch) -> Result<Tensor, TchError> {
    let [c, h, w] = batch.shape.map(|size| size as i64);
    let rows = batch.request.num_views as usize * batch.kept.len();
    tensor(&batch.data, &[rows as i64, c, h, w])
}

/// Starts to bring the views to `device`: [num_views * kept.len(), C, H, W]. On a CPU they stay where they are.
///
/// # Errors
/// When memory runs out.
pub fn upload(batch: &Batch, device: Device) -> Result<Upload, TchError> {
    Upload::start(&views(batch)?, device)
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{DataConfig, DataKind};
    use dtrain_data::images::idx::{write_images, write_labels};
    use dtrain_data::{Dataset, Draw, ImageViews, LabelAccess, Source};

    use super::*;

    /// 40 images of 2 x 3 pixels, each of its own values.
    fn maker() -> (tempfile::TempDir, Arc<ViewMaker>) {
        let folder = tempfile::tempdir().unwrap();
        for (prefix, count) in [("train", 40), ("t10k", 10)] {
            let file = |kind: &str| folder.path().join(format!("{prefix}-{kind}-ubyte"));
            let pixels: Vec<u8> = (0..6 * count).collect();
            write_images(&file("images-idx3"), 2, 3, &pixels).unwrap();
            write_labels(&file("labels-idx1"), &(0..count).map(|i| i % 10).collect::<Vec<_>>()).unwrap();
        }
        let config = DataConfig { kind: DataKind::Images, target: "digit".into(), ..DataConfig::default() };
        let dataset = Dataset::open(&config, folder.path(), LabelAccess::All).unwrap();
        let Source::Images(images) = &dataset.source else { panic!("images") };
        let views = ImageViews::new(Arc::clone(images), &config.images).unwrap();
        (folder, Arc::new(ViewMaker::Images(views)))
    }

    /// What is still in use when later batches are made keeps its values: nothing is made in memory that somebody reads.
    #[test]
    fn tensors_share_the_memory_of_their_batch_and_keep_it() {
        let (_folder, maker) = maker();
        let requests = (0..9u32).map(|step| BatchRequest {
            step: step.into(),
            draws: (0..step).map(|i| Draw::first((i * 5 + step) % 40)).collect(),
            num_views: 2,
            ..BatchRequest::default()
        });
        let options =
            LoaderOptions { threads: 2, prefetch_batches: 3, prefetch_bytes: 1 << 20, tells_of_first: false };
        let loader = start_loader(&maker, requests, options, Device::Cpu).unwrap();
        let mut held = Vec::new();
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            let tensor = upload(&batch, Device::Cpu).unwrap().arrived().unwrap();
            // A tensor of no element has no address.
            let address = tensor.data_ptr().cast_const().cast::<f32>();
            assert!(batch.data.is_empty() || address == batch.data.as_ptr());
            held.push((tensor, batch.data.to_vec(), 2 * batch.kept.len() as i64));
        }
        assert_eq!(held.len(), 9);
        for (tensor, values, rows) in held {
            assert_eq!(tensor.size(), [rows, 1, 2, 3]);
            assert_eq!(Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap(), values);
        }
    }
}
