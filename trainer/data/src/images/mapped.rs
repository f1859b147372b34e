//! Mapped files that survive being shortened. Where a mapped page can no longer be read, because the file has become
//! shorter or its server has gone, the kernel sends SIGBUS, which by itself ends the process without a word. Here a handler
//! puts zeros in place of what is missing and marks the map; whoever has read asks for the mark afterwards, and names the
//! file.
//!
//! Looking at the length before each read would leave a gap between the look and the read, and says nothing of a server.
//! Reading instead of mapping costs a call for each label. The handler costs nothing until it is needed; Wayland's
//! libraries guard shared memory in the same way.

use std::io;
use std::ops::Deref;
use std::ptr::{self, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, compiler_fence};

use fs_err::File;
use memmap2::Mmap;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{SysconfVar, sysconf};

/// A mapped file. Bytes that can no longer be read are zeros, and [`Mapped::is_intact`] is false from then on.
#[derive(Debug)]
pub(super) struct Mapped {
    map: Mmap,
    region: &'static Region,
}

impl Mapped {
    /// Maps a file that is not empty. Nothing of it is read yet.
    pub fn new(file: &File) -> io::Result<Self> {
        install_handler()?;
        // SAFETY: the map is private and only read. Data sets are not written while they are in use; one that is shortened
        // all the same is caught by the handler.
        let map = unsafe { Mmap::map(file.file())? };
        let region = Region::take(map.as_ptr() as usize, map.len());
        Ok(Self { map, region })
    }

    /// True as long as all that was read came from the file. To be asked after reading.
    pub fn is_intact(&self) -> bool {
        // What was read before must not be read after the mark.
        compiler_fence(Ordering::SeqCst);
        !self.region.is_broken.load(Ordering::Acquire)
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Before the memory is given back, and may belong to somebody else.
        self.region.leave();
    }
}

/// Where a mapped file is in memory. Regions are never freed, so that the handler may walk them at any moment; one that
/// was left is taken again.
#[derive(Debug)]
struct Region {
    start: AtomicUsize,
    /// 0 while nobody has it.
    len: AtomicUsize,
    is_taken: AtomicBool,
    is_broken: AtomicBool,
    next: AtomicPtr<Region>,
}

static FIRST: AtomicPtr<Region> = AtomicPtr::new(null_mut());

impl Region {
    fn take(start: usize, len: usize) -> &'static Self {
        let free = |region: &&Self| {
            region.is_taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let region = all_regions().find(free).unwrap_or_else(Self::add);
        region.is_broken.store(false, Ordering::Relaxed);
        region.start.store(start, Ordering::Relaxed);
        region.len.store(len, Ordering::Release);
        region
    }

    fn add() -> &'static Self {
        let region = Box::leak(Box::new(Self {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            is_taken: AtomicBool::new(true),
            is_broken: AtomicBool::new(false),
            next: AtomicPtr::new(null_mut()),
        }));
        let mut first = FIRST.load(Ordering::Relaxed);
        loop {
            region.next.store(first, Ordering::Relaxed);
            let this = ptr::from_ref(region).cast_mut();
            match FIRST.compare_exchange_weak(first, this, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return region,
                Err(now) => first = now,
            }
        }
    }

    fn leave(&self) {
        self.len.store(0, Ordering::Release);
        self.is_taken.store(false, Ordering::Release);
    }

    /// Bytes from `address` to the end; nothing where it lies outside.
    fn rest_from(&self, address: usize) -> Option<usize> {
        let len = self.len.load(Ordering::Acquire);
        let offset = address.checked_sub(self.start.load(Ordering::Relaxed))?;
        len.checked_sub(offset).filter(|&rest| rest > 0)
    }
}

fn all_regions() -> impl Iterator<Item = &'static Region> {
    // SAFETY: what is linked was leaked, so it lives as long as the process; it is changed through atomics only.
    let get = |pointer: *mut Region| unsafe { pointer.as_ref() };
    std::iter::successors(get(FIRST.load(Ordering::Acquire)), move |region| {
        get(region.next.load(Ordering::Acquire))
    })
}

/// What handled the signal before.
static BEFORE: OnceLock<SigAction> = OnceLock::new();
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), nix::Error>> = OnceLock::new();
    let install = || {
        let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|bytes| usize::try_from(bytes).ok());
        PAGE_BYTES.store(page_bytes.unwrap_or(4096), Ordering::Relaxed);
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART;
        let action = SigAction::new(SigHandler::SigAction(on_bus_error), flags, SigSet::empty());
        // SAFETY: the handler touches atomics, leaked regions and its own map call only, all of which may be used at any
        // moment.
        let before = unsafe { sigaction(Signal::SIGBUS, &action)? };
        let _ = BEFORE.set(before);
        Ok(())
    };
    INSTALLED.get_or_init(install).map_err(io::Error::from)
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid pointer.
    let address = unsafe { (*info).si_addr() } as usize;
    let hit = all_regions().find_map(|region| Some((region, region.rest_from(address)?)));
    if let Some((region, rest)) = hit
        && zeros_from(address, rest)
    {
        region.is_broken.store(true, Ordering::Release);
        return;
    }
    match BEFORE.get().map(SigAction::handler) {
        Some(SigHandler::SigAction(handler)) => handler(signal, info, context),
        Some(SigHandler::Handler(handler)) => handler(signal),
        // The signal comes again and ends the process, as it would have without us.
        Some(SigHandler::SigDfl | SigHandler::SigIgn) | None => {
            // SAFETY: a plain system call.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Maps zeros over the page of `address` and what follows it. False where that fails.
fn zeros_from(address: usize, rest: usize) -> bool {
    let in_page = address & (PAGE_BYTES.load(Ordering::Relaxed).max(1) - 1);
    let page = (address - in_page) as *mut libc::c_void;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: from this page on to the end of a map that is ours and alive, since somebody was just reading it.
    let zeros = unsafe { libc::mmap(page, in_page + rest, libc::PROT_READ, flags, -1, 0) };
    zeros != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::Command;

    use super::super::idx;
    use super::super::set::ImageSet;
    use super::*;

    const CHILD: &str = "DTRAIN_TEST_OF_MAPPED_FILES";

    /// Runs one test of this module again, in a process of its own that may die.
    fn in_child(test: &str) -> std::process::Output {
        let name = format!("images::mapped::tests::{test}");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
        command.output().unwrap()
    }

    fn is_child() -> bool {
        std::env::var_os(CHILD).is_some()
    }

    /// 4,000 images of 32 x 32 pixels.
    fn images(folder: &Path) -> ImageSet {
        let (images, labels) = (folder.join("images"), folder.join("labels"));
        idx::write_images(&images, 32, 32, &vec![7; 4000 << 10]).unwrap();
        idx::write_labels(&labels, &vec![1; 4000]).unwrap();
        idx::open(&images, &labels).unwrap()
    }

    fn shorten(path: &Path) {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap();
    }

    #[test]
    fn a_file_that_shrinks_under_a_running_read_is_named() {
        if !is_child() {
            let output = in_child("a_file_that_shrinks_under_a_running_read_is_named");
            assert!(
                output.status.success(),
                "{:?}: {}",
                output.status,
                String::from_utf8_lossy(&output.stdout)
            );
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let set = images(dir.path());
        let read = |index: usize| set.pixels(index, &mut [0; 1024]);
        let error = std::thread::scope(|scope| {
            let reading = || (0..).map(|at| read(at % 4000)).find_map(Result::err).unwrap();
            let readers = [scope.spawn(reading), scope.spawn(reading)];
            shorten(&dir.path().join("images"));
            readers.map(|reader| reader.join().unwrap())
        });
        for error in error {
            assert_eq!(error.path, dir.path().join("images"));
            let text = error.to_string();
            assert!(
                text.contains("was shortened while it was in use: it had 4096016 bytes, now 100"),
                "{text}"
            );
            assert!(error.hint().unwrap().contains("restore"));
        }
        assert!(read(3999).is_err() && read(0).is_err(), "nothing of a shortened file is used");
        assert!(set.labels(3999, &mut [0]).is_ok(), "the other file is as it was");
    }

    #[test]
    fn a_bus_error_elsewhere_ends_the_process_as_before() {
        if !is_child() {
            let output = in_child("a_bus_error_elsewhere_ends_the_process_as_before");
            assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{:?}", output.status);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let set = images(dir.path());
        let path = dir.path().join("other");
        std::fs::write(&path, vec![1; 1 << 20]).unwrap();
        // SAFETY: this is what the test is about.
        let other = unsafe { Mmap::map(&std::fs::File::open(&path).unwrap()).unwrap() };
        shorten(&path);
        println!("{}", other[(1 << 20) - 1]);
        drop(set);
    }

    #[test]
    fn regions_that_were_left_are_taken_again() {
        let (start, far) = (usize::MAX - 4096, usize::MAX - 9999);
        let first = Region::take(start, 10);
        assert_eq!(
            (first.rest_from(start + 9), first.rest_from(start + 10), first.rest_from(far)),
            (Some(1), None, None)
        );
        first.leave();
        assert_eq!(first.rest_from(start), None);
        for _ in 0..100 {
            Region::take(start, 10).leave();
        }
        assert!(all_regions().count() < 100);
    }
}
