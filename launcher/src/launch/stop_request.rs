//! Signals to the launcher are stop requests: they are handed to the ranks, which save and end together.
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
pub enum StopRequest {
    /// Save, and be started again later.
    Requeue,
    /// Save, and stay ended.
    User,
}

impl StopRequest {
    /// The signal that says so to ranks of a launcher.
    pub fn signal(self) -> Signal {
        match self {
            StopRequest::Requeue => Signal::SIGUSR1,
            StopRequest::User => Signal::SIGUSR2,
        }
    }

    /// The exit code of a run that ended so.
    pub fn exit(self) -> Exit {
        match self {
            StopRequest::Requeue => Exit::Requeue,
            StopRequest::User => Exit::Interrupted,
        }
    }
}

/// What a signal calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It says nothing new.
    Nothing,
    /// Tell the ranks.
    Tell(StopRequest),
    /// End at once, without saving.
    Kill,
}

/// What signals have asked for so far.
#[derive(Debug, Default)]
pub struct StopRequests {
    strongest: Option<(StopRequest, Instant)>,
    interrupts: u32,
}

impl StopRequests {
    /// Takes a signal in.
    pub fn hear(&mut self, signal: i32, now: Instant) -> Action {
        let request = if signal == SIGINT { StopRequest::User } else { StopRequest::Requeue };
        self.interrupts += u32::from(signal == SIGINT);
        if self.interrupts > 1 {
            return Action::Kill;
        }
        if self.strongest.is_some_and(|(known, _)| known >= request) {
            return Action::Nothing;
        }
        self.strongest = Some((request, now));
        Action::Tell(request)
    }

    /// The strongest stop request.
    pub fn strongest(&self) -> Option<StopRequest> {
        self.strongest.map(|(request, _)| request)
    }

    /// The strongest stop request and when it came.
    pub fn told(&self) -> Option<(StopRequest, Instant)> {
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

    fn heard(signals: &[i32]) -> (Vec<Action>, Option<StopRequest>) {
        let mut stop_requests = StopRequests::default();
        let actions = signals.iter().map(|signal| stop_requests.hear(*signal, Instant::now())).collect();
        (actions, stop_requests.strongest())
    }

    #[test]
    fn ctrl_c_once_saves_and_twice_ends_at_once() {
        let (actions, request) = heard(&[SIGINT, SIGINT]);
        assert_eq!(actions, [Action::Tell(StopRequest::User), Action::Kill]);
        assert_eq!(request, Some(StopRequest::User));
    }

    #[test]
    fn schedulers_may_repeat_themselves() {
        let (actions, request) = heard(&[SIGTERM, SIGUSR1, SIGTERM, SIGHUP]);
        assert_eq!(
            actions,
            [Action::Tell(StopRequest::Requeue), Action::Nothing, Action::Nothing, Action::Nothing]
        );
        assert_eq!(request, Some(StopRequest::Requeue));
    }

    #[test]
    fn the_user_is_stronger() {
        let (actions, request) = heard(&[SIGTERM, SIGINT, SIGTERM]);
        assert_eq!(
            actions,
            [Action::Tell(StopRequest::Requeue), Action::Tell(StopRequest::User), Action::Nothing]
        );
        assert_eq!(request, Some(StopRequest::User));
    }
}
