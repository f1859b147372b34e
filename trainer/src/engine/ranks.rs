//! The ways between ranks as the engine takes them: control messages on the host, tensors by a transport, and the time
//! that was spent waiting for either.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dtrain_comm::{
    Backend, Buffer, Collective, CollectiveExt, ElementKind, Inline, ReduceOp, Stage, StageGuard, TensorOp,
    Ticket, Transport, World, padded_part,
};
use tch::{Device, Kind, Tensor};

use crate::error::TrainError;

/// Control messages and tensors between the same ranks. Clones share both, and the clock.
#[derive(Debug, Clone)]
pub struct Ranks {
    control: Arc<dyn Collective>,
    transport: Arc<dyn Transport>,
    blocked_nanos: Arc<AtomicU64>,
    /// What went wrong inside a callback of libtorch, which passes on texts only.
    failure: Arc<Mutex<Option<TrainError>>>,
}

impl Ranks {
    /// `transport` connects the same ranks as `control`, on a communicator of its own if it works in the background.
    pub fn new(control: Arc<dyn Collective>, transport: Arc<dyn Transport>) -> Self {
        Self { control, transport, blocked_nanos: Arc::default(), failure: Arc::default() }
    }

    /// Tensors take the way of control messages, one operation after the other.
    pub fn inline(control: &Arc<dyn Collective>) -> Self {
        Self::new(Arc::clone(control), Arc::new(Inline::new(Arc::clone(control))))
    }

    /// Who takes part.
    pub fn world(&self) -> &World {
        self.control.world()
    }

    /// Tells the other ranks what this one is doing.
    pub fn enter(&self, stage: Stage) -> StageGuard {
        self.control.heartbeat().enter(stage)
    }

    /// Host messages.
    pub fn control(&self) -> &Arc<dyn Collective> {
        &self.control
    }

    /// Tensors.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Whether there is nobody to talk to. A single rank that asks for NCCL goes through it, as a check of the library.
    pub fn is_alone(&self) -> bool {
        self.world().world_size == 1 && self.transport.backend() != Backend::Nccl
    }

    /// Time that this rank's host has been blocked in operations of [`Ranks`], on all threads, since the start.
    pub fn blocked(&self) -> Duration {
        Duration::from_nanos(self.blocked_nanos.load(Ordering::Relaxed))
    }

    /// Runs `call` and counts its time as blocked.
    pub fn timed<T>(&self, call: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let value = call();
        self.blocked_nanos.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        value
    }

    /// Keeps an error that a callback cannot return, and gives its text.
    pub fn keep_failure(&self, error: TrainError) -> String {
        let text = error.to_string();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        text
    }

    /// The error that was kept, where `error` is libtorch's word for it.
    pub fn cause_of(&self, error: TrainError) -> TrainError {
        let kept = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (error, kept) {
            (TrainError::Torch(_), Some(cause)) => cause,
            (error, _) => error,
        }
    }

    /// Starts `op` on the elements of `tensor`, which is contiguous and where the transport can reach it.
    ///
    /// # Safety
    /// The tensor's storage stays alive, and nobody reads or writes it, until the ticket has been waited for.
    pub unsafe fn start(&self, op: TensorOp, tensor: &Tensor) -> Result<Ticket, TrainError> {
        // SAFETY: as the caller promises.
        Ok(unsafe { self.transport.start(op, buffer_of(tensor)?) }?)
    }

    /// As [`Ranks::start`], for several tensors in one launch.
    ///
    /// # Safety
    /// As for [`Ranks::start`], for every tensor.
    pub unsafe fn start_group(&self, ops: &[(TensorOp, Tensor)]) -> Result<Ticket, TrainError> {
        let mut buffers = Vec::with_capacity(ops.len());
        for (op, tensor) in ops {
            // SAFETY: as the caller promises.
            buffers.push((op.clone(), unsafe { buffer_of(tensor) }?));
        }
        // SAFETY: as the caller promises.
        Ok(unsafe { self.transport.start_group(buffers) }?)
    }

    /// Whether the transport reaches the memory of `device` without a copy through the host.
    pub fn reaches(&self, device: Device) -> bool {
        device == Device::Cpu || self.transport.backend() == Backend::Nccl
    }

    /// Runs `op` on a contiguous tensor in place, ordered before whatever is done with it next.
    pub fn run(&self, op: TensorOp, tensor: &Tensor) -> Result<(), TrainError> {
        if self.is_alone() || tensor.numel() == 0 {
            return Ok(());
        }
        if !self.reaches(tensor.device()) {
            let host = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
            self.run(op, &host)?;
            tensor.shallow_clone().f_copy_(&host)?;
            return Ok(());
        }
        self.timed(|| {
            // SAFETY: the tensor is borrowed until the ticket has been waited for, on the next line.
            let ticket = unsafe { self.start(op, tensor) }?;
            Ok(ticket.wait()?)
        })
    }

    /// Sums a small f64 tensor, `[n]`, contiguous, over all ranks, in place. On the host it takes the way of control messages, so that
    /// it never queues behind gradients.
    pub fn sum_f64(&self, values: &mut Tensor) -> Result<(), TrainError> {
        if self.is_alone() {
            return Ok(());
        }
        if values.device() == Device::Cpu && self.transport.backend() != Backend::Nccl {
            return self.timed(|| {
                // SAFETY: the tensor is exclusively borrowed for the time of the call.
                let buffer = unsafe { buffer_of(values) }?;
                Ok(self.control.all_reduce(buffer, ReduceOp::Sum)?)
            });
        }
        self.run(TensorOp::AllReduce(ReduceOp::Sum), values)
    }

    /// Rows of all ranks in rank order: `[sum(rows_per_rank), D]` from this rank's `[rows_per_rank[rank], D]`.
    pub fn gather_rows(&self, rows: &Tensor, rows_per_rank: &[usize]) -> Result<Tensor, TrainError> {
        let rows = rows.detach().contiguous();
        if self.is_alone() {
            return Ok(rows);
        }
        let width: i64 = rows.size().iter().skip(1).product();
        let counts: Vec<usize> = rows_per_rank.iter().map(|rows| rows * width as usize).collect();
        let element = rows.kind().elt_size_in_bytes();
        if self.transport.backend() == Backend::Nccl && padded_part(&counts, element).is_some() {
            return self.gather_padded(&rows, rows_per_rank);
        }
        let mut shape = rows.size();
        if let Some(first) = shape.first_mut() {
            *first = rows_per_rank.iter().sum::<usize>() as i64;
        }
        let begin: usize = rows_per_rank.iter().take(self.world().rank).sum();
        let all = Tensor::f_zeros(&shape, (rows.kind(), rows.device()))?;
        all.narrow(0, begin as i64, rows.size().first().copied().unwrap_or(0)).f_copy_(&rows)?;
        self.run(TensorOp::AllGather { counts }, &all)?;
        Ok(all)
    }

    /// [`Ranks::gather_rows`] as one all-gather of equal parts: every share is as long as the longest on its way.
    fn gather_padded(&self, rows: &Tensor, rows_per_rank: &[usize]) -> Result<Tensor, TrainError> {
        let world_size = self.world().world_size;
        let largest = rows_per_rank.iter().copied().max().unwrap_or(0);
        let width: i64 = rows.size().iter().skip(1).product();
        let mut shape = rows.size();
        if let Some(first) = shape.first_mut() {
            *first = (largest * world_size) as i64;
        }
        let all = Tensor::f_zeros(&shape, (rows.kind(), rows.device()))?;
        let begin = (largest * self.world().rank) as i64;
        all.narrow(0, begin, rows.size().first().copied().unwrap_or(0)).f_copy_(rows)?;
        self.run(TensorOp::AllGather { counts: vec![largest * width as usize; world_size] }, &all)?;
        let shares = rows_per_rank.iter().enumerate();
        let shares: Vec<Tensor> =
            shares.map(|(rank, &rows)| all.narrow(0, (rank * largest) as i64, rows as i64)).collect();
        Ok(Tensor::f_cat(&shares, 0)?)
    }

    /// Columns of numbers of all ranks, one after the other in rank order. All ranks have the same number of columns; the
    /// columns of a rank are as long as `per_rank` says.
    pub fn gather_columns(
        &self,
        columns: &[Vec<i64>],
        per_rank: &[usize],
    ) -> Result<Vec<Vec<i64>>, TrainError> {
        if self.is_alone() {
            return Ok(columns.to_vec());
        }
        let bytes: Vec<u8> = columns.iter().flatten().flat_map(|value| value.to_ne_bytes()).collect();
        let width = columns.len() * size_of::<i64>();
        let counts: Vec<usize> = per_rank.iter().map(|rows| rows * width).collect();
        let mut all = vec![0; counts.iter().sum()];
        self.timed(|| self.control.all_gather(&bytes, &counts, &mut all))?;
        let (values, _) = all.as_chunks::<{ size_of::<i64>() }>();
        let mut values = values.iter().map(|bytes| i64::from_ne_bytes(*bytes));
        let mut gathered = vec![Vec::with_capacity(per_rank.iter().sum()); columns.len()];
        for &rows in per_rank {
            for column in &mut gathered {
                column.extend(values.by_ref().take(rows));
            }
        }
        Ok(gathered)
    }

    /// Which of the flags hold on any rank.
    pub fn any(&self, flags: &[bool]) -> Result<Vec<bool>, TrainError> {
        let mut bytes: Vec<u8> = flags.iter().map(|&flag| u8::from(flag)).collect();
        if !self.is_alone() {
            self.timed(|| self.control.all_reduce(Buffer::from(bytes.as_mut_slice()), ReduceOp::Max))?;
        }
        Ok(bytes.into_iter().map(|byte| byte != 0).collect())
    }

    /// One number of each rank, in rank order.
    pub fn gather_f64(&self, value: f64) -> Result<Vec<f64>, TrainError> {
        let bits = self.timed(|| self.control.all_gather_usize(value.to_bits() as usize))?;
        Ok(bits.into_iter().map(|bits| f64::from_bits(bits as u64)).collect())
    }
}

/// The elements of a contiguous tensor as a buffer of any lifetime.
///
/// # Safety
/// The storage outlives the buffer, and nobody touches it while the buffer is used.
unsafe fn buffer_of(tensor: &Tensor) -> Result<Buffer<'static>, TrainError> {
    let kind = match tensor.kind() {
        Kind::Float => ElementKind::F32,
        Kind::Double => ElementKind::F64,
        Kind::Int64 => ElementKind::I64,
        Kind::Int => ElementKind::I32,
        Kind::Uint8 => ElementKind::U8,
        other => return Err(TrainError::internal(format!("no transport for tensors of {other:?}"))),
    };
    if !tensor.is_contiguous() {
        return Err(TrainError::internal("only contiguous tensors travel between ranks"));
    }
    // SAFETY: a contiguous tensor holds `numel` elements of that kind at its data pointer.
    Ok(unsafe { Buffer::from_raw(tensor.data_ptr().cast::<u8>(), tensor.numel(), kind) })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use dtrain_comm::{CommError, local_world};

    use super::*;

    fn on_each_rank<T: Send>(world_size: usize, body: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
        thread::scope(|scope| {
            let body = &body;
            let threads: Vec<_> = local_world(world_size)
                .iter()
                .map(Ranks::inline)
                .map(|ranks| scope.spawn(move || body(ranks)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn rows_and_columns_of_uneven_shares_come_in_rank_order() {
        let per_rank = [2_usize, 0, 3];
        let results = on_each_rank(3, |ranks| {
            let rank = ranks.world().rank;
            let rows = Tensor::full([per_rank[rank] as i64, 4], rank as f64, (Kind::Double, Device::Cpu));
            let column =
                |factor: i64| (0..per_rank[rank] as i64).map(|i| factor * (10 * rank as i64 + i)).collect();
            let columns = ranks.gather_columns(&[column(1), column(-1)], &per_rank).unwrap();
            (ranks.gather_rows(&rows, &per_rank).unwrap(), columns)
        });
        for (rows, columns) in results {
            assert_eq!(rows.size(), [5, 4]);
            assert_eq!(Vec::<f64>::try_from(rows.select(1, 3)).unwrap(), [0.0, 0.0, 2.0, 2.0, 2.0]);
            assert_eq!(columns, [vec![0, 1, 20, 21, 22], vec![0, -1, -20, -21, -22]]);
        }
    }

    /// Threads' memory under NCCL's name; keeps what it was asked for.
    #[derive(Debug)]
    struct Recorded(Inline, Mutex<Vec<TensorOp>>);

    impl Transport for Recorded {
        fn world(&self) -> &World {
            self.0.world()
        }

        fn backend(&self) -> Backend {
            Backend::Nccl
        }

        fn is_asynchronous(&self) -> bool {
            false
        }

        unsafe fn start(&self, op: TensorOp, buffer: Buffer<'static>) -> Result<Ticket, CommError> {
            self.1.lock().unwrap().push(op.clone());
            // SAFETY: as the caller promises.
            unsafe { self.0.start(op, buffer) }
        }
    }

    /// Rows over NCCL's name, of `width` numbers, and the operations that it took.
    fn gathered(per_rank: [usize; 3], width: i64, kind: Kind) -> Vec<(Tensor, Tensor, Vec<TensorOp>)> {
        on_each_rank(3, |ranks| {
            let rank = ranks.world().rank;
            let transport = Arc::new(Recorded(Inline::new(Arc::clone(ranks.control())), Mutex::default()));
            let ways = Ranks::new(Arc::clone(ranks.control()), transport.clone());
            let seed = Tensor::arange(per_rank[rank] as i64 * width, (Kind::Double, Device::Cpu));
            let rows =
                ((seed + 1000.0 * rank as f64) / 7.0).to_kind(kind).view([per_rank[rank] as i64, width]);
            let (over, plain) =
                (ways.gather_rows(&rows, &per_rank).unwrap(), ranks.gather_rows(&rows, &per_rank).unwrap());
            let ops = transport.1.lock().unwrap().clone();
            (over, plain, ops)
        })
    }

    #[test]
    fn uneven_shares_cross_nccl_in_one_call_bit_for_bit() {
        for per_rank in [[3, 2, 3], [2, 0, 3], [0, 0, 4], [1, 1, 0], [5, 5, 5], [0, 0, 0]] {
            for kind in [Kind::Float, Kind::Double, Kind::Int64] {
                for (over, plain, ops) in gathered(per_rank, 5, kind) {
                    assert_eq!(over.size(), plain.size(), "{per_rank:?}");
                    assert!(over.equal(&plain), "{per_rank:?}");
                    let brings = per_rank.iter().filter(|&&rows| rows > 0).count();
                    let even = matches!(&ops[..], [TensorOp::AllGather { counts }]
                        if counts.iter().all(|count| *count == counts[0]));
                    assert!(brings < 2 || even, "{per_rank:?}: {ops:?}");
                }
            }
        }
    }

    #[test]
    fn a_share_that_is_far_longer_than_the_others_is_not_copied_for_them() {
        let per_rank = [1, 300, 1];
        for (over, plain, ops) in gathered(per_rank, 4096, Kind::Double) {
            assert!(over.equal(&plain));
            let counts = per_rank.map(|rows| rows * 4096).to_vec();
            assert_eq!(ops, [TensorOp::AllGather { counts }]);
        }
    }

    #[test]
    fn flags_and_numbers_of_all_ranks_are_known_to_all() {
        let results = on_each_rank(2, |ranks| {
            let rank = ranks.world().rank;
            let mut sums = Tensor::from_slice(&[rank as f64, 1.0]);
            ranks.sum_f64(&mut sums).unwrap();
            let flags = ranks.any(&[rank == 1, false, true]).unwrap();
            (Vec::<f64>::try_from(sums).unwrap(), flags, ranks.gather_f64(rank as f64 - 0.5).unwrap())
        });
        for result in results {
            assert_eq!(result, (vec![1.0, 2.0], vec![true, false, true], vec![-0.5, 0.5]));
        }
    }
}
