//! What a step will cost and need before it runs: memory of a rank, time of a step, and both for worlds that are not at
//! hand. Pure arithmetic but for [`measure_activations`], which tries two small batches.

mod activations;
mod cost;
mod hardware;
mod inputs;
mod memory;
mod network;
mod overlap;
mod scaling;

pub use activations::{Activations, measure_activations};
pub use cost::{Bucket, Compute, PairLossCost, StepCost, StepInputs, WireBytes};
pub use hardware::{A100, H100, Hardware, Preset, ethernet_hosts};
pub use inputs::{RunShape, fixed_memory};
pub use memory::{MemoryInputs, MemoryPlan, MemoryTooSmall, PairLossMemory, fit_micro_batch};
pub use network::{Algorithm, Network, Protocol, all_gather_wire_bytes, all_reduce_wire_bytes};
pub use overlap::{Operation, Timeline, simulate};
pub use scaling::{MicroBatchChoice, PlanInputs, PlanLine, Positives, ScalingPlan, describe};

#[cfg(test)]
mod published;
