//! The private folder of a job: pipes of its ranks, records of failures, shared memory of MPI and of heartbeats. It lies in
//! memory where it can, nobody else may look into it, and it ends with the launcher, however that ends:
//!
//! - normally, the launcher removes it;
//! - when the launcher is killed, a janitor does: a shell that sleeps until a pipe from the launcher closes, kills what
//!   may be left of the job and removes the folder;
//! - when both are killed, the next start does. A folder is alive while somebody holds the lock on its file `owner`, which
//!   needs no clock, survives reused process ids and works between containers.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dtrain_front::rank::JOB_DIR;

use super::processes::kill_job;

/// Shared memory as a file system.
const MEMORY: &str = "/dev/shm";
const OWNER: &str = "owner";
/// A folder without an owner that is younger is being made.
const YOUNG: Duration = Duration::from_secs(60);
/// Processes that were killed are gone within milliseconds, unless they wait for a disk or a GPU.
const DYING: Duration = Duration::from_secs(10);

/// Waits for the launcher's end; `$1` is the folder.
const JANITOR: &str = r#"
trap '' INT TERM HUP QUIT USR1 USR2
read -r _
for _ in 1 2 3; do
  for environ in $(grep -lsz "^DTRAIN_JOB_DIR=$1" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${environ#/proc/}
    kill -9 "${pid%/environ}" 2>/dev/null
  done
  rm -rf -- "$1"
  sleep 0.2
done
"#;

/// The folder of one launcher. Dropping it ends what is left of the job and removes it.
#[derive(Debug)]
pub struct JobDir {
    path: PathBuf,
    /// Locked.
    _owner: File,
    janitor: Option<Child>,
}

impl JobDir {
    /// Removes what dead launchers of this user left, and makes a new folder.
    ///
    /// # Errors
    /// Neither `/dev/shm` nor the folder for temporary files can be written to.
    pub fn create() -> io::Result<Self> {
        let mut result = Self::create_in(Path::new(MEMORY));
        if result.is_err() {
            result = Self::create_in(&std::env::temp_dir());
        }
        result
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        remove_dead(parent);
        let mut builder = tempfile::Builder::new();
        builder.permissions(Permissions::from_mode(0o700));
        let path = builder.prefix(&prefix()).tempdir_in(parent)?.keep();
        // The file appears locked: who finds it unlocked knows that its owner is gone.
        let unfinished = path.join("owner.tmp");
        let owner = File::create(&unfinished)?;
        owner.try_lock().map_err(io::Error::from)?;
        fs_err::rename(&unfinished, path.join(OWNER))?;
        // Without a shell the next start cleans up.
        let janitor = janitor(&path).ok();
        Ok(Self { path, _owner: owner, janitor })
    }

    /// An empty folder for the ranks of one attempt.
    ///
    /// # Errors
    /// I/O errors.
    pub fn attempt(&self, number: u32) -> io::Result<PathBuf> {
        let folder = self.path.join(number.to_string());
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(folder)
    }

    /// Ends what is left of an attempt and removes its folder. Returns how many processes resist.
    pub fn clear(&self, attempt: &Path) -> usize {
        let left = kill_job(attempt, DYING);
        // What cannot be removed now goes with the whole folder.
        let _ = fs_err::remove_dir_all(attempt);
        left
    }
}

impl Drop for JobDir {
    fn drop(&mut self) {
        kill_job(&self.path, DYING);
        let _ = fs_err::remove_dir_all(&self.path);
        if let Some(mut janitor) = self.janitor.take() {
            let _ = janitor.kill();
            let _ = janitor.wait();
        }
    }
}

/// In a process group of its own, so that it outlives whatever ends the launcher's.
fn janitor(folder: &Path) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", JANITOR, "dtrain-janitor"]).arg(folder).env_remove(JOB_DIR).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()
}

/// Names of this user's folders begin so.
fn prefix() -> String {
    format!("dtrain-{}-", nix::unistd::getuid())
}

/// Removes this user's folders in `parent` whose launchers are dead, and kills what is left of their jobs.
fn remove_dead(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix()));
        // Not through links: anybody may make one here.
        let own_folder = std::fs::symlink_metadata(entry.path())
            .is_ok_and(|about| about.is_dir() && about.uid() == nix::unistd::getuid().as_raw());
        if is_ours && own_folder && is_dead(&entry.path()) {
            kill_job(&entry.path(), DYING);
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

fn is_dead(folder: &Path) -> bool {
    match File::open(folder.join(OWNER)) {
        Ok(owner) => !matches!(owner.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = folder.metadata().and_then(|about| about.modified());
            made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > YOUNG))
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;

    fn folders(parent: &Path) -> usize {
        std::fs::read_dir(parent).unwrap().count()
    }

    #[test]
    fn a_folder_is_private_and_goes_with_its_value() {
        let parent = tempfile::tempdir().unwrap();
        let job = JobDir::create_in(parent.path()).unwrap();
        assert_eq!(job.path.metadata().unwrap().mode() & 0o777, 0o700);
        let attempt = job.attempt(0).unwrap();
        std::fs::write(attempt.join("segment"), "x").unwrap();
        assert_eq!(job.clear(&attempt), 0);
        assert!(!attempt.exists());
        drop(job);
        assert_eq!(folders(parent.path()), 0);
    }

    #[test]
    fn living_folders_stay_and_dead_ones_go_with_the_next_start() {
        let parent = tempfile::tempdir().unwrap();
        let living = JobDir::create_in(parent.path()).unwrap();
        let folder = |name: &str| {
            let path = parent.path().join(format!("{}{name}", prefix()));
            std::fs::create_dir(&path).unwrap();
            path
        };
        let dead = folder("dead");
        std::fs::write(dead.join(OWNER), "").unwrap();
        let (young, old) = (folder("young"), folder("old"));
        File::open(&old).unwrap().set_modified(SystemTime::now() - 2 * YOUNG).unwrap();
        let stranger = parent.path().join("something");
        std::fs::create_dir(&stranger).unwrap();
        let target = tempfile::tempdir().unwrap();
        std::fs::write(target.path().join(OWNER), "").unwrap();
        let link = parent.path().join(format!("{}link", prefix()));
        std::os::unix::fs::symlink(target.path(), &link).unwrap();

        let next = JobDir::create_in(parent.path()).unwrap();
        assert!(living.path.exists() && young.exists() && stranger.exists() && link.exists());
        assert!(target.path().join(OWNER).exists());
        assert!(!dead.exists() && !old.exists());
        drop((living, next));
    }

    #[test]
    fn the_janitor_ends_what_a_killed_launcher_leaves() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("job");
        std::fs::create_dir(&folder).unwrap();
        let mut janitor = janitor(&folder).unwrap();
        let mut rank = Command::new("sleep").arg("1000").env(JOB_DIR, folder.join("0")).spawn().unwrap();
        assert!(janitor.try_wait().unwrap().is_none());
        // What the kernel does with the pipe of a process that is killed.
        drop(janitor.stdin.take());
        let began = Instant::now();
        assert!(!rank.wait().unwrap().success());
        janitor.wait().unwrap();
        assert!(!folder.exists());
        assert!(began.elapsed() < Duration::from_secs(100));
    }
}
