//! Who runs which trial. Each trial has one token, an empty file whose name says how the trial stands and who holds it, and
//! which is only ever renamed: `lr-0003.waiting`, `lr-0003.held.<owner>`, `lr-0003.done`. A rename is atomic on every file
//! system that machines share, and its old name is gone for all others, so that one of many wins. Locks are not used: parallel
//! file systems may refuse them, or keep them to one machine.
//!
//! Whoever holds a token renews it, which changes the file's time. One whose time has stood still for as long as the lease, by
//! the clock of whoever watches it, is taken over under a new owner's name; from then on the old owner finds no file to renew,
//! and knows. Nobody compares clocks of two machines.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::owner::Owner;

/// How a trial stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// For somebody to run it.
    Waiting,
    /// Somebody runs it.
    Held(Owner),
    /// It was stopped by a person; `dtrain sweep resume` goes on with it.
    Stopped,
    /// It lagged behind at a rung.
    Halted,
    /// It has failed.
    Failed,
    /// It has ended well.
    Done,
}

impl State {
    fn suffix(&self) -> String {
        match self {
            Self::Held(owner) => format!("held.{owner}"),
            other => other.word().to_owned(),
        }
    }

    /// For tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held(_) => "running",
            Self::Stopped => "stopped",
            Self::Halted => "halted",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }

    fn read(suffix: &str) -> Option<Self> {
        match suffix.strip_prefix("held.") {
            Some(owner) => Some(Self::Held(Owner::named(owner))),
            None => [Self::Waiting, Self::Stopped, Self::Halted, Self::Failed, Self::Done]
                .into_iter()
                .find(|state| state.word() == suffix),
        }
    }

    /// Whether nobody will run the trial by itself.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Halted | Self::Failed | Self::Done)
    }

    /// While names change under a reader it may see two of a trial; what is less final is believed, and looked at again.
    fn finality(&self) -> u8 {
        match self {
            Self::Held(_) => 0,
            Self::Waiting => 1,
            Self::Stopped => 2,
            Self::Halted | Self::Failed => 3,
            Self::Done => 4,
        }
    }
}

/// The tokens of a sweep.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    folder: PathBuf,
}

impl Tokens {
    /// In this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the tokens of new trials. What is there stays as it is.
    pub fn create<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
        fs_err::create_dir_all(&self.folder)?;
        let there = self.states()?;
        for id in ids {
            if there.contains_key(id) {
                continue;
            }
            match std::fs::File::create_new(self.path(id, &State::Waiting)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How every trial stands. One whose name changes at this moment may be missing.
    pub fn states(&self) -> io::Result<HashMap<String, State>> {
        let mut states: HashMap<String, State> = HashMap::new();
        for entry in fs_err::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let parsed = name.to_str().and_then(|name| name.split_once('.'));
            let Some((id, state)) = parsed.and_then(|(id, suffix)| Some((id, State::read(suffix)?))) else {
                continue;
            };
            let is_less_final = states.get(id).is_none_or(|other| state.finality() < other.finality());
            if is_less_final {
                states.insert(id.to_owned(), state);
            }
        }
        Ok(states)
    }

    /// Moves a token from one state to another. `false`: it is not in the first one, or not any more.
    pub fn turn(&self, id: &str, from: &State, to: &State) -> io::Result<bool> {
        let moved = match std::fs::rename(self.path(id, from), self.path(id, to)) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if let (true, State::Held(owner)) = (moved, to) {
            self.renew(id, owner)?;
        }
        Ok(moved)
    }

    /// Says that the owner is alive. `false`: somebody else has taken the token.
    pub fn renew(&self, id: &str, owner: &Owner) -> io::Result<bool> {
        let path = self.path(id, &State::Held(owner.clone()));
        let renewed = std::fs::OpenOptions::new().append(true).open(path);
        match renewed.and_then(|file| file.set_modified(SystemTime::now())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn renewed_at(&self, id: &str, owner: &Owner) -> Option<SystemTime> {
        std::fs::metadata(self.path(id, &State::Held(owner.clone()))).ok()?.modified().ok()
    }

    fn path(&self, id: &str, state: &State) -> PathBuf {
        self.folder.join(format!("{id}.{}", state.suffix()))
    }
}

/// An eye on the tokens that others hold.
#[derive(Debug)]
pub(crate) struct Watch {
    lease: Duration,
    seen: HashMap<(String, Owner), (SystemTime, Instant)>,
}

impl Watch {
    /// With this lease.
    pub fn new(lease: Duration) -> Self {
        Self { lease, seen: HashMap::new() }
    }

    /// Whether the owner of a token is gone: a process of this machine that is not there, or one that has not renewed it for
    /// as long as the lease.
    pub fn is_abandoned(&mut self, tokens: &Tokens, id: &str, owner: &Owner) -> bool {
        if owner.is_dead() {
            return true;
        }
        // Gone meanwhile: the next look tells.
        let Some(renewed) = tokens.renewed_at(id, owner) else { return false };
        let key = (id.to_owned(), owner.clone());
        let (last, since) = self.seen.entry(key).or_insert_with(|| (renewed, Instant::now()));
        if *last != renewed {
            (*last, *since) = (renewed, Instant::now());
        }
        since.elapsed() > self.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(folder.path().join("tokens"));
        (folder, tokens)
    }

    #[test]
    fn one_of_many_gets_a_token() {
        let (_folder, tokens) = tokens();
        let ids: Vec<String> = (0..200).map(|index| format!("t-{index:04}")).collect();
        tokens.create(ids.iter().map(String::as_str)).unwrap();
        let won: Vec<usize> = std::thread::scope(|scope| {
            let claim = |number: usize| {
                let (ids, tokens) = (&ids, &tokens);
                scope.spawn(move || {
                    let me = State::Held(Owner::named(&format!("owner-{number}")));
                    ids.iter().filter(|id| tokens.turn(id, &State::Waiting, &me).unwrap()).count()
                })
            };
            let threads: Vec<_> = (0..4).map(claim).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().sum::<usize>(), 200, "{won:?}");
        assert_eq!(tokens.states().unwrap().len(), 200);
        // What is there stays as it is.
        tokens.create(ids.iter().map(String::as_str)).unwrap();
        assert!(tokens.states().unwrap().values().all(|state| matches!(state, State::Held(_))));
    }

    #[test]
    fn who_has_lost_a_token_can_neither_renew_nor_settle_it() {
        let (_folder, tokens) = tokens();
        tokens.create(["a"]).unwrap();
        let [first, second] = ["x-1", "x-2"].map(Owner::named);
        let (mine, theirs) = (State::Held(first.clone()), State::Held(second.clone()));
        assert!(tokens.turn("a", &State::Waiting, &mine).unwrap());
        assert!(tokens.renew("a", &first).unwrap());
        assert!(tokens.turn("a", &mine, &theirs).unwrap());
        assert!(!tokens.renew("a", &first).unwrap());
        assert!(!tokens.turn("a", &mine, &State::Done).unwrap());
        assert!(tokens.turn("a", &theirs, &State::Done).unwrap());
        assert_eq!(tokens.states().unwrap()["a"], State::Done);
    }

    #[test]
    fn a_token_is_abandoned_when_its_time_stands_still_for_the_lease() {
        let (_folder, tokens) = tokens();
        tokens.create(["a"]).unwrap();
        let owner = Owner::named("elsewhere-1-2-3-host");
        assert!(tokens.turn("a", &State::Waiting, &State::Held(owner.clone())).unwrap());
        let mut watch = Watch::new(Duration::from_millis(80));
        assert!(!watch.is_abandoned(&tokens, "a", &owner));
        std::thread::sleep(Duration::from_millis(50));
        assert!(tokens.renew("a", &owner).unwrap());
        assert!(!watch.is_abandoned(&tokens, "a", &owner));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!watch.is_abandoned(&tokens, "a", &owner), "renewed since");
        std::thread::sleep(Duration::from_millis(60));
        assert!(watch.is_abandoned(&tokens, "a", &owner));
    }
}
