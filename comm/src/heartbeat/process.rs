//! Whether a process of this node runs, from `/proc/<pid>/stat`.

/// State of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum ProcessState {
    /// Runs, or could.
    #[default]
    Running,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// In a system call that cannot be interrupted: a disk or a network file system.
    Disk,
    /// Ended.
    Gone,
}

/// A process by its number and its start in clock ticks since boot, since numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProcessId {
    pub pid: u32,
    pub start: u64,
}

impl ProcessState {
    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn of_code(code: u64) -> Self {
        match code {
            1 => Self::Stopped,
            2 => Self::Disk,
            3 => Self::Gone,
            _ => Self::Running,
        }
    }

    /// Of a process of this node; its threads stop and end together.
    pub fn of(process: ProcessId) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok();
        let Some((state, start)) = stat.as_deref().and_then(parse) else { return Self::Gone };
        match state {
            _ if start != process.start => Self::Gone,
            'Z' | 'X' | 'x' => Self::Gone,
            'T' | 't' => Self::Stopped,
            'D' => Self::Disk,
            _ => Self::Running,
        }
    }
}

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").ok();
        let start = stat.as_deref().and_then(parse).map_or(0, |(_, start)| start);
        Self { pid: std::process::id(), start }
    }
}

/// State and start time: fields 3 and 22. Field 2 is the program's name in parentheses and may hold anything.
fn parse(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_line_is_read() {
        let line = "4711 (a) b (c)) T 1 2 3 4 -1 5 6 7 8 9 10 11 12 13 20 0 4 0 98765 1000 20";
        assert_eq!(parse(line), Some(('T', 98765)));
        for garbage in ["", "1 (a", "1 (a) R", "1 (a) R 1 2 3 4 -1 5 6 7 8 9 10 11 12 13 20 0 4 0 x"] {
            assert_eq!(parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn this_process_runs_and_its_number_of_another_time_is_gone() {
        let own = ProcessId::own();
        assert_ne!(ProcessState::of(own), ProcessState::Gone);
        assert_eq!(ProcessState::of(ProcessId { start: own.start + 1, ..own }), ProcessState::Gone);
    }
}
