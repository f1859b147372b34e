//! An input as a file, for parsers that take a path. It lives in memory and has no name in any folder.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file in memory; it ends with the value.
pub(crate) struct InputFile {
    path: PathBuf,
    _file: File,
}

impl InputFile {
    /// Holds `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let descriptor =
            memfd_create("fuzz-input", MFdFlags::MFD_CLOEXEC).expect("the kernel makes a file in memory");
        let mut file = File::from(descriptor);
        file.write_all(bytes).expect("memory takes the input");
        // Opening this path gives a file of its own that begins at the first byte.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { path, _file: file }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_regular_file_with_the_input() {
        let file = InputFile::new(b"abc");
        assert!(file.path().is_file());
        for _ in 0..2 {
            assert_eq!(std::fs::read(file.path()).expect("it can be read"), b"abc");
        }
    }
}
