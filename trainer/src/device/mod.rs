//! What a machine can do: its GPUs as libtorch sees them, the 16-bit arithmetic of its processor, its memory.

mod cpu;
mod deterministic;
mod memory;
mod precision;

pub use cpu::CpuFeatures;
pub use deterministic::be_deterministic;
pub use memory::free_bytes;
pub use precision::default_precision;

/// Makes libtorch's GPUs available; see [`crate::torch_extra::load_cuda`]. Only where the driver shows a GPU
/// (`dtrain_comm::gpus`).
///
/// # Errors
/// The reason, in one line.
pub fn load_cuda() -> Result<(), String> {
    crate::torch_extra::load_cuda().map_err(|error| match error {
        tch::TchError::Torch(reason) => reason,
        other => other.to_string(),
    })
}
