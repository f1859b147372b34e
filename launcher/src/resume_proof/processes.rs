//! Processes below one that was started: mpirun gives each rank a process group of its own, so that only parents tell who
//! belongs to whom.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that was started, with what tells it from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub pid: i32,
    parent: i32,
    /// When it started, in ticks since the machine did.
    started: u64,
}

/// All descendants of `ancestor`, parents before children.
pub(super) fn descendants(ancestor: i32) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<Process> =
        entries.flatten().filter_map(|entry| look_at(entry.file_name().to_str()?.parse().ok()?)).collect();
    let mut found: Vec<Process> = all.iter().filter(|process| process.parent == ancestor).copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid) {
        found.extend(all.iter().filter(|process| process.parent == parent));
        next += 1;
    }
    found
}

/// From `/proc/<pid>/stat`: `pid (name) state parent ... started ...`, where the name may hold anything. `None` for a
/// process that is gone or only waits to be buried.
fn look_at(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    (*state != "Z").then_some(())?;
    Some(Process { pid, parent: parent.parse().ok()?, started: started.parse().ok()? })
}

impl Process {
    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        look_at(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if self.is_alive() {
            // It may have ended since.
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// Its rank under mpirun, if it is one and runs this very program.
    pub fn rank(&self) -> Option<usize> {
        let own = std::fs::read_link("/proc/self/exe").ok()?;
        (std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok()? == own).then_some(())?;
        let variables = std::fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let mut variables = variables.split(|byte| *byte == 0);
        let rank = variables.find_map(|variable| variable.strip_prefix(b"OMPI_COMM_WORLD_RANK="))?;
        std::str::from_utf8(rank).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn grandchildren_are_found_and_can_be_ended() {
        let mut child = Command::new("sh").args(["-c", "sleep 60 & sleep 60; true"]).spawn().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let below = loop {
            let found = descendants(pid);
            if found.len() == 2 {
                break found;
            }
        };
        assert!(descendants(own).iter().filter(|process| below.contains(process)).count() == 2);
        for process in &below {
            assert!(process.is_alive() && process.rank().is_none());
            process.kill();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while below.iter().any(Process::is_alive) {
            std::thread::yield_now();
        }
    }
}
