//! A started operation, and the duty to wait for it before its memory is touched.

use std::fmt;

use crate::error::CommError;

/// The unfinished part of an operation, as its transport knows it.
pub(crate) trait Pending: Send {
    /// Waits as [`Ticket::wait`] says; called once.
    fn finish(&mut self) -> Result<(), CommError>;
}

/// An operation, or several, that were started. Dropping it waits too, but ignores the result.
#[must_use = "the buffer is in use until the ticket was waited for"]
pub struct Ticket {
    /// Empty once waited for, and where nothing was left to wait for.
    pending: Vec<Box<dyn Pending>>,
}

impl Ticket {
    /// An operation that is complete.
    pub(crate) fn done() -> Self {
        Self { pending: Vec::new() }
    }

    /// An operation that is complete when `pending` says so.
    pub(crate) fn of(pending: impl Pending + 'static) -> Self {
        Self { pending: vec![Box::new(pending)] }
    }

    /// Waits for all of `tickets`, in their order.
    pub(crate) fn all(tickets: Vec<Self>) -> Self {
        let pending = tickets.into_iter().flat_map(|mut ticket| std::mem::take(&mut ticket.pending));
        Self { pending: pending.collect() }
    }

    /// Orders the result before whatever the caller (host memory) or the compute stream (device memory) does next.
    ///
    /// With host memory it blocks until the buffer holds the result; with device memory the compute stream waits, and
    /// the host does not.
    ///
    /// # Errors
    /// What the operation reports: of host memory here, of device memory here or at a later call. Of a group, the first
    /// error; all of its operations are waited for.
    pub fn wait(mut self) -> Result<(), CommError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), CommError> {
        let results = std::mem::take(&mut self.pending).into_iter().map(|mut pending| pending.finish());
        results.fold(Ok(()), Result::and)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        let _ = self.finish();
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pending", &self.pending.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>, Result<(), CommError>);

    impl Pending for Counted {
        fn finish(&mut self) -> Result<(), CommError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.clone()
        }
    }

    #[test]
    fn each_operation_is_waited_for_once_and_the_first_error_is_told() {
        let waits = Arc::new(AtomicUsize::new(0));
        let failed = |rank| CommError::Finalized { operation: "all_reduce", rank };
        let ticket = |result| Ticket::of(Counted(waits.clone(), result));
        let all = Ticket::all(vec![ticket(Ok(())), ticket(Err(failed(1))), ticket(Err(failed(2)))]);
        assert_eq!(waits.load(Ordering::Relaxed), 0);
        assert_eq!(all.wait(), Err(failed(1)));
        assert_eq!(waits.load(Ordering::Relaxed), 3);
        drop(ticket(Ok(())));
        assert_eq!(waits.load(Ordering::Relaxed), 4);
        assert_eq!(Ticket::done().wait(), Ok(()));
    }
}
