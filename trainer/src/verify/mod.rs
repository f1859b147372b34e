//! Proofs that users run on their own machine. [`compare_runs`]: a run that was killed and resumed ended as one that was not.
//! [`device`]: a device computes what the CPU computes. [`equivalence`]: the batch is global, that is, losses, gradients and weights
//! do not depend on how ranks, micro-batches, tiles, buckets and shards divide the work.
//!
//! The first steps of an experiment are trained in many ways from equal weights on the same batches, and each way is
//! compared with the reference: one rank, one piece, nothing overlapped. Differences are relative, by norms; a way's
//! difference is the largest over its steps and ranks. [`tolerance`] holds what is allowed, and why:
//!
//! - f64, all steps: rounding stays far below any mistake, so that these comparisons decide. Loss, gradient and weights
//!   (running statistics included) within 1e-10, every single tensor within 1e-8.
//! - fp32, one step: the arithmetic of real runs on real data. Loss within 1e-6, gradient within 1e-5 and each of its tensors
//!   within 1e-4, or ten times the noise where that is more. The noise is what permuting the batch makes on one rank, or the
//!   distance of one rank from f64: a network with batch norm has activations near the kinks of its ReLUs, and the rounding
//!   of batch norm's sums over pixels, which only another division of the batch changes, moves some across. What is beyond on
//!   the first batch is tried on further ones, each with the noise of its own permutations, and all of them are judged: at
//!   least half keep to their own noise, and all to the largest; a note says which do not. Weights after all steps are reported
//!   only: permuting a batch alone moves those of a batch-norm network by percents within eight steps.
//! - bf16, one step: loss within 1e-2 of that of fp32.
//!
//! Differences are relative, but those of a loss below 1, which may go through zero; a running mean's is measured by the
//! deviation of what it is the mean of as well.
//!
//! A tensor whose gradient is zero by construction (a bias in front of batch norm) holds nothing but rounding; such tensors
//! are told by the reference's f64 gradients, left out of the judgement by tensor, and listed.
//!
//! Batch norm under micro-batches normalizes the pieces of one round together, so there the reference is one rank whose
//! pieces hold the same samples as the rounds.

mod batches;
mod device;
mod differences;
mod equivalence;
mod groups;
mod judge;
mod report;
mod resume;
mod training;
mod trials;
mod ways;
mod worlds;

pub use device::{DeviceFigures, DevicePrecision, DeviceRequest, DeviceRow, Quantity, device};
pub use equivalence::{EquivalenceRequest, Progress, equivalence};
pub use judge::tolerance;
pub use report::{Comparison, Measured, Report, Verdict, WorstTensor};
pub use resume::{Part, RESUME_TOLERANCE, Strictness, compare_runs};
