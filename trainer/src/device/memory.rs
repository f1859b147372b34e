//! Memory that is left to this process: of the machine, and of the control groups that it runs in (containers and
//! batch systems limit jobs by them).

use std::path::{Path, PathBuf};

use tch::{Device, TchError};

use crate::torch_extra::{gpu_free_bytes, reusable_bytes};

/// Bytes that tensors on `device` may still take, those included that libtorch keeps for reuse. On a CPU the smaller of
/// what the kernel calls available and what the process's control groups leave; other processes may take it too.
///
/// # Errors
/// When libtorch_cuda is not loaded.
pub fn free_bytes(device: Device) -> Result<u64, TchError> {
    let free = match gpu_free_bytes(device)? {
        Some(free) => free,
        None => host_free_bytes(Path::new("/")),
    };
    Ok(free.saturating_add(reusable_bytes(device)?))
}

/// `root` is where `proc` and `sys` are. Without any information there is no limit.
fn host_free_bytes(root: &Path) -> u64 {
    let available =
        number_after(&root.join("proc/meminfo"), "MemAvailable:").map(|kb| kb.saturating_mul(1024));
    let limits = control_groups(root).into_iter().filter_map(|group| group.free_bytes());
    available.into_iter().chain(limits).min().unwrap_or(u64::MAX)
}

/// A level of the hierarchy of control groups.
struct ControlGroup {
    folder: PathBuf,
    names: &'static FileNames,
}

struct FileNames {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: file cache that the kernel gives up first.
    reclaimable: &'static str,
}

const VERSION_1: FileNames = FileNames {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const VERSION_2: FileNames =
    FileNames { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file" };

impl ControlGroup {
    /// `None` without a limit (`max`).
    fn free_bytes(&self) -> Option<u64> {
        let number = |name| fs_err::read_to_string(self.folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = number(self.names.limit)?;
        let reclaimable = number_after(&self.folder.join("memory.stat"), self.names.reclaimable).unwrap_or(0);
        Some(limit.saturating_sub(number(self.names.usage)?.saturating_sub(reclaimable)))
    }
}

/// The process's groups and all above them. Where a container has its own view of the hierarchy, the path that the
/// kernel tells may not exist there; its groups above, down to the root of what is mounted, do.
fn control_groups(root: &Path) -> Vec<ControlGroup> {
    let Ok(text) = fs_err::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mount, names) = match controllers {
            "" => ("sys/fs/cgroup", &VERSION_2),
            list if list.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", &VERSION_1),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        groups.extend(
            path.ancestors().map(|level| ControlGroup { folder: root.join(mount).join(level), names }),
        );
    }
    groups
}

/// The number after `key` at the beginning of a line.
fn number_after(file: &Path, key: &str) -> Option<u64> {
    let text = fs_err::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(key)).then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 10 kB\nMemAvailable:    5000 kB\nBuffers: 1 kB\n");

    #[test]
    fn the_tightest_group_counts() {
        let free = |files: &[(&str, &str)]| host_free_bytes(machine(files).path());
        assert_eq!(free(&[MEMINFO]), 5000 * 1024);
        let group = ("proc/self/cgroup", "0::/slurm/job_7\n");
        let unlimited = [
            MEMINFO,
            group,
            ("sys/fs/cgroup/slurm/job_7/memory.max", "max\n"),
            ("sys/fs/cgroup/slurm/job_7/memory.current", "4096\n"),
        ];
        assert_eq!(free(&unlimited), 5000 * 1024);
        let above = [
            ("sys/fs/cgroup/slurm/memory.max", "1000000\n"),
            ("sys/fs/cgroup/slurm/memory.current", "700000\n"),
            ("sys/fs/cgroup/slurm/memory.stat", "anon 5\ninactive_file 50000\nactive_file 7\n"),
        ];
        assert_eq!(free(&[&unlimited[..], &above].concat()), 350_000);
        let used_up = [("sys/fs/cgroup/memory.max", "1000\n"), ("sys/fs/cgroup/memory.current", "2000\n")];
        assert_eq!(free(&[&unlimited[..], &above, &used_up].concat()), 0);
    }

    #[test]
    fn the_older_hierarchy_is_read_too() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/\n"),
            ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2500\n"),
            ("sys/fs/cgroup/memory/memory.stat", "cache 5\ntotal_inactive_file 100\n"),
        ];
        assert_eq!(host_free_bytes(machine(&files).path()), 600);
    }

    #[test]
    fn damaged_files_are_no_limit() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "nonsense\n:::\n0::/../../..\n"),
            ("sys/fs/cgroup/memory.max", "-3\n"),
        ];
        assert_eq!(host_free_bytes(machine(&files).path()), 5000 * 1024);
        assert_eq!(host_free_bytes(machine(&[]).path()), u64::MAX);
    }

    #[test]
    fn this_machine_has_memory() {
        let free = free_bytes(Device::Cpu).unwrap();
        assert!(free > 1 << 20 && free < 1 << 50, "{free}");
    }
}
