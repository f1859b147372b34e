//! Signals to the launcher are wishes: they are handed to the ranks, which save and end together.
//!
//! mpirun is in a process group of its own, so that a Ctrl-C at the terminal does not reach it: it would kill the ranks
//! two seconds later. It hands SIGUSR1 and SIGUSR2 on to all ranks at once, on all hosts.

use std::io;
use std::time::Instant;

use dtrain_front::Exit;
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::signals::heard;

/// How the ranks shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Save, and be started again later.
    Requeue,
    /// Save, and stay ended.
    User,
}

impl Wish {
    /// The signal that says so to ranks of a launcher.
    pub fn signal(self) -> Signal {
        match self {
            Wish::Requeue => Signal::SIGUSR1,
            Wish::User => Signal::SIGUSR2,
        }
    }

    /// The exit code of a run that ended so.
    pub fn exit(self) -> Exit {
        match self {
            Wish::Requeue => Exit::Requeue,
            Wish::User => Exit::Interrupted,
        }
    }
}

/// What a signal calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It says nothing new.
    Nothing,
    /// Tell the ranks.
    Tell(Wish),
    /// End at once, without saving.
    Kill,
}

/// What signals have asked for so far.
#[derive(Debug, Default)]
pub struct Wishes {
    strongest: Option<(Wish, Instant)>,
    interrupts: u32,
}

impl Wishes {
    /// Takes a signal in.
    pub fn hear(&mut self, signal: i32, now: Instant) -> Action {
        let wish = if signal == SIGINT { Wish::User } else { Wish::Requeue };
        self.interrupts += u32::from(signal == SIGINT);
        if self.interrupts > 1 {
            return Action::Kill;
        }
        if self.strongest.is_some_and(|(known, _)| known >= wish) {
            return Action::Nothing;
        }
        self.strongest = Some((wish, now));
        Action::Tell(wish)
    }

    /// The strongest wish.
    pub fn wish(&self) -> Option<Wish> {
        self.strongest.map(|(wish, _)| wish)
    }

    /// The strongest wish and when it came.
    pub fn told(&self) -> Option<(Wish, Instant)> {
        self.strongest
    }
}

/// Signals that have arrived.
#[derive(Debug)]
pub struct Inbox(Signals);

impl Inbox {
    /// From now on signals are noted, but for those that are ignored.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open() -> io::Result<Self> {
        let heard = heard(&[SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2]);
        Signals::new(heard).map(Self)
    }

    /// What has arrived since the last call.
    pub fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(signals: &[i32]) -> (Vec<Action>, Option<Wish>) {
        let mut wishes = Wishes::default();
        let actions = signals.iter().map(|signal| wishes.hear(*signal, Instant::now())).collect();
        (actions, wishes.wish())
    }

    #[test]
    fn ctrl_c_once_saves_and_twice_ends_at_once() {
        let (actions, wish) = heard(&[SIGINT, SIGINT]);
        assert_eq!(actions, [Action::Tell(Wish::User), Action::Kill]);
        assert_eq!(wish, Some(Wish::User));
    }

    #[test]
    fn schedulers_may_repeat_themselves() {
        let (actions, wish) = heard(&[SIGTERM, SIGUSR1, SIGTERM, SIGHUP]);
        assert_eq!(actions, [Action::Tell(Wish::Requeue), Action::Nothing, Action::Nothing, Action::Nothing]);
        assert_eq!(wish, Some(Wish::Requeue));
    }

    #[test]
    fn the_user_is_stronger() {
        let (actions, wish) = heard(&[SIGTERM, SIGINT, SIGTERM]);
        assert_eq!(actions, [Action::Tell(Wish::Requeue), Action::Tell(Wish::User), Action::Nothing]);
        assert_eq!(wish, Some(Wish::User));
    }
}
