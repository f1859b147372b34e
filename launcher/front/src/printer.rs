//! The terminal: the only place that prints. Data goes to stdout, talk to stderr; rank 0 speaks.

use std::io::{IsTerminal, Write};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::rank::Channel;
use crate::record::Record;

/// Prints for one rank.
#[derive(Debug, Clone)]
pub struct Printer {
    rank: usize,
}

impl Printer {
    /// Only rank 0 speaks.
    pub fn new(rank: usize) -> Self {
        Self { rank }
    }

    /// The rank it prints for.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether this rank speaks.
    pub fn speaks(&self) -> bool {
        self.rank == 0
    }

    /// Whether a person watches stderr.
    pub fn is_terminal(&self) -> bool {
        self.speaks() && std::io::stderr().is_terminal()
    }

    /// Data, for pipes and files. A closed pipe is not an error.
    pub fn data(&self, text: &str) {
        if self.speaks() {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes());
            if !text.ends_with('\n') {
                let _ = out.write_all(b"\n");
            }
            let _ = out.flush();
        }
    }

    /// Talk.
    pub fn say(&self, text: &str) {
        if self.speaks() {
            talk(text);
        }
    }

    /// A line of another process, on the same channel.
    pub fn relay(&self, channel: Channel, prefix: &str, line: &[u8]) {
        if self.speaks() {
            let text = [prefix.as_bytes(), line, b"\n"].concat();
            // A terminal that is gone is not the ranks' business.
            let _ = match channel {
                Channel::Out => std::io::stdout().lock().write_all(&text),
                Channel::Err => std::io::stderr().lock().write_all(&text),
            };
        }
    }

    /// A warning, with its remedy in the text.
    pub fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }

    /// An error with its hint; returns the exit code of this rank. On an agreed end only rank 0 exits non-zero.
    pub fn failure(&self, failure: &Failure) -> Exit {
        if !self.speaks() && failure.agreed {
            return Exit::Done;
        }
        Record::of(self.rank, failure).leave();
        let mut text = failure.message.clone();
        if !text.starts_with("error:") {
            text.insert_str(0, "error: ");
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("\n\nhint: {hint}"));
        }
        talk(&text);
        failure.exit
    }
}

/// In one piece, so that lines of several ranks do not mix. A terminal or pipe that is gone ends no run.
fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
