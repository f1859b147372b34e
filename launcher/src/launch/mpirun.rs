//! What mpirun says: lines of ranks on other hosts, which carry a tag, and its own words about a job that failed.

use dtrain_front::rank::Channel;

/// The process that mpirun names as the first to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// Its rank.
    pub rank: usize,
    /// Its host, where mpirun names it.
    pub host: Option<String>,
    /// How it ended.
    pub ending: Ending,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with a code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
}

impl Ending {
    /// As a shell would give it.
    pub fn code(self) -> i32 {
        match self {
            Ending::Exit(code) => code,
            Ending::Signal(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Exit(code) => write!(f, "exit code {code}"),
            Ending::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "{signal} ({number})"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// A line of a rank, from `mpirun --tag-output`: `[1,3]<stderr>:text`.
pub fn tagged(line: &[u8]) -> Option<(usize, Channel, &[u8])> {
    let rest = line.strip_prefix(b"[")?;
    let comma = rest.iter().position(|byte| *byte == b',')?;
    number(rest.get(..comma)?)?;
    let rest = rest.get(comma + 1..)?;
    let end = rest.iter().position(|byte| *byte == b']')?;
    let rank = number(rest.get(..end)?)?;
    let rest = rest.get(end + 1..)?;
    [(&b"<stdout>:"[..], Channel::Out), (b"<stderr>:", Channel::Err), (b"<stddiag>:", Channel::Err)]
        .into_iter()
        .find_map(|(tag, channel)| Some((rank, channel, rest.strip_prefix(tag)?)))
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// The process that mpirun names in `text`, all of its output.
pub fn noticed(text: &str) -> Option<Noticed> {
    // Lines are broken at different words from version to version.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    by_signal(&text)
        .or_else(|| by_abort(&text))
        .or_else(|| by_code(&text))
        .or_else(|| without_finalize(&text))
}

/// `mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed).`
fn by_signal(text: &str) -> Option<Noticed> {
    let text = after(text, "noticed that process rank ")?;
    let host = word(after(text, " on node ")?)?.to_owned();
    let signal = leading(after(text, " exited on signal ")?)?;
    Some(Noticed { rank: leading(text)?, host: Some(host), ending: Ending::Signal(signal) })
}

/// `MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD with errorcode 1.`
fn by_abort(text: &str) -> Option<Noticed> {
    let text = after(text, "MPI_ABORT was invoked on rank ")?;
    let code = leading(after(text, " with errorcode ")?)?;
    Some(Noticed { rank: leading(text)?, host: None, ending: Ending::Exit(code) })
}

/// `The first process to do so was: Process name: [[5312,1],1] Exit code: 3`
fn by_code(text: &str) -> Option<Noticed> {
    let text = after(text, "The first process to do so was: Process name: [[")?;
    let rank = leading(after(text, "],")?)?;
    Some(Noticed { rank, host: None, ending: Ending::Exit(leading(after(text, " Exit code: ")?)?) })
}

/// `mpirun has exited due to process rank 1 with PID 0 on node vm exiting improperly.`
fn without_finalize(text: &str) -> Option<Noticed> {
    let text = after(text, "has exited due to process rank ")?;
    let host = word(after(text, " on node ")?)?.to_owned();
    Some(Noticed { rank: leading(text)?, host: Some(host), ending: Ending::Exit(0) })
}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

fn word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

/// The number that `text` begins with.
fn leading<T: std::str::FromStr>(text: &str) -> Option<T> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// Tells what mpirun says on the way, which is shown, from its reports at the end, which the launcher's own replaces.
#[derive(Debug, Default)]
pub struct Chatter {
    in_report: bool,
}

impl Chatter {
    /// Whether to show the next line.
    pub fn is_news(&mut self, line: &str) -> bool {
        const RULE: &str = "--------------------------------";
        if line.starts_with(RULE) {
            self.in_report = !self.in_report;
            return false;
        }
        let about_reports = line.contains("orte_base_help_aggregate") || line.contains("sent help message");
        !self.in_report
            && !about_reports
            && !line.trim().is_empty()
            && !line.starts_with("mpirun: Forwarding signal")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Open MPI 4.1.4: a rank of two was killed.
    const KILLED: &str = include_str!("samples/killed.txt");
    /// A rank of two left with exit code 3.
    const EXIT_CODE: &str = include_str!("samples/exit_code.txt");
    /// A rank of two called MPI_Abort with 1.
    const ABORT: &str = include_str!("samples/abort.txt");
    /// A rank of two left with 0 and without MPI_Finalize.
    const NO_FINALIZE: &str = include_str!("samples/no_finalize.txt");
    /// More ranks than slots.
    const NO_SLOTS: &str = include_str!("samples/no_slots.txt");

    #[test]
    fn the_first_to_fail_is_found() {
        let found = |text| noticed(text).map(|n| (n.rank, n.host, n.ending));
        assert_eq!(found(KILLED), Some((1, Some("vm".into()), Ending::Signal(9))));
        assert_eq!(found(EXIT_CODE), Some((1, None, Ending::Exit(3))));
        assert_eq!(found(ABORT), Some((1, None, Ending::Exit(1))));
        assert_eq!(found(NO_FINALIZE), Some((1, Some("vm".into()), Ending::Exit(0))));
        assert_eq!(found(NO_SLOTS), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn reports_are_not_news() {
        for report in [KILLED, EXIT_CODE, ABORT, NO_FINALIZE, NO_SLOTS] {
            let mut chatter = Chatter::default();
            let news: Vec<&str> = report.lines().filter(|line| chatter.is_news(line)).collect();
            assert_eq!(news, Vec::<&str>::new());
        }
        let mut chatter = Chatter::default();
        assert!(chatter.is_news("Permission denied (publickey)."));
    }

    #[test]
    fn tags_name_rank_and_channel() {
        assert_eq!(tagged(b"[1,12]<stderr>:error: x"), Some((12, Channel::Err, &b"error: x"[..])));
        assert_eq!(tagged(b"[1,0]<stdout>:"), Some((0, Channel::Out, &b""[..])));
        for line in
            ["", "[", "[1,2", "[1,2]text", "[a,2]<stdout>:x", "[vm:77] a,2]<stdout>:x", "[1,+2]<stdout>:"]
        {
            assert_eq!(tagged(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn endings_are_named() {
        assert_eq!(Ending::Signal(9).to_string(), "SIGKILL (9)");
        assert_eq!(Ending::Signal(64).to_string(), "signal 64");
        assert_eq!((Ending::Exit(3).to_string(), Ending::Signal(11).code()), ("exit code 3".into(), 139));
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            text in "(noticed that process rank |MPI_ABORT was invoked on rank | with errorcode | on node |],|[0-9a-z \\[\\]<>,:\n]{0,9}){0,12}",
        ) {
            let _ = noticed(&text);
            for line in text.lines() {
                let _ = tagged(line.as_bytes());
            }
        }
    }
}
