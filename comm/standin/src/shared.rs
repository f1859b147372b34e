//! Memory that the ranks of a communicator share: a file that each of them maps and that is gone once all have.

use std::mem::offset_of;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt;
use memmap2::MmapRaw;

use crate::settings::settings;

/// Bytes of each rank through which its data pass.
pub(crate) const WINDOW: usize = 1 << 20;
/// Numbers that describe an operation.
pub(crate) const DESCRIPTION: usize = 8;

/// Waits that find nothing before they begin to sleep.
const SPINS: u32 = 50;
const NAP: Duration = Duration::from_micros(20);

#[repr(C, align(64))]
struct Header {
    /// Number of ranks, as the first one said; 0 before.
    world_size: AtomicU32,
    /// Ranks that have mapped the file.
    mapped: AtomicU32,
}

/// What one rank tells the others.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// The device, plus one; 0 before the rank has come.
    pub device: AtomicU64,
    /// A hash of the host's name.
    pub host: AtomicU64,
    /// Whether the rank has finished using the communicator.
    pub finalized: AtomicU32,
    /// How many barriers the rank has entered.
    barriers: AtomicU64,
    /// How often the rank has connected to the others.
    pub connected: AtomicU64,
    /// The operation that the rank is in, valid between two barriers.
    pub description: [AtomicU64; DESCRIPTION],
}

/// The mapped file.
#[derive(Debug)]
pub(crate) struct Shared {
    map: MmapRaw,
    rank: usize,
    world_size: usize,
    path: PathBuf,
}

impl Shared {
    /// Maps the memory of the communicator `token`. All ranks of a communicator call it, in any order; the token is
    /// random, so that what an earlier run left behind is never found.
    pub(crate) fn open(token: &str, rank: usize, world_size: usize) -> Result<Self, String> {
        let path = settings().dir.join(format!("dtrain-standin-{token}"));
        let open = || {
            fs_err::create_dir_all(&settings().dir)?;
            let file = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            // Every rank sets the same length; new bytes are zero, which is the start value of everything.
            file.set_len(window(world_size, world_size) as u64)?;
            MmapRaw::map_raw(file.file())
        };
        let map = open().map_err(|error: std::io::Error| error.to_string())?;
        let shared = Self { map, rank, world_size, path };
        let size = u32::try_from(world_size).unwrap_or(u32::MAX);
        let first = shared.header().world_size.compare_exchange(0, size, Ordering::AcqRel, Ordering::Acquire);
        if let Err(other) = first
            && other != size
        {
            return Err(format!("rank {rank} counts {world_size} ranks where another one counts {other}"));
        }
        if shared.header().mapped.fetch_add(1, Ordering::AcqRel) + 1 == size {
            shared.unlink();
        }
        Ok(shared)
    }

    /// Removes the file's name; the memory stays for those who have mapped it.
    pub(crate) fn unlink(&self) {
        // Another rank may have done it.
        let _ = fs_err::remove_file(&self.path);
    }

    /// Number of ranks.
    pub(crate) fn world_size(&self) -> usize {
        self.world_size
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, longer than a header, and lives as long as `self`; it holds atomics, which
        // processes may share and for which every bit pattern is valid.
        unsafe { &*self.map.as_ptr().cast() }
    }

    /// The slot of a rank below the world size.
    pub(crate) fn slot(&self, rank: usize) -> &Slot {
        assert!(rank < self.world_size, "rank {rank} of {}", self.world_size);
        // SAFETY: as for the header: slots follow it, one for each rank, aligned since both sizes are multiples of 64.
        unsafe { &*self.map.as_ptr().add(size_of::<Header>() + rank * size_of::<Slot>()).cast() }
    }

    /// This rank's slot.
    pub(crate) fn own(&self) -> &Slot {
        self.slot(self.rank)
    }

    /// Start of the `WINDOW` bytes of a rank below the world size.
    pub(crate) fn window(&self, rank: usize) -> *mut u8 {
        assert!(rank < self.world_size, "rank {rank} of {}", self.world_size);
        // SAFETY: the file is long enough for the windows of all ranks.
        unsafe { self.map.as_mut_ptr().add(window(self.world_size, rank)) }
    }

    /// Returns once all ranks have entered as many barriers as this one, or with false once `given_up` holds.
    pub(crate) fn barrier(&self, given_up: impl Fn() -> bool) -> bool {
        let number = self.own().barriers.fetch_add(1, Ordering::AcqRel) + 1;
        let all = || self.all(|slot| slot.barriers.load(Ordering::Acquire) >= number);
        wait_until(all, given_up)
    }

    /// Whether `holds` for the slots of all ranks.
    pub(crate) fn all(&self, holds: impl Fn(&Slot) -> bool) -> bool {
        (0..self.world_size).all(|rank| holds(self.slot(rank)))
    }
}

/// Where the window of `rank` begins.
fn window(world_size: usize, rank: usize) -> usize {
    const { assert!(offset_of!(Slot, device) == 0 && size_of::<Slot>().is_multiple_of(64)) };
    size_of::<Header>() + world_size * size_of::<Slot>() + rank * WINDOW
}

/// Returns true once `ready` holds, or false once `given_up` does.
pub(crate) fn wait_until(ready: impl Fn() -> bool, given_up: impl Fn() -> bool) -> bool {
    let mut tries = 0_u32;
    loop {
        if ready() {
            return true;
        }
        if given_up() {
            return false;
        }
        tries = tries.saturating_add(1);
        if tries > SPINS { std::thread::sleep(NAP) } else { std::hint::spin_loop() }
    }
}
