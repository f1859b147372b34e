//! A batch as tensors: where the loader makes it ([`HostBlock`]), and its way to the device.

mod group;
mod image;
mod memory;
mod upload;

use std::sync::Arc;

use dtrain_data::{BatchRequest, LoaderError, LoaderOptions, Views};
use tch::Device;

pub use group::ViewGroup;
pub use memory::{HostBlock, TensorMemory, tensor};
pub(crate) use upload::views_of_slots;
pub use upload::{BatchUpload, first_views, upload};

/// Views that a tensor can lie over.
pub type Batch = dtrain_data::Batch<HostBlock>;
/// Makes such batches.
pub type Loader = dtrain_data::Loader<HostBlock>;

/// Starts to make the batches of `requests` for `device`: for a GPU in pinned memory.
///
/// # Errors
/// [`LoaderError::Threads`].
pub fn start_loader(
    maker: &Arc<dyn Views>,
    requests: impl Iterator<Item = BatchRequest> + Send + 'static,
    options: LoaderOptions,
    device: Device,
) -> Result<Loader, LoaderError> {
    Loader::start(Arc::clone(maker), requests, options, TensorMemory { device })
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{AugmentConfig, DataConfig, DataKind};
    use dtrain_data::images::idx::{write_images, write_labels};
    use dtrain_data::{Dataset, Draw, GroupRequest, LabelAccess, ViewSettings};

    use tch::Kind;

    use super::*;

    /// 40 images of 2 x 3 pixels, each of its own values.
    fn maker() -> (tempfile::TempDir, Arc<dyn Views>) {
        let folder = tempfile::tempdir().unwrap();
        for (prefix, count) in [("train", 40), ("t10k", 10)] {
            let file = |kind: &str| folder.path().join(format!("{prefix}-{kind}-ubyte"));
            let pixels: Vec<u8> = (0..6 * count).collect();
            write_images(&file("images-idx3"), 2, 3, &pixels).unwrap();
            write_labels(&file("labels-idx1"), &(0..count).map(|i| i % 10).collect::<Vec<_>>()).unwrap();
        }
        let config = DataConfig { kind: DataKind::Images, target: "digit".into(), ..DataConfig::default() };
        let dataset = Dataset::open(&config, folder.path(), LabelAccess::All).unwrap();
        let settings = ViewSettings {
            data: &config,
            augment: &AugmentConfig::default(),
            seed: 0,
            num_specs: 1,
            masks: false,
        };
        (folder, dataset.source.views(&settings).unwrap())
    }

    /// What is still in use when later batches are made keeps its values: nothing is made in memory that somebody reads.
    #[test]
    fn tensors_share_the_memory_of_their_batch_and_keep_it() {
        let (_folder, maker) = maker();
        let requests = (0..9u32).map(|step| BatchRequest {
            step: step.into(),
            draws: (0..step).map(|i| Draw::first((i * 5 + step) % 40)).collect(),
            groups: vec![GroupRequest::of(2)],
            ..BatchRequest::default()
        });
        let options =
            LoaderOptions { threads: 2, prefetch_batches: 3, prefetch_bytes: 1 << 20, tells_of_first: false };
        let loader = start_loader(&maker, requests, options, Device::Cpu).unwrap();
        let mut held = Vec::new();
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            let tensor = upload(&batch, Device::Cpu).unwrap().arrived_alone(Kind::Float).unwrap();
            let data = &batch.groups[0].data;
            // A tensor of no element has no address.
            let address = tensor.data_ptr().cast_const().cast::<f32>();
            assert!(data.is_empty() || address == data.as_ptr());
            held.push((tensor, data.to_vec(), 2 * batch.kept.len() as i64));
        }
        assert_eq!(held.len(), 9);
        for (tensor, values, rows) in held {
            assert_eq!(tensor.size(), [rows, 1, 2, 3]);
            assert_eq!(Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap(), values);
        }
    }
}
