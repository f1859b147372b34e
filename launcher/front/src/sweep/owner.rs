//! Who holds a token: a process, by a name that no other process has, on any machine and at any time.

use std::fmt;
use std::os::unix::fs::MetadataExt;

use crate::record::this_host;

/// The name of a process: boot of its machine, name space of its number, number, start time and machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner(String);

impl Owner {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        let host: String =
            this_host().chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        Self(format!("{}-{pid}-{}-{host}", this_world(), start_time(pid).unwrap_or(0)))
    }

    /// As a token names it.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The machine, for people.
    pub fn host(&self) -> &str {
        self.0.splitn(5, '-').nth(4).unwrap_or("another machine")
    }

    /// Whether it was a process of this machine that has ended. Of other machines nobody can tell.
    pub fn is_dead(&self) -> bool {
        let mut parts = self.0.splitn(5, '-');
        let world = [parts.next(), parts.next()].map(Option::unwrap_or_default).join("-");
        let pid = parts.next().and_then(|pid| pid.parse::<u32>().ok());
        let started = parts.next().and_then(|time| time.parse::<u64>().ok());
        let (Some(pid), Some(started)) = (pid, started) else { return false };
        world == this_world() && start_time(pid) != Some(started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where numbers of processes mean the same as here.
fn this_world() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    let space = std::fs::metadata("/proc/self/ns/pid").map_or(0, |about| about.ino());
    format!("{boot}-{space}")
}

/// When a process was started, in the kernel's ticks; `None`: it is not there, or has ended and waits for its parent.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if ["Z", "X"].contains(&state) { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_has_ended_is_dead() {
        let me = Owner::this();
        assert!(!me.is_dead());
        assert!(!me.host().is_empty());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let other = me.to_string().replace(&format!("-{}-", std::process::id()), &format!("-{pid}-"));
        assert!(Owner::named(&other).is_dead());
        // The number is somebody else's now.
        let reused =
            me.to_string().replacen(&format!("-{}-", start_time(std::process::id()).unwrap()), "-1-", 1);
        assert!(Owner::named(&reused).is_dead());
    }

    #[test]
    fn nobody_can_tell_of_other_machines() {
        assert!(!Owner::named("0123456789ab-1-1-1-far").is_dead());
        assert!(!Owner::named("what").is_dead());
    }
}
