//! What dtrain needs of the CUDA driver: which GPUs there are, and streams and events to order NCCL's work.
//!
//! The driver (`libcuda.so.1`) is looked for at run time; neither CUDA nor libtorch is needed to ask for GPUs.

mod driver;
mod gpus;
mod memory;
mod objects;

pub(crate) use driver::{CudaError, driver};
pub use gpus::{Gpu, NoGpu, gpus};
pub(crate) use gpus::{format_uuid, initialize, num_devices, uuid};
pub(crate) use memory::DeviceMemory;
pub(crate) use objects::{Context, Event, EventPool, Stream};
