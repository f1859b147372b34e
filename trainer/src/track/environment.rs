//! `environment.json`: what program ran, on what machine, when and how, so that a figure can be traced years later.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::TrackError;
use super::git::revision;
use crate::checkpoint::durable::write_atomic;

/// Instruction sets that decide about speed and, through the choice of kernels, about bits.
const CPU_FLAGS: [&str; 10] = [
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
];

/// Machine and program of one start of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Versions of the program and of what it was linked or loaded with.
    #[serde(flatten)]
    pub versions: Versions,
    /// Start of the process, RFC 3339 in UTC.
    pub started: String,
    /// The command as typed.
    pub command: Vec<String>,
    /// Where it was typed.
    pub working_dir: Option<String>,
    /// Commit of the repository that the working directory lies in, where it is one.
    pub working_dir_revision: Option<String>,
    /// Name of rank 0's host.
    pub host: Option<String>,
    /// Operating system and kernel.
    pub os: Option<String>,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Those instruction sets of the processor that matter to training.
    pub cpu_flags: Vec<String>,
    /// Logical cores that this process may use.
    pub num_cores: Option<usize>,
    /// Memory of the host.
    pub memory_bytes: Option<u64>,
}

/// Versions that only the caller knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of dtrain.
    pub dtrain: String,
    /// Commit that the program was built from, with `-dirty` behind it where its sources were not those of the commit;
    /// `None` where the build knew of none.
    pub git_revision: Option<String>,
    /// Of libtorch.
    pub torch: Option<String>,
    /// Of the MPI library, in its own words.
    pub mpi: Option<String>,
    /// Of NCCL.
    pub nccl: Option<String>,
    /// Of the driver and runtime of the GPUs.
    pub cuda: Option<String>,
    /// Names of the GPUs that the ranks use.
    pub gpus: Vec<String>,
}

impl Versions {
    /// Those that are known at build time: this crate's version, and the commit.
    pub fn of_build(git_revision: Option<&str>) -> Self {
        Self {
            dtrain: env!("CARGO_PKG_VERSION").into(),
            git_revision: git_revision.map(Into::into),
            ..Self::default()
        }
    }
}

impl Environment {
    /// Looks at this process and machine. What cannot be found out is left empty.
    pub fn collect(versions: Versions) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let proc = |path: &str| read(path).map(|text| text.trim().to_owned());
        let os_name = read("/etc/os-release").and_then(|text| field(&text, "PRETTY_NAME", '='));
        let working_dir = std::env::current_dir().ok();
        let kernel = proc("/proc/sys/kernel/osrelease").map(|version| format!("Linux {version}"));
        Self {
            versions,
            started: rfc3339(SystemTime::now()),
            command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            working_dir_revision: working_dir.as_deref().and_then(revision),
            working_dir: working_dir.map(|dir| dir.display().to_string()),
            host: proc("/proc/sys/kernel/hostname"),
            os: match (os_name, kernel) {
                (Some(name), Some(kernel)) => Some(format!("{name}, {kernel}")),
                (name, kernel) => name.or(kernel),
            },
            cpu: cpuinfo.as_deref().and_then(|text| field(text, "model name", ':')),
            cpu_flags: cpuinfo.as_deref().map(known_flags).unwrap_or_default(),
            num_cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_bytes: read("/proc/meminfo").as_deref().and_then(total_memory),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, path: &Path) -> Result<(), TrackError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        json.push(b'\n');
        Ok(write_atomic(path, &json)?)
    }
}

/// A time in UTC to the second, such as `2026-03-01T09:30:00Z`. Times before 1970 become 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let secs = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (day, second) = (secs / 86_400, secs % 86_400);
    // Days to date after H. Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so that the
    // leap day is the last, in eras of 400 years.
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The value of the first line `name<separator>value`, without quotes.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn known_flags(cpuinfo: &str) -> Vec<String> {
    let flags = field(cpuinfo, "flags", ':').unwrap_or_default();
    let flags: Vec<_> = flags.split_whitespace().collect();
    CPU_FLAGS.iter().filter(|known| flags.contains(known)).map(|known| (*known).into()).collect()
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal", ':')?.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_match_known_dates() {
        // From `date -u -d @N +%FT%TZ`.
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_772_357_400, "2026-03-01T09:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (secs, text) in known {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        // A calendar that counts, over 200 years.
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..73_000u64 {
            let text = rfc3339(UNIX_EPOCH + Duration::from_secs(n * 86_400));
            assert_eq!(text, format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
            (year, month, day) = match (month, day == days) {
                (12, true) => (year + 1, 1, 1),
                (month, true) => (year, month + 1, 1),
                (month, false) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn the_machine_is_described_and_the_file_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("environment.json");
        let versions = Versions { torch: Some("2.11.0".into()), ..Versions::of_build(Some("0123-dirty")) };
        let environment = Environment::collect(versions);
        environment.write(&path).unwrap();
        let read: Environment = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, environment);
        assert!(read.num_cores.is_some() && !read.command.is_empty());
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&json["torch"], &json["git_revision"]), (&"2.11.0".into(), &"0123-dirty".into()));
    }

    #[test]
    fn kernel_files_are_understood() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu avx2 avx amx_tile avx512fx\n";
        assert_eq!(field(cpuinfo, "model name", ':').as_deref(), Some("A CPU @ 2 GHz"));
        assert_eq!(known_flags(cpuinfo), ["avx", "avx2", "amx_tile"]);
        assert_eq!(
            field("NAME=x\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME", '=').as_deref(),
            Some("Debian 12")
        );
        assert_eq!(total_memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(total_memory("MemTotal: lots\n"), None);
    }
}
