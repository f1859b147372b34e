//! Batches that are copied ahead of their step, on a stream of their own, while the device computes: a step sees the whole of
//! its batch, and nobody writes memory from which a copy is still running.

use dtrain_data::HostMemory;
use dtrain_data::memory::Written;
use tch::Device;

use super::compare::{Row, differing};
use super::precision::DevicePrecision;
use super::setting::Setting;
use crate::batch::{TensorMemory, tensor};
use crate::error::TrainError;
use crate::torch_extra::Upload;

const UPLOADS: i64 = 12;
const LEN: usize = 4 << 20;
const WIDTH: i64 = 512;

/// A batch of equal values, whose host memory is let go as soon as the copy has been started.
fn started(value: i64, device: Device) -> Result<Upload, TrainError> {
    let mut block = TensorMemory { device }
        .allocate(LEN)
        .map_err(|e| TrainError::environment(e, "free memory of the host"))?;
    block.fill(value as f32);
    Ok(Upload::start(&tensor(&Written::new(block, LEN), &[LEN as i64])?, device)?)
}

/// Values that are not those of their batch.
pub(super) fn exact(setting: &Setting, precision: DevicePrecision) -> Result<Vec<Row>, TrainError> {
    let num_products = if setting.device == Device::Cpu { 1 } else { 64 };
    let matrix = setting.normal(7, &[WIDTH, WIDTH]);
    let (mut wrong, mut next) = (0, Some(started(0, setting.device)?));
    for value in 0..UPLOADS {
        let Some(upload) = next.take() else { break };
        let inputs = upload.arrived()?;
        let mut product = matrix.shallow_clone();
        for _ in 0..num_products {
            product = product.f_mm(&matrix)?.f_tanh()?;
        }
        next = Some(started(value + 1, setting.device)?);
        wrong += differing(&inputs, &inputs.full_like(value));
    }
    Ok(vec![Row::bits("batches copied ahead", precision, wrong)])
}
