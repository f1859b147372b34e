//! A thread that carries tensors between ranks while the caller computes.
//!
//! Nonblocking MPI collectives make no progress by themselves and sum in another order than the blocking ones, so
//! that overlap takes a thread with blocking calls and collectives of its own. It sleeps while there is nothing to do.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{Backend, Pending, TensorOp, Ticket, Transport};
use crate::buffer::Buffer;
use crate::collective::Collective;
use crate::error::CommError;
use crate::world::World;

/// Runs operations on host memory in the order of their submission, on a thread of its own.
///
/// An operation that fails does not stop later ones, which ranks that did not fail may have begun. Dropping the value
/// waits for what was submitted.
#[derive(Debug)]
pub struct Background {
    collective: Arc<dyn Collective>,
    /// `None` once the thread has been told to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    op: TensorOp,
    buffer: Buffer<'static>,
    done: Sender<Result<(), CommError>>,
}

/// The answer of the thread, to be.
struct Answer {
    rank: usize,
    done: Receiver<Result<(), CommError>>,
}

impl Background {
    /// Starts the thread with collectives that nobody else uses, such as those of [`crate::Session::duplicate`].
    ///
    /// # Errors
    /// [`CommError::CommThread`] when the system gives no thread.
    pub fn start(collective: Arc<dyn Collective>) -> Result<Self, CommError> {
        let rank = collective.world().rank;
        let (jobs, queue) = unbounded();
        let own = collective.clone();
        let thread = std::thread::Builder::new()
            .name("comm".to_owned())
            .spawn(move || run(&*own, &queue))
            .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
        Ok(Self { collective, jobs: Some(jobs), thread: Some(thread) })
    }
}

fn run(collective: &dyn Collective, queue: &Receiver<Job>) {
    for Job { op, buffer, done } in queue {
        let result = op.run(collective, buffer);
        // Nobody may be left to hear it.
        let _ = done.send(result);
    }
}

impl Transport for Background {
    fn world(&self) -> &World {
        self.collective.world()
    }

    fn backend(&self) -> Backend {
        self.collective.backend()
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    unsafe fn start(&self, op: TensorOp, buffer: Buffer<'static>) -> Result<Ticket, CommError> {
        op.check(self.world(), buffer.len())?;
        let (done, result) = bounded(1);
        if let Some(jobs) = &self.jobs {
            // A thread that has ended drops the job, and with it the sender: the ticket then says so.
            let _ = jobs.send(Job { op, buffer, done });
        }
        Ok(Ticket::of(Answer { rank: self.world().rank, done: result }))
    }
}

impl Pending for Answer {
    fn finish(&mut self) -> Result<(), CommError> {
        self.done.recv().unwrap_or_else(|_| {
            Err(CommError::CommThread { rank: self.rank, reason: "it has ended".to_owned() })
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // The thread has no state that a panic in it could have spoilt, and tickets report its end.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::ReduceOp;
    use crate::local::local_world;

    /// A buffer that the test keeps alive and untouched until its ticket is done.
    fn lend<'a, B: Into<Buffer<'a>>>(slice: B) -> Buffer<'static> {
        // SAFETY: as the doc line says.
        unsafe { slice.into().extend() }
    }

    #[test]
    fn operations_come_back_in_any_order_with_their_own_results() {
        let ranks: Vec<_> = local_world(3)
            .into_iter()
            .map(|collective| {
                std::thread::spawn(move || {
                    let rank = collective.world().rank;
                    let thread = Background::start(collective).unwrap();
                    let (mut first, mut second) = ([rank as f64; 5], [10.0 * rank as f64]);
                    let (mut parts, mut copied) = ([rank as i64; 3], [rank as u8]);
                    // SAFETY: the arrays outlive the tickets and are not touched before.
                    let (a, b, c) = unsafe {
                        let sum = TensorOp::AllReduce(ReduceOp::Sum);
                        let max = TensorOp::AllReduce(ReduceOp::Max);
                        let gather = TensorOp::AllGather { counts: vec![1; 3] };
                        let copy = TensorOp::Broadcast { root: 2 };
                        (
                            thread.start(sum, lend(&mut first[..])).unwrap(),
                            thread.start(max, lend(&mut second[..])).unwrap(),
                            thread
                                .start_group(vec![
                                    (gather, lend(&mut parts[..])),
                                    (copy, lend(&mut copied[..])),
                                ])
                                .unwrap(),
                        )
                    };
                    c.wait().unwrap();
                    b.wait().unwrap();
                    drop(a);
                    (first, second, parts, copied)
                })
            })
            .collect();
        for rank in ranks {
            assert_eq!(rank.join().unwrap(), ([3.0; 5], [20.0], [0, 1, 2], [2]));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_at_the_start() {
        let thread = Background::start(local_world(1).remove(0)).unwrap();
        let mut numbers = [0_f32; 3];
        for op in [TensorOp::AllGather { counts: vec![2] }, TensorOp::Broadcast { root: 1 }] {
            // SAFETY: nothing is started.
            let result = unsafe { thread.start(op, lend(&mut numbers[..])) };
            assert!(matches!(result, Err(CommError::Argument { .. })), "{result:?}");
        }
    }
}
