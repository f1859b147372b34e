//! Processes that a test started: who descends from whom, and signals to them.

use std::path::Path;
use std::process::Command;

/// All descendants of `ancestor`, parents before children. A rank of mpirun has a process group of its own, so that
/// neither groups nor sessions find all of them.
pub fn descendants(ancestor: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// From `/proc/<pid>/stat`: `pid (name) state parent ...`, where the name may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether `pid` runs the `dtrain` at `binary`, or the worker beside it that it has become.
pub fn runs(pid: u32, binary: &Path) -> bool {
    let worker = binary.with_file_name("dtrain-worker");
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary || exe == worker)
}

/// The rank that mpirun gave to `pid`; `None` without mpirun.
pub fn mpi_rank(pid: u32) -> Option<u32> {
    variable(pid, "OMPI_COMM_WORLD_RANK")?.parse().ok()
}

/// An environment variable that `pid` was started with.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables =
        variables.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    variables.find_map(|variable| Some(variable.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Whether `pid` runs and has this name.
pub fn is_called(pid: u32, name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
}

/// Whether `pid` runs; a process that has ended and waits for its parent does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rfind(')').and_then(|end| stat.get(end + 1..)?.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// Processes whose environment has all of these variables; an empty value means any.
pub fn with_variable(marks: &[(&str, &str)]) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let variables: Vec<&str> =
            variables.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
        marks.iter().all(|(name, value)| {
            let is_it = |(n, v): (&str, &str)| n == *name && (value.is_empty() || v == *value);
            variables.iter().any(|word| word.split_once('=').is_some_and(is_it))
        })
    })
    .collect()
}

/// The parents, of the program `name`, of the processes that [`with_variable`] finds.
pub fn parents_of_variable(marks: &[(&str, &str)], name: &str) -> Vec<u32> {
    let parents = with_variable(marks).into_iter().filter_map(parent_of);
    parents.filter(|pid| is_called(*pid, name)).collect()
}

/// Sends `signal` (such as `TERM`) to each of `pids`; those that are gone are passed over.
pub fn send(signal: &str, pids: &[u32]) {
    for pid in pids {
        // The shell has `kill` built in; it is the one program that is there everywhere.
        let _ = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {pid} 2>/dev/null")).status();
    }
}

/// Ends `ancestor` and all its descendants at once.
pub fn kill_tree(ancestor: u32) {
    let mut all = vec![ancestor];
    all.extend(descendants(ancestor));
    send("KILL", &all);
}
