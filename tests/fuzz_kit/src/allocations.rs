//! How much memory a piece of work holds at once, counted where it is asked for. A length that lies shows here even if the
//! operating system would have lent the pages without complaint.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting what each thread holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

thread_local! {
    // Constants without destructors: reading them allocates nothing, also while a thread ends.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn note(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            note(signed(layout.size()));
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            note(signed(layout.size()));
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(-signed(layout.size()));
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `realloc`.
        let moved = unsafe { System.realloc(memory, layout, new_size) };
        if !moved.is_null() {
            note(signed(new_size) - signed(layout.size()));
        }
        moved
    }
}

/// Does `work` and returns the most that this thread held at once beyond what it held before, in bytes.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    work();
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}

/// Whether [`Counting`] is this program's allocator: a check that counts nothing would never fail.
pub(crate) fn are_counted() -> bool {
    peak_of(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(4096)))) >= 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn the_peak_counts_what_is_held_at_once() {
        assert!(are_counted());
        let one_after_the_other = peak_of(|| (0..10).for_each(|_| drop(vec![1u8; 1000])));
        assert!((1000..2000).contains(&one_after_the_other), "{one_after_the_other}");
        let together = peak_of(|| drop((0..10).map(|_| vec![1u8; 1000]).collect::<Vec<_>>()));
        assert!((10_000..12_000).contains(&together), "{together}");
        let grown = peak_of(|| {
            let mut bytes: Vec<u8> = Vec::with_capacity(1);
            bytes.reserve_exact(50_000);
            drop(std::hint::black_box(bytes));
        });
        assert!(grown >= 50_000, "{grown}");
    }

    /// Pages that are never touched count too.
    #[test]
    fn a_large_request_counts_whole() {
        assert!(peak_of(|| drop(std::hint::black_box(vec![0u8; 1 << 30]))) >= 1 << 30);
    }
}
