//! The same bits each time.

use tch::Device;

use crate::error::TrainError;
use crate::torch_extra::{CUBLAS_WORKSPACE, cublas_problem, set_deterministic};

/// Chooses algorithms that give the same bits each time, or, unless `wanted`, the fastest ones. A CPU has no others.
///
/// # Errors
/// When cuBLAS was told otherwise in the environment, which libtorch would refuse in the first step on a GPU.
pub fn be_deterministic(wanted: bool, device: Device) -> Result<(), TrainError> {
    set_deterministic(wanted);
    let value = std::env::var(CUBLAS_WORKSPACE).ok();
    match cublas_problem(value.as_deref()).filter(|_| wanted && device != Device::Cpu) {
        None => Ok(()),
        Some(problem) => Err(TrainError::environment(
            problem,
            format!("set `{CUBLAS_WORKSPACE}=:4096:8`, or `trainer.deterministic=false`"),
        )),
    }
}
