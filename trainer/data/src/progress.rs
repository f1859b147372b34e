//! Progress of long work other than training: scans, evaluations, generators, proofs. Whoever does such work says how much
//! there is and how much is done; who listens, if anybody, was said once at the start of the program. Ranks that nobody
//! listens to count for nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stand<'a> {
    /// What is done, such as `evaluating val`.
    pub what: &'a str,
    /// What is counted, such as `samples`.
    pub unit: &'a str,
    /// How many are done.
    pub done: u64,
    /// Of how many; `None` where nobody knows.
    pub total: Option<u64>,
    /// Since the work began.
    pub elapsed: Duration,
}

impl Stand<'_> {
    /// How many a second.
    pub fn per_sec(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// How long the rest takes at the speed so far; `None` where that is not known.
    pub fn time_left(&self) -> Option<Duration> {
        let rest = self.total?.saturating_sub(self.done) as f64;
        let secs = (self.done > 0).then(|| rest / self.per_sec())?;
        Duration::try_from_secs_f64(secs).ok()
    }
}

/// Hears how work goes on.
pub trait Listener: Send + Sync {
    /// Shortest time between two reports of one work, and until the first: shorter work is not worth a word.
    fn interval(&self) -> Duration;
    /// The work goes on.
    fn report(&self, stand: &Stand<'_>);
    /// A work that was reported has ended.
    fn ended(&self);
}

static LISTENER: OnceLock<Box<dyn Listener>> = OnceLock::new();

/// Says who listens, once for the process; later calls change nothing.
pub fn listen(listener: Box<dyn Listener>) {
    let _ = LISTENER.set(listener);
}

/// A piece of work, from its beginning to its end by being dropped. Several threads may count.
pub struct Work {
    what: String,
    unit: &'static str,
    total: Option<u64>,
    done: AtomicU64,
    began: Instant,
    /// Milliseconds after `began` at which the next report is due.
    due: AtomicU64,
    reported: AtomicU64,
    listener: Option<&'static dyn Listener>,
}

impl Work {
    /// Begins work on `total` of what `unit` names.
    pub fn begin(what: impl Into<String>, unit: &'static str, total: impl Into<Option<u64>>) -> Self {
        Self::heard_by(LISTENER.get().map(AsRef::as_ref), what.into(), unit, total.into())
    }

    fn heard_by(
        listener: Option<&'static dyn Listener>,
        what: String,
        unit: &'static str,
        total: Option<u64>,
    ) -> Self {
        let due = listener.map_or(u64::MAX, |listener| millis(listener.interval()));
        Self {
            what,
            unit,
            total,
            done: AtomicU64::new(0),
            began: Instant::now(),
            due: AtomicU64::new(due),
            reported: AtomicU64::new(0),
            listener,
        }
    }

    /// So many more are done.
    pub fn add(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        let Some(listener) = self.listener else { return };
        let elapsed = self.began.elapsed();
        let (now, due) = (millis(elapsed), self.due.load(Ordering::Relaxed));
        let next = now.saturating_add(millis(listener.interval()));
        // Of several threads that find a report due, one makes it.
        if now < due || self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.reported.fetch_add(1, Ordering::Relaxed);
        let done = self.total.map_or(done, |total| done.min(total));
        listener.report(&Stand { what: &self.what, unit: self.unit, done, total: self.total, elapsed });
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.filter(|_| self.reported.load(Ordering::Relaxed) > 0) {
            listener.ended();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Reports as (done, total), and works that have ended.
    type Seen = (Vec<(u64, Option<u64>)>, usize);

    /// Notes what it hears.
    struct Notes {
        interval: Duration,
        seen: Mutex<Seen>,
    }

    impl Listener for Notes {
        fn interval(&self) -> Duration {
            self.interval
        }

        fn report(&self, stand: &Stand<'_>) {
            self.seen.lock().unwrap().0.push((stand.done, stand.total));
        }

        fn ended(&self) {
            self.seen.lock().unwrap().1 += 1;
        }
    }

    fn notes(interval: Duration) -> &'static Notes {
        Box::leak(Box::new(Notes { interval, seen: Mutex::default() }))
    }

    #[test]
    fn work_is_reported_as_it_goes_on_and_its_end_once() {
        let notes = notes(Duration::ZERO);
        let work = Work::heard_by(Some(notes), "scanning".into(), "files", Some(5));
        [1, 3, 3].into_iter().for_each(|count| work.add(count));
        drop(work);
        let (reports, ended) = notes.seen.lock().unwrap().clone();
        assert_eq!(reports, [(1, Some(5)), (4, Some(5)), (5, Some(5))]);
        assert_eq!(ended, 1);
    }

    #[test]
    fn short_work_is_not_worth_a_word() {
        let notes = notes(Duration::from_secs(3600));
        let work = Work::heard_by(Some(notes), "scanning".into(), "files", None);
        (0..1000).for_each(|_| work.add(1));
        drop(work);
        assert_eq!(*notes.seen.lock().unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn speed_and_time_left_follow_from_what_is_done() {
        let stand =
            |done, total| Stand { what: "w", unit: "u", done, total, elapsed: Duration::from_secs(4) };
        assert_eq!(stand(8, Some(20)).per_sec(), 2.0);
        assert_eq!(stand(8, Some(20)).time_left(), Some(Duration::from_secs(6)));
        assert_eq!(stand(8, None).time_left(), None);
        assert_eq!(stand(0, Some(20)).time_left(), None);
    }
}
