//! Why an attempt ended: which process was the first to fail, from what ranks have recorded, what mpirun noticed and how it
//! ended itself. One dead rank makes all others fail; only the first one is worth a person's time.

use std::collections::BTreeMap;

use dtrain_comm::LastStage;
use dtrain_front::record::Record;

use super::mpirun::{Ending, Noticed};

/// What is known about the end of an attempt.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// How the process that was started ended.
    pub ending: Ending,
    /// Whether that is mpirun.
    pub is_mpirun: bool,
    /// Whom mpirun names.
    pub noticed: Option<Noticed>,
    /// What ranks have recorded, the earliest first.
    pub records: Vec<Record>,
    /// What ranks of this machine were doing last, as their heartbeats say.
    pub stages: BTreeMap<usize, LastStage>,
    /// Whether the launcher itself has killed ranks, so that signals say nothing.
    pub killed_by_launcher: bool,
    /// Processes of this machine that the kernel killed meanwhile for want of memory.
    pub out_of_memory: u64,
}

/// The first to fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// Who.
    pub who: Who,
    /// Where, as far as that is known.
    pub host: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// What it was doing.
    pub stage: Option<String>,
    /// What it said.
    pub message: Option<String>,
    /// The next step.
    pub hint: Option<String>,
    /// Ranks that recorded a failure after it.
    pub followers: Vec<Record>,
}

/// A process of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A rank.
    Rank(usize),
    /// mpirun.
    Mpirun,
}

impl Evidence {
    /// The exit code of the attempt as a whole; 128 and a number stand for a signal.
    pub fn code(&self) -> i32 {
        match self.ending {
            // Ends that all ranks agreed on.
            Ending::Exit(code @ (0 | 2 | 3 | 75 | 130)) => code,
            _ => self.cause().ending.code(),
        }
    }

    /// Finds the first to fail.
    pub fn cause(&self) -> Cause {
        let first = self.records.first();
        if let Ending::Signal(_) = self.ending
            && !self.killed_by_launcher
        {
            let who = if self.is_mpirun { Who::Mpirun } else { Who::Rank(0) };
            return self.told(who, None, self.ending, None);
        }
        match (&self.noticed, first) {
            // It could not record anything itself, and what others record came after it.
            (Some(Noticed { rank, host, ending: ending @ Ending::Signal(_) }), _)
                if !self.killed_by_launcher =>
            {
                self.told(Who::Rank(*rank), host.clone(), *ending, None)
            }
            (_, Some(record)) => {
                let ending = Ending::Exit(record.exit);
                self.told(Who::Rank(record.rank), Some(record.host.clone()), ending, Some(record))
            }
            (Some(Noticed { rank, host, ending }), None) => {
                self.told(Who::Rank(*rank), host.clone(), *ending, None)
            }
            (None, None) if self.is_mpirun => self.told(Who::Mpirun, None, self.ending, None),
            (None, None) => self.told(Who::Rank(0), None, self.ending, None),
        }
    }

    fn told(&self, who: Who, host: Option<String>, ending: Ending, record: Option<&Record>) -> Cause {
        let others = |other: &&Record| Who::Rank(other.rank) != who;
        Cause {
            who,
            host,
            ending,
            stage: record.and_then(|record| record.stage.clone()).or_else(|| self.last_stage(who)),
            message: record.map(|record| record.message.clone()),
            hint: record.map_or_else(|| self.hint(ending), |record| record.hint.clone()),
            followers: self.records.iter().filter(others).cloned().collect(),
        }
    }

    /// Of a process that was killed and could record nothing.
    fn last_stage(&self, who: Who) -> Option<String> {
        let Who::Rank(rank) = who else { return None };
        self.stages.get(&rank).map(ToString::to_string)
    }

    fn hint(&self, ending: Ending) -> Option<String> {
        const SIGKILL: i32 = 9;
        let text = match ending {
            Ending::Signal(SIGKILL) if self.out_of_memory > 0 => {
                "the kernel killed a process for want of memory meanwhile: use fewer ranks per machine, a smaller \
                 `trainer.micro_batch_size` or `data.cache_bytes`"
            }
            Ending::Signal(SIGKILL) => {
                "it was killed from outside: by a person, a job scheduler, or a container for want of memory"
            }
            Ending::Signal(_) => "a crash is a bug: its output and `environment.json` are worth a report",
            Ending::Exit(0) => "a rank ended early without telling the others",
            Ending::Exit(_) => return None,
        };
        Some(text.to_owned())
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Rank(rank) => write!(f, "rank {rank}"),
            Who::Mpirun => f.write_str("mpirun"),
        }
    }
}

/// In one line, without the message's own lines.
impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.who)?;
        if let Some(host) = &self.host {
            write!(f, " on `{host}`")?;
        }
        match self.ending {
            Ending::Signal(_) => write!(f, " was killed by {}", self.ending)?,
            Ending::Exit(_) => write!(f, " ended with {}", self.ending)?,
        }
        match self.message.as_deref().and_then(|message| message.lines().next()) {
            Some(line) => write!(f, ": {}", line.strip_prefix("error: ").unwrap_or(line)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dtrain_comm::Stage;

    use super::*;

    const KILLED: Ending = Ending::Signal(9);

    fn evidence(ending: Ending) -> Evidence {
        Evidence {
            ending,
            is_mpirun: true,
            noticed: None,
            records: Vec::new(),
            stages: BTreeMap::new(),
            killed_by_launcher: false,
            out_of_memory: 0,
        }
    }

    fn noticed(rank: usize, ending: Ending) -> Option<Noticed> {
        Some(Noticed { rank, host: Some("vm".into()), ending })
    }

    fn record(rank: usize, exit: i32, message: &str) -> Record {
        Record {
            rank,
            host: "vm".into(),
            pid: 1,
            time_unix: 1.0,
            exit,
            message: message.into(),
            hint: Some("fix it".into()),
            stage: Some("step 7".into()),
        }
    }

    #[test]
    fn a_killed_rank_comes_before_those_that_complain_about_it() {
        let records = vec![record(0, 1, "all_reduce has waited"), record(2, 1, "all_reduce failed")];
        let all = Evidence { noticed: noticed(2, KILLED), records, ..evidence(Ending::Exit(137)) };
        let cause = all.cause();
        assert_eq!(cause.to_string(), "rank 2 on `vm` was killed by SIGKILL (9)");
        assert_eq!(cause.followers.iter().map(|record| record.rank).collect::<Vec<_>>(), [0]);
        assert_eq!(all.code(), 137);
        assert!(cause.hint.unwrap().contains("from outside"));
        assert_eq!(cause.stage, None);
        let last = LastStage { stage: Stage::Backward, step: Some(41) };
        let seen = Evidence { stages: BTreeMap::from([(2, last)]), ..all.clone() };
        assert_eq!(seen.cause().stage.as_deref(), Some("backward, step 41"));
        let starved = Evidence { out_of_memory: 1, ..all };
        assert!(starved.cause().hint.unwrap().contains("want of memory meanwhile"));
    }

    #[test]
    fn the_earliest_record_comes_before_what_mpirun_saw() {
        let records = vec![record(1, 3, "error: no GPU\nmore"), record(0, 1, "late")];
        let all = Evidence { noticed: noticed(0, Ending::Exit(1)), records, ..evidence(Ending::Exit(1)) };
        let cause = all.cause();
        assert_eq!(cause.to_string(), "rank 1 on `vm` ended with exit code 3: no GPU");
        assert_eq!((cause.stage.as_deref(), cause.hint.as_deref()), (Some("step 7"), Some("fix it")));
        assert_eq!(all.code(), 3);
    }

    #[test]
    fn ranks_that_the_launcher_killed_are_not_the_cause() {
        let all = Evidence {
            noticed: noticed(0, KILLED),
            records: vec![record(1, 1, "stuck")],
            killed_by_launcher: true,
            ..evidence(KILLED)
        };
        assert_eq!(all.cause().to_string(), "rank 1 on `vm` ended with exit code 1: stuck");
    }

    #[test]
    fn mpirun_or_a_single_rank_may_be_the_first() {
        assert_eq!(evidence(KILLED).cause().to_string(), "mpirun was killed by SIGKILL (9)");
        let alone = Evidence { is_mpirun: false, ..evidence(Ending::Signal(11)) };
        assert_eq!(alone.cause().to_string(), "rank 0 was killed by SIGSEGV (11)");
        let unsaid = evidence(Ending::Exit(1)).cause();
        assert_eq!((unsaid.to_string().as_str(), unsaid.hint), ("mpirun ended with exit code 1", None));
        let early = Evidence { noticed: noticed(1, Ending::Exit(0)), ..evidence(Ending::Exit(1)) };
        assert_eq!(early.cause().to_string(), "rank 1 on `vm` ended with exit code 0");
    }

    #[test]
    fn agreed_ends_keep_their_code() {
        for code in [0, 2, 3, 75, 130] {
            let all = Evidence { noticed: noticed(0, Ending::Exit(code)), ..evidence(Ending::Exit(code)) };
            assert_eq!(all.code(), code);
        }
        let signal = Evidence { noticed: noticed(1, Ending::Signal(15)), ..evidence(Ending::Exit(1)) };
        assert_eq!(signal.code(), 143);
    }
}
