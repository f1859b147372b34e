//! Streams and events: work in order on a thread, and the only way to order two of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

type Task = Box<dyn FnOnce() + Send>;

/// Work that a thread does in order. Dropping it lets the thread finish what was given to it.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    tasks: Sender<Task>,
    /// Tasks given to the thread that are not done yet.
    open: Arc<AtomicU64>,
}

impl Stream {
    /// A stream without order to any other.
    pub(crate) fn new() -> Self {
        let (tasks, queue) = channel::<Task>();
        let open = Arc::new(AtomicU64::new(0));
        let done = open.clone();
        std::thread::spawn(move || {
            for task in queue {
                task();
                done.fetch_sub(1, Ordering::AcqRel);
            }
        });
        Self { tasks, open }
    }

    /// The legacy default stream of this process.
    pub(crate) fn legacy() -> &'static Self {
        static LEGACY: OnceLock<Stream> = OnceLock::new();
        LEGACY.get_or_init(Self::new)
    }

    /// Adds work at the end.
    pub(crate) fn push(&self, task: impl FnOnce() + Send + 'static) {
        self.open.fetch_add(1, Ordering::AcqRel);
        // The thread ends with the last sender only.
        let _ = self.tasks.send(Box::new(task));
    }

    /// Whether all work that was added is done.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Returns when all work that was added before is done.
    pub(crate) fn synchronize(&self) {
        self.record().wait();
    }

    /// A mark that is reached when all work that was added before is done.
    pub(crate) fn record(&self) -> Arc<Mark> {
        let mark = Arc::new(Mark::default());
        let reached = mark.clone();
        self.push(move || reached.reach());
        mark
    }
}

/// A place in a stream's work.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    reached: Mutex<bool>,
    changed: Condvar,
}

impl Mark {
    fn reach(&self) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether the work before it is done.
    pub(crate) fn is_reached(&self) -> bool {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the work before it is done.
    pub(crate) fn wait(&self) {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(reached, |reached| !*reached).unwrap_or_else(PoisonError::into_inner));
    }
}

/// An event: the mark of its last record. A wait is for the record that was the last when it was enqueued.
#[derive(Debug, Default)]
pub(crate) struct Event {
    last: Mutex<Option<Arc<Mark>>>,
}

impl Event {
    /// Moves the event to the end of the stream's present work.
    pub(crate) fn record(&self, stream: &Stream) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(stream.record());
    }

    /// The last record; an event that was never recorded has none, and counts as reached.
    pub(crate) fn last(&self) -> Option<Arc<Mark>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_wait_is_for_the_record_before_it_and_orders_two_streams() {
        let (producer, consumer) = (Stream::new(), Stream::new());
        let (go, gate) = mpsc::channel::<()>();
        let value = Arc::new(AtomicU32::new(0));
        let event = Event::default();
        let written = value.clone();
        producer.push(move || {
            gate.recv().unwrap();
            written.store(1, Ordering::SeqCst);
        });
        event.record(&producer);
        let mark = event.last().unwrap();
        consumer.push(move || mark.wait());
        let (send, receive) = mpsc::channel();
        let read = value.clone();
        consumer.push(move || send.send(read.load(Ordering::SeqCst)).unwrap());
        // A later record on a stream that never gets there changes nothing for the wait.
        let (never, closed) = mpsc::channel::<()>();
        let blocked = Stream::new();
        blocked.push(move || assert!(closed.recv().is_err()));
        event.record(&blocked);
        assert!(!event.last().unwrap().is_reached());
        assert!(receive.try_recv().is_err());
        go.send(()).unwrap();
        assert_eq!(receive.recv().unwrap(), 1);
        drop(never);
        blocked.synchronize();
        assert!(event.last().unwrap().is_reached());
    }
}
