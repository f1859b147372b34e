//! A thread that reduces gradients while the caller computes.
//!
//! Nonblocking MPI collectives make no progress by themselves and sum in another order than the blocking ones, so
//! that overlap takes a thread with blocking calls and collectives of its own. It sleeps while there is nothing to do.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::buffer::Buffer;
use crate::collective::{Collective, ReduceOp};
use crate::error::CommError;

/// Runs all-reduces in the order of their submission, which must be the same on all ranks.
///
/// Dropping it waits for what was submitted.
#[derive(Debug)]
pub struct CommThread {
    rank: usize,
    /// `None` once the thread has been told to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// An all-reduce that was submitted. Dropping it waits for the end of the operation too, but ignores its result.
#[derive(Debug)]
#[must_use = "the buffer is in use until the ticket was waited for"]
pub struct Ticket {
    rank: usize,
    done: Receiver<Result<(), CommError>>,
    waited: bool,
}

struct Job {
    buffer: Buffer<'static>,
    op: ReduceOp,
    done: Sender<Result<(), CommError>>,
}

impl CommThread {
    /// Starts the thread with collectives that nobody else uses, such as those of [`crate::Session::duplicate`].
    ///
    /// # Errors
    /// [`CommError::CommThread`] when the system gives no thread.
    pub fn start(collective: Arc<dyn Collective>) -> Result<Self, CommError> {
        let rank = collective.world().rank;
        let (jobs, queue) = unbounded();
        let thread = std::thread::Builder::new()
            .name("comm".to_owned())
            .spawn(move || run(&*collective, &queue))
            .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
        Ok(Self { rank, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Queues an all-reduce in place and returns at once.
    ///
    /// An operation that fails does not stop later ones, which ranks that did not fail may have begun.
    ///
    /// # Safety
    /// Until the ticket has been waited for or dropped, the memory of `buffer` stays allocated and nothing else reads
    /// or writes it, although the borrow may have ended. A ticket that is leaked keeps this true for ever.
    pub unsafe fn submit_all_reduce(&self, buffer: Buffer<'_>, op: ReduceOp) -> Ticket {
        let (done, result) = bounded(1);
        // SAFETY: the caller promises that the memory is valid and exclusive until the ticket is done, which is when
        // the thread lets go of the buffer.
        let buffer = unsafe { buffer.extend() };
        if let Some(jobs) = &self.jobs {
            // A thread that has ended drops the job, and with it the sender: the ticket then says so.
            let _ = jobs.send(Job { buffer, op, done });
        }
        Ticket { rank: self.rank, done: result, waited: false }
    }
}

fn run(collective: &dyn Collective, queue: &Receiver<Job>) {
    for Job { buffer, op, done } in queue {
        let result = collective.all_reduce(buffer, op);
        // Nobody may be left to hear it.
        let _ = done.send(result);
    }
}

impl Drop for CommThread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // The thread has no state that a panic in it could have spoilt, and tickets report its end.
            let _ = thread.join();
        }
    }
}

impl Ticket {
    /// Waits until the buffer holds the result.
    ///
    /// # Errors
    /// What the all-reduce reports, or [`CommError::CommThread`] when the thread has ended before.
    pub fn wait(mut self) -> Result<(), CommError> {
        self.finish()
    }

    /// Whether [`Ticket::wait`] would return at once.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.done.is_empty()
    }

    fn finish(&mut self) -> Result<(), CommError> {
        self.waited = true;
        self.done.recv().unwrap_or_else(|_| {
            Err(CommError::CommThread { rank: self.rank, reason: "it has ended".to_owned() })
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.waited {
            let _ = self.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::local_world;

    #[test]
    fn operations_come_back_in_any_order_with_their_own_results() {
        let ranks: Vec<_> = local_world(3)
            .into_iter()
            .map(|collective| {
                std::thread::spawn(move || {
                    let rank = collective.world().rank as f64;
                    let thread = CommThread::start(collective).unwrap();
                    let (mut first, mut second) = ([rank; 5], [10.0 * rank]);
                    // SAFETY: both arrays outlive the tickets and are not touched before.
                    let (a, b) = unsafe {
                        (
                            thread.submit_all_reduce(Buffer::from(&mut first[..]), ReduceOp::Sum),
                            thread.submit_all_reduce(Buffer::from(&mut second[..]), ReduceOp::Max),
                        )
                    };
                    b.wait().unwrap();
                    drop(a);
                    (first, second)
                })
            })
            .collect();
        for rank in ranks {
            assert_eq!(rank.join().unwrap(), ([3.0; 5], [20.0]));
        }
    }
}
