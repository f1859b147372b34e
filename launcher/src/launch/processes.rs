//! Processes of a job on this machine, found by their environment: a rank has a process group of its own, and when mpirun
//! is killed its ranks are nobody's children.

use std::path::Path;
use std::time::{Duration, Instant};

use dtrain_front::rank::JOB_DIR;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PAUSE: Duration = Duration::from_millis(10);

/// Processes whose job folder is `job` or lies in it; those that have ended and wait for their parent have none.
pub fn of_job(job: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id() as i32;
    pids.filter(|pid| *pid != own && belongs(*pid, job)).map(Pid::from_raw).collect()
}

fn belongs(pid: i32, job: &Path) -> bool {
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    names_job(&environment, job)
}

/// Whether the variables, each ended by a zero, have the job's folder.
fn names_job(environment: &[u8], job: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let prefix = format!("{JOB_DIR}=");
    let values = environment.split(|byte| *byte == 0).filter_map(|v| v.strip_prefix(prefix.as_bytes()));
    let mut paths = values.map(|value| Path::new(std::ffi::OsStr::from_bytes(value)));
    paths.any(|path| path.starts_with(job))
}

/// Kills all processes of the job and waits until they are gone. Returns how many are still there after `patience`.
pub fn kill_job(job: &Path, patience: Duration) -> usize {
    let began = Instant::now();
    loop {
        let left = of_job(job);
        if left.is_empty() || began.elapsed() > patience {
            return left.len();
        }
        for pid in &left {
            // One that is gone meanwhile is what is wanted.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_job_is_its_folder_and_what_lies_in_it() {
        let job = Path::new("/dev/shm/dtrain-0-abc");
        for environment in
            ["A=1\0DTRAIN_JOB_DIR=/dev/shm/dtrain-0-abc\0", "DTRAIN_JOB_DIR=/dev/shm/dtrain-0-abc/7"]
        {
            assert!(names_job(environment.as_bytes(), job), "{environment}");
        }
        for environment in
            ["", "DTRAIN_JOB_DIR=/dev/shm/dtrain-0-abcd", "X_DTRAIN_JOB_DIR=/dev/shm/dtrain-0-abc", "\0\0"]
        {
            assert!(!names_job(environment.as_bytes(), job), "{environment}");
        }
    }

    #[test]
    fn processes_of_a_job_are_found_and_killed_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let start = |job: &Path| {
            let mut command = Command::new("sleep");
            command.arg("1000").env(JOB_DIR, job).stdin(Stdio::null());
            command.spawn().unwrap()
        };
        let (mine, other) = (folder.path().join("mine"), folder.path().join("other"));
        let (mut first, mut second) = (start(&mine), start(&mine.join("1")));
        let mut stranger = start(&other);
        assert_eq!(of_job(&mine).len(), 2);
        assert_eq!(kill_job(&mine, Duration::from_secs(60)), 0);
        for child in [&mut first, &mut second] {
            assert!(!child.wait().unwrap().success());
        }
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
