//! The file operations of a save and a deletion, each by itself, so that tests can lose power between any two of them; and
//! how much room there is.

use std::io;
use std::path::Path;

use fs_err as fs;

#[cfg(test)]
use super::power_loss::{Op, note};

/// Makes a folder whose parent exists.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    #[cfg(test)]
    note(Op::MakeDir(path.into()));
    Ok(())
}

/// Creates a file that does not exist.
pub(super) fn create(path: &Path) -> io::Result<fs::File> {
    let file = fs::File::create_new(path)?;
    #[cfg(test)]
    note(Op::Create(path.into()));
    Ok(file)
}

/// Makes the content of `file` durable.
pub(super) fn sync_file(file: &fs::File) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    note(Op::SyncFile(file.path().into()));
    Ok(())
}

/// Lets the disk begin with bytes that were just written, while more are computed. Advice only: nothing is durable before
/// [`sync_file`].
#[cfg(target_os = "linux")]
pub(super) fn begin_writing(file: &fs::File, offset: u64, num_bytes: u64) {
    use std::os::fd::AsRawFd;
    let (offset, num_bytes) = (offset as i64, num_bytes as i64);
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory is handed over.
    let _ = unsafe {
        nix::libc::sync_file_range(file.as_raw_fd(), offset, num_bytes, nix::libc::SYNC_FILE_RANGE_WRITE)
    };
}

/// Elsewhere [`sync_file`] does it all.
#[cfg(not(target_os = "linux"))]
pub(super) fn begin_writing(_file: &fs::File, _offset: u64, _num_bytes: u64) {}

/// Makes creations, renames and deletions inside `folder` durable.
pub(super) fn sync_dir(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()?;
    #[cfg(test)]
    note(Op::SyncDir(folder.into()));
    Ok(())
}

/// Gives a file or folder another name; a file of that name is replaced.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    note(Op::Rename(from.into(), to.into()));
    Ok(())
}

/// Removes a file.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    #[cfg(test)]
    note(Op::Remove(path.into()));
    Ok(())
}

/// Removes a folder with everything in it; one that is not there is as good as removed.
pub(super) fn remove_tree(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        note(Op::Remove(entry.path()));
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    #[cfg(test)]
    note(Op::Remove(folder.into()));
    Ok(())
}

/// Bytes that this user may still write to the file system that holds `path`.
///
/// # Errors
/// When the file system cannot be asked.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
    // The widths of both numbers differ between platforms.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    Ok((stat.blocks_available() as u64).saturating_mul(stat.fragment_size() as u64))
}
