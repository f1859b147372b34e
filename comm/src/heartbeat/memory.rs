//! The slots of all ranks in memory that the processes of a node share.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::posix_fallocate;

use super::slot::Slot;

/// Set by a launcher that removes the folder when the job is over.
pub(crate) const JOB_DIR: &str = "DTRAIN_JOB_DIR";

/// How the names of these files begin.
pub(super) const PREFIX: &str = "dtrain-heartbeat-";

/// The first bytes of the memory: a file that something else has written is refused.
const MAGIC: u64 = u64::from_le_bytes(*b"dtrain:1");

/// In front of the slots.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Header {
    magic: AtomicU64,
    world_size: AtomicU64,
    /// One more than the rank that tells the person; 0 while nobody does.
    speaker: AtomicU64,
}

/// Slots of all ranks: those of this node are written by their ranks, those of other nodes by the relay.
#[derive(Debug)]
pub(crate) struct Memory {
    map: Map,
    world_size: usize,
}

#[derive(Debug)]
enum Map {
    /// Header and slots, one after the other.
    Shared(MmapRaw),
    /// For a process that shares with nobody.
    Private(Box<Header>, Box<[Slot]>),
}

// SAFETY: the mapped memory is reached through atomics only, and stays mapped as long as the value lives.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory of this process alone.
    pub fn private(world_size: usize) -> Self {
        let slots = (0..world_size).map(|_| Slot::default()).collect();
        Self { map: Map::Private(Box::default(), slots), world_size }
    }

    /// A new file for the ranks of a node, and where it is: in the job's folder, else where memory has a file system,
    /// else in the folder of temporary files.
    pub fn create(world_size: usize, node: usize) -> io::Result<(Self, PathBuf)> {
        let unique = format!("{PREFIX}{}-{node}", std::process::id());
        let mut folders = vec![PathBuf::from("/dev/shm"), std::env::temp_dir()];
        if let Some(job) = std::env::var_os(JOB_DIR) {
            folders.insert(0, job.into());
        }
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for path in folders.into_iter().map(|folder| folder.join(&unique)) {
            match Self::create_at(&path, world_size) {
                Ok(memory) => return Ok((memory, path)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    pub(super) fn create_at(path: &Path, world_size: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let made = Self::fill(&file, world_size);
        if made.is_err() {
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn fill(file: &File, world_size: usize) -> io::Result<Self> {
        let bytes = i64::try_from(num_bytes(world_size)).map_err(io::Error::other)?;
        // Reserved now: memory that is promised and not there would kill the process that writes it.
        posix_fallocate(file, 0, bytes)?;
        let memory = Self::map(file, world_size)?;
        memory.header().world_size.store(world_size as u64, Ordering::Relaxed);
        memory.header().magic.store(MAGIC, Ordering::Release);
        Ok(memory)
    }

    /// The file that [`Memory::create`] has made in another process.
    pub fn open(path: &Path, world_size: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let memory = Self::map(&file, world_size)?;
        let header = memory.header();
        let right = header.magic.load(Ordering::Acquire) == MAGIC
            && header.world_size.load(Ordering::Relaxed) == world_size as u64;
        right.then_some(memory).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn map(file: &File, world_size: usize) -> io::Result<Self> {
        if file.metadata()?.len() != num_bytes(world_size) as u64 {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let map = MmapOptions::new().len(num_bytes(world_size)).map_raw(file)?;
        Ok(Self { map: Map::Shared(map), world_size })
    }

    /// The slot of `rank`, if there is such a rank.
    pub(super) fn slot(&self, rank: usize) -> Option<&Slot> {
        match &self.map {
            Map::Private(_, slots) => slots.get(rank),
            Map::Shared(map) => (rank < self.world_size).then(|| {
                let offset = size_of::<Header>() + rank * size_of::<Slot>();
                // SAFETY: the mapping begins at a boundary of memory pages, is as long as header and slots (checked in `map`), lives as
                // long as `self`, and holds atomics, for which all bits are valid.
                unsafe { &*map.as_mut_ptr().wrapping_add(offset).cast::<Slot>() }
            }),
        }
    }

    fn header(&self) -> &Header {
        match &self.map {
            Map::Private(header, _) => header,
            // SAFETY: as in `slot`.
            Map::Shared(map) => unsafe { &*map.as_mut_ptr().cast::<Header>() },
        }
    }

    /// Makes `rank` the one that tells the person, unless there is one; returns who it is.
    pub fn claim(&self, rank: usize) -> usize {
        let claimed =
            self.header().speaker.compare_exchange(0, rank as u64 + 1, Ordering::AcqRel, Ordering::Acquire);
        claimed.map_or_else(|speaker| (speaker - 1) as usize, |_| rank)
    }

    /// Who tells the person, if anybody does.
    pub fn speaker(&self) -> Option<usize> {
        self.header().speaker.load(Ordering::Acquire).checked_sub(1).map(|rank| rank as usize)
    }
}

fn num_bytes(world_size: usize) -> usize {
    size_of::<Header>() + world_size * size_of::<Slot>()
}

#[cfg(test)]
mod tests {
    use super::super::clock::Moment;
    use super::super::stage::Stage;
    use super::*;

    #[test]
    fn what_one_mapping_writes_another_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slots");
        let first = Memory::create_at(&path, 3).unwrap();
        let second = Memory::open(&path, 3).unwrap();
        std::fs::remove_file(&path).unwrap();
        first.slot(2).unwrap().set_stage(Stage::Saving, Moment::now());
        assert_eq!(second.slot(2).unwrap().stage().0, Stage::Saving);
        assert!(first.slot(3).is_none() && second.slot(3).is_none());
        assert_eq!(second.speaker(), None);
        assert_eq!((first.claim(1), second.claim(2), second.speaker()), (1, 1, Some(1)));
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slots");
        let _first = Memory::create_at(&path, 3).unwrap();
        assert!(Memory::open(&path, 4).is_err());
        assert!(Memory::create_at(&path, 3).is_err(), "an existing file is not taken over");
        std::fs::write(&path, vec![0; num_bytes(3)]).unwrap();
        assert!(Memory::open(&path, 3).is_err(), "another program's file");
        std::fs::write(&path, b"short").unwrap();
        assert!(Memory::open(&path, 3).is_err());
    }
}
