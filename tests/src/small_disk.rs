//! A small file system in memory, for what happens when a disk is full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use dtrain_test_skip::skipped;

/// A mounted file system; it is unmounted with the value.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of `bytes`, at a folder that is made; `None` where mounting is not allowed, which is said.
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        Self::mount_as(at, &format!("size={bytes}"))
    }

    /// One that nobody can write to; `None` as for [`Self::mount`].
    pub fn mount_read_only(at: &Path) -> Option<Self> {
        Self::mount_as(at, "ro")
    }

    fn mount_as(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the sandbox is writable");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        skipped("mounting a small file system needs root");
        None
    }

    /// Gives it another size.
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        let resized = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(resized.expect("`mount` has run before").success());
    }

    /// Takes all the space that is left; returns the file that holds it.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("there is room for a name");
        while file.write_all(&[0; 4096]).is_ok() {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
