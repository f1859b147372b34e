//! Decoded recordings in memory, shared by the threads of a rank.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::decode::DecodeError;

/// A recording, or the reason why there is none.
pub type CachedRecording = Result<Arc<Vec<f32>>, Arc<DecodeError>>;

/// Holds recordings as long as they fit a budget: first come, first kept. Nothing is ever evicted, since every epoch
/// visits every recording once, and in such an order each scheme of eviction throws out what comes next.
///
/// Errors are kept too, so that a bad file is read once.
#[derive(Debug)]
pub struct RecordingCache {
    slots: Vec<OnceLock<CachedRecording>>,
    budget_bytes: u64,
    used_bytes: AtomicU64,
}

impl RecordingCache {
    /// An empty cache for `num_recordings` recordings.
    pub fn new(num_recordings: usize, budget_bytes: u64) -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(num_recordings).collect();
        Self { slots, budget_bytes, used_bytes: AtomicU64::new(0) }
    }

    /// Recording `index`, from memory or else from `load`; `None` where there is no such index.
    ///
    /// Threads that ask for the same recording at the same time may both load it; one result is kept.
    pub fn get(
        &self,
        index: usize,
        load: impl FnOnce() -> Result<Vec<f32>, DecodeError>,
    ) -> Option<CachedRecording> {
        let slot = self.slots.get(index)?;
        if let Some(known) = slot.get() {
            return Some(known.clone());
        }
        let loaded = match load() {
            Ok(mut samples) => {
                samples.shrink_to_fit();
                Ok(Arc::new(samples))
            }
            Err(error) => Err(Arc::new(error)),
        };
        let bytes = loaded.as_ref().map_or(0, |samples| (samples.capacity() * size_of::<f32>()) as u64);
        if self.reserve(bytes) && slot.set(loaded.clone()).is_err() {
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Some(loaded)
    }

    /// Memory in use for samples, in bytes; never more than the budget.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Recordings in memory.
    pub fn num_cached(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot.get(), Some(Ok(_)))).count()
    }

    fn reserve(&self, bytes: u64) -> bool {
        let within = |used: u64| used.checked_add(bytes).filter(|&total| total <= self.budget_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::decode::DecodeProblem;

    #[test]
    fn the_budget_holds_under_contention_and_bytes_add_up() {
        let cache = RecordingCache::new(100, 10_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for i in 0..400 {
                        let index = (i * 7 + thread * 13) % 100;
                        let got = cache.get(index, || Ok(vec![index as f32; 10 + index])).unwrap().unwrap();
                        assert_eq!(*got, vec![index as f32; 10 + index]);
                        assert!(cache.used_bytes() <= 10_000);
                    }
                });
            }
        });
        let held: usize =
            cache.slots.iter().filter_map(|s| s.get()?.as_ref().ok()).map(|s| s.len() * 4).sum();
        assert_eq!(cache.used_bytes(), held as u64);
        assert!(held > 9_000 && cache.num_cached() < 100);
    }

    #[test]
    fn what_is_kept_is_loaded_once_and_what_does_not_fit_each_time() {
        let cache = RecordingCache::new(2, 40);
        let loads = AtomicUsize::new(0);
        let load = |len| {
            loads.fetch_add(1, Ordering::Relaxed);
            Ok(vec![0.0; len])
        };
        for _ in 0..3 {
            cache.get(0, || load(10)).unwrap().unwrap();
        }
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        for _ in 0..3 {
            cache.get(1, || load(1)).unwrap().unwrap();
        }
        assert_eq!(loads.load(Ordering::Relaxed), 4);
        assert!(cache.get(2, || load(1)).is_none());
    }

    #[test]
    fn errors_are_remembered() {
        let cache = RecordingCache::new(1, 0);
        let error = DecodeError { path: "bad.wav".into(), problem: DecodeProblem::Empty };
        assert_eq!(*cache.get(0, || Err(error.clone())).unwrap().unwrap_err(), error);
        let again = cache.get(0, || Ok(vec![1.0])).unwrap();
        assert_eq!(*again.unwrap_err(), error);
    }
}
