//! Collectives as nccl-tests measures them, through the transport that training uses and beside a bare call.
//!
//! Algorithm bandwidth is size / time. Bus bandwidth corrects it by what a rank's link has to carry, so that it can be
//! compared with the hardware whatever the number of ranks: 2 (n - 1) / n for an all-reduce, (n - 1) / n for its halves,
//! whose size is that of the whole buffer (nccl-tests, doc/PERFORMANCE.md).

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::{Backend, Collective, CommError, ReduceOp, TensorOp};
use dtrain_configs::{Origins, RunConfig};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::median;
use crate::bytes::Bytes;
use crate::engine::Ranks;
use crate::error::TrainError;
use crate::run::{connect_tensors, resolve};

/// All sizes and operations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommFigures {
    /// Ranks.
    pub world_size: usize,
    /// Nodes.
    pub num_nodes: usize,
    /// What carries the bytes.
    pub backend: &'static str,
    /// `cpu` or the name of the GPU.
    pub device: String,
    /// Repetitions of each measurement.
    pub reps: usize,
    /// Seconds of an all-reduce of one number, the latency.
    pub latency_s: f64,
    /// Seconds that the host spends in starting that all-reduce, before it waits for it: what a step's launches cost.
    pub launch_s: f64,
    /// One row per size and operation.
    pub rows: Vec<CommRow>,
}

/// One operation at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommRow {
    /// `all_reduce`, `reduce_scatter` or `all_gather`.
    pub operation: &'static str,
    /// Bytes of the whole buffer.
    pub bytes: usize,
    /// Median over the repetitions of the slowest rank's seconds.
    pub median_s: f64,
    /// Least.
    pub best_s: f64,
    /// Size / median, in GB/s (10^9 bytes).
    pub algorithm_gb_per_s: f64,
    /// Bus bandwidth, in GB/s.
    pub bus_gb_per_s: f64,
    /// Median of the bare call on the same buffer, in the same rounds.
    pub bare_median_s: Option<f64>,
    /// Bandwidth as a part of the bare call's.
    pub of_bare: Option<f64>,
}

/// Bytes that are sent in one timing; smaller operations are repeated and their mean is taken, as the clock and the
/// barrier before would count otherwise.
const BYTES_PER_TIMING: usize = 1 << 20;
const MAX_REPEATS: usize = 32;

/// A bare all-reduce in host memory.
pub type BareAllReduce<'a> = &'a dyn Fn(&mut [f32]) -> Result<(), CommError>;

/// Measures each size of `bytes`, `reps` times each, over the transport that `config` asks for.
///
/// # Errors
/// When the ranks cannot be connected as asked, memory is short or an operation fails.
pub fn comm(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    bare: BareAllReduce<'_>,
    bytes: &[usize],
    reps: usize,
) -> Result<CommFigures, TrainError> {
    let (resolved, place, _) = resolve(config, &**collective, &Origins::default(), None)?;
    tch::set_num_threads(resolved.threads as i32);
    let ranks = connect_tensors(config, collective, &resolved, place.device)?;
    let bare = (place.device == Device::Cpu && ranks.transport().backend() == Backend::Mpi).then_some(bare);
    measure(&ranks, place.device, &place.name, bare, bytes, reps)
}

fn measure(
    ranks: &Ranks,
    device: Device,
    name: &str,
    bare: Option<BareAllReduce<'_>>,
    bytes: &[usize],
    reps: usize,
) -> Result<CommFigures, TrainError> {
    let world = ranks.world();
    let reps = reps.max(1);
    let mut rows = Vec::new();
    for &bytes in bytes {
        rows.extend(one_size(ranks, device, bare, bytes, reps)?);
    }
    let latency = one_size(ranks, device, None, size_of::<f32>(), reps)?;
    Ok(CommFigures {
        world_size: world.world_size,
        num_nodes: world.num_nodes,
        backend: ranks.transport().backend().name(),
        device: name.to_owned(),
        reps,
        latency_s: latency.first().map_or(f64::NAN, |row| row.median_s),
        launch_s: launch(ranks, device, reps)?,
        rows,
    })
}

/// All operations at one size, and the bare call, taking turns.
fn one_size(
    ranks: &Ranks,
    device: Device,
    bare: Option<BareAllReduce<'_>>,
    bytes: usize,
    reps: usize,
) -> Result<Vec<CommRow>, TrainError> {
    let world_size = ranks.world().world_size;
    // A whole number of elements per rank, so that all operations have the same size.
    let per_rank = (bytes / size_of::<f32>()).div_ceil(world_size).max(1);
    let len = per_rank * world_size;
    let tensor = Tensor::f_zeros([len as i64], (Kind::Float, device))?;
    let size = len * size_of::<f32>();
    let repeats = (BYTES_PER_TIMING / size).clamp(1, MAX_REPEATS);
    let ops = [
        TensorOp::AllReduce(ReduceOp::Sum),
        TensorOp::ReduceScatter,
        TensorOp::AllGather { counts: vec![per_rank; world_size] },
    ];
    let mut times = vec![Vec::with_capacity(reps); ops.len()];
    let mut bare_times = Vec::with_capacity(reps);
    // One more round, whose times are dropped: first uses connect and allocate.
    for round in 0..=reps {
        let keep = |secs: f64, times: &mut Vec<f64>| {
            if round > 0 {
                times.push(secs);
            }
        };
        let mut time_bare = || -> Result<(), TrainError> {
            if let Some(bare) = bare {
                keep(timed(ranks, repeats, || Ok(bare(elements(&tensor)?)?), || ())?, &mut bare_times);
            }
            Ok(())
        };
        // The order turns from round to round, so that what lies in caches favours neither.
        if round % 2 == 1 {
            time_bare()?;
        }
        for (index, (op, times)) in ops.iter().zip(&mut times).enumerate() {
            keep(timed(ranks, repeats, || ranks.run(op.clone(), &tensor), || wait_for(&tensor))?, times);
            if index == 0 && round % 2 == 0 {
                time_bare()?;
            }
        }
    }
    let bare_median = bare.map(|_| median(&mut bare_times));
    Ok(ops.iter().zip(&mut times).map(|(op, times)| row(op, world_size, size, times, bare_median)).collect())
}

/// Mean seconds of `call` over `repeats`, on the slowest rank; all ranks begin together.
fn timed(
    ranks: &Ranks,
    repeats: usize,
    mut call: impl FnMut() -> Result<(), TrainError>,
    finish: impl FnOnce(),
) -> Result<f64, TrainError> {
    ranks.control().barrier()?;
    let begin = Instant::now();
    for _ in 0..repeats {
        call()?;
    }
    finish();
    let secs = begin.elapsed().as_secs_f64() / repeats as f64;
    Ok(ranks.gather_f64(secs)?.into_iter().fold(0.0, f64::max))
}

/// Median over `reps` of the slowest rank's mean seconds in the start of an all-reduce of one number.
fn launch(ranks: &Ranks, device: Device, reps: usize) -> Result<f64, TrainError> {
    let tensor = Tensor::f_zeros([1], (Kind::Float, device))?;
    let mut times = Vec::with_capacity(reps);
    for _ in 0..reps {
        ranks.control().barrier()?;
        let mut secs = 0.0;
        for _ in 0..MAX_REPEATS {
            let begin = Instant::now();
            // SAFETY: the tensor lives until the ticket has been waited for, and nothing else uses it.
            let ticket = unsafe { ranks.start(TensorOp::AllReduce(ReduceOp::Sum), &tensor) }?;
            secs += begin.elapsed().as_secs_f64();
            ticket.wait()?;
        }
        wait_for(&tensor);
        times.push(ranks.gather_f64(secs / MAX_REPEATS as f64)?.into_iter().fold(0.0, f64::max));
    }
    Ok(median(&mut times))
}

/// The elements of a contiguous fp32 tensor in host memory, for the bare call; nothing else touches them meanwhile.
#[expect(clippy::mut_from_ref, reason = "a tensor is a handle to memory that its shared borrow may change")]
fn elements(tensor: &Tensor) -> Result<&mut [f32], TrainError> {
    if tensor.device() != Device::Cpu || tensor.kind() != Kind::Float || !tensor.is_contiguous() {
        return Err(TrainError::internal("the bare call takes contiguous fp32 in host memory"));
    }
    // SAFETY: checked above: `numel` elements of fp32 lie at the data pointer, as long as the tensor that is borrowed. The
    // operations before have been waited for, and the slice is gone before the next one starts.
    Ok(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) })
}

/// Reading an element waits for a GPU; host memory is complete already.
fn wait_for(tensor: &Tensor) {
    if tensor.device() != Device::Cpu {
        let _ = tensor.double_value(&[0]);
    }
}

fn row(op: &TensorOp, world_size: usize, bytes: usize, times: &mut [f64], bare: Option<f64>) -> CommRow {
    let median_s = median(times);
    let ranks = world_size as f64;
    let (rounds, bare) = match op {
        TensorOp::AllReduce(_) => (2.0, bare),
        _ => (1.0, None),
    };
    let algorithm = bytes as f64 / median_s / 1e9;
    CommRow {
        operation: op.name(),
        bytes,
        median_s,
        // `median` has sorted them.
        best_s: times.first().copied().unwrap_or(f64::NAN),
        algorithm_gb_per_s: algorithm,
        bus_gb_per_s: algorithm * rounds * (ranks - 1.0) / ranks,
        bare_median_s: bare,
        of_bare: bare.map(|bare| bare / median_s),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for CommFigures {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} on {} over {}, {}; latency {:.1} us, launch {:.1} us",
            count(self.world_size, "rank"),
            count(self.num_nodes, "node"),
            self.backend,
            self.device,
            self.latency_s * 1e6,
            self.launch_s * 1e6
        )?;
        writeln!(
            f,
            "{:14} {:>9} {:>11} {:>11} {:>10} {:>10} {:>8}",
            "", "size", "median us", "best us", "alg GB/s", "bus GB/s", "of bare"
        )?;
        for row in &self.rows {
            let of_bare = row.of_bare.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let line = format!(
                "{:14} {:>9} {:>11.1} {:>11.1} {:>10.3} {:>10.3} {of_bare:>8}",
                row.operation,
                Bytes(row.bytes as u64).to_string(),
                row.median_s * 1e6,
                row.best_s * 1e6,
                row.algorithm_gb_per_s,
                row.bus_gb_per_s
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use dtrain_comm::local_world;

    use super::*;

    #[test]
    fn bandwidths_are_those_of_nccl_tests() {
        // Its page: n = 4 and an all-reduce of 1 GB in 1 s have a bus bandwidth of 1.5 GB/s.
        let op = TensorOp::AllReduce(ReduceOp::Sum);
        let all_reduce = row(&op, 4, 1_000_000_000, &mut [3.0, 1.0, 0.5], Some(0.9));
        assert_eq!((all_reduce.median_s, all_reduce.best_s), (1.0, 0.5));
        assert_eq!((all_reduce.algorithm_gb_per_s, all_reduce.bus_gb_per_s), (1.0, 1.5));
        assert_eq!((all_reduce.bare_median_s, all_reduce.of_bare), (Some(0.9), Some(0.9)));
        for op in [TensorOp::ReduceScatter, TensorOp::AllGather { counts: vec![1; 4] }] {
            let half = row(&op, 4, 1_000_000_000, &mut [1.0], Some(0.9));
            assert_eq!((half.bus_gb_per_s, half.of_bare), (0.75, None));
        }
    }

    #[test]
    fn every_size_and_operation_is_measured_on_all_ranks_alike() {
        let calls = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = local_world(3)
            .into_iter()
            .map(|collective| {
                let calls = Arc::clone(&calls);
                thread::spawn(move || {
                    let ranks = Ranks::inline(&collective);
                    let bare = |buffer: &mut [f32]| {
                        calls.fetch_add(1, Ordering::Relaxed);
                        assert!(buffer.len() >= 3 && buffer.iter().all(|&value| value == 0.0));
                        Ok(())
                    };
                    measure(&ranks, Device::Cpu, "cpu", Some(&bare), &[4 << 20, 10], 2).unwrap()
                })
            })
            .collect();
        let figures: Vec<CommFigures> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(figures.iter().all(|other| Some(other) == figures.first()));
        let rows = &figures[0].rows;
        let names: Vec<&str> = rows.iter().map(|row| row.operation).collect();
        assert_eq!(names, ["all_reduce", "reduce_scatter", "all_gather"].repeat(2));
        // Sizes are rounded up to whole elements per rank.
        assert_eq!((rows[0].bytes, rows[3].bytes), ((4 << 20) + 8, 12));
        assert!(rows.iter().all(|row| row.median_s > 0.0 && row.best_s <= row.median_s));
        // Three rounds on three ranks: once for the large size, many times for the small one.
        assert_eq!(calls.load(Ordering::Relaxed), 3 * 3 * (1 + MAX_REPEATS));
        let table = figures[0].to_string();
        assert_eq!(table.lines().count(), 2 + 6);
        assert!(table.contains("4.0 MiB") && table.contains(" us, launch "), "{table}");
        assert!(figures[0].launch_s > 0.0 && figures[0].launch_s.is_finite());
    }
}
