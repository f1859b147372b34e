//! What the kernel says about this process.

/// CPU seconds that this process has used.
pub(super) fn cpu_seconds() -> f64 {
    use nix::sys::time::TimeValLike;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(f64::NAN, |u| (u.user_time() + u.system_time()).num_microseconds() as f64 * 1e-6)
}

/// Seconds since this process was started by the kernel.
pub(super) fn seconds_since_process_start() -> f64 {
    let uptime = fs_err::read_to_string("/proc/uptime").unwrap_or_default();
    let now: f64 = uptime.split_whitespace().next().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    // Field 22, counted after the command name, which may hold spaces.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name.split_whitespace().nth(19).and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
    // The kernel's USER_HZ is 100 on every Linux that Rust supports.
    now - ticks / 100.0
}

/// Bytes of a line of `/proc/self/status`.
pub(super) fn memory(line: &str) -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix(line)).and_then(|l| l.split_whitespace().next());
    kib.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Lets `VmHWM` count from now on.
pub(super) fn reset_peak() {
    // Where the kernel refuses, the peak of the whole process is reported, which is never too small.
    let _ = fs_err::write("/proc/self/clear_refs", "5");
}
