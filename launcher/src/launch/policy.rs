//! What follows from the end of an attempt, as a pure function of what has been tried.

use std::time::Duration;

use dtrain_front::Exit;

use super::stop_request::StopRequest;

/// Restarts in a row without a new durable checkpoint after which more would bring nothing.
pub const MAX_VAIN_RESTARTS: u32 = 3;
/// The pause before the first restart; it doubles while no new checkpoint appears.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// Its exit code; 128 and the number of a signal that ended it.
    pub code: i32,
    /// Whether a rank began at all.
    pub began: bool,
    /// Whether it brought a new durable checkpoint.
    pub progressed: bool,
}

/// What may be done about it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Restarts of the whole launch.
    pub max_restarts: u32,
    /// Whether the work goes on where it stopped: training does.
    pub restartable: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is over, and was meant to be, or no restart would change it.
    End(Exit),
    /// It failed and is not tried again.
    GiveUp(Reason),
    /// Once more.
    Restart {
        /// Counted from 1.
        number: u32,
        /// Further ones that are allowed.
        left: u32,
        /// To wait before.
        pause: Duration,
    },
}

/// Why a failure is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All restarts are used up.
    NoneLeft,
    /// Restarts bring no new checkpoint.
    Vain,
    /// Only training goes on where it stopped.
    NotTraining,
}

/// Decides after the last of `history`; `request` is what signals asked for.
pub fn decide(history: &[Tried], limits: Limits, request: Option<StopRequest>) -> Decision {
    let Some(last) = history.last() else { return Decision::End(Exit::Done) };
    let said = match last.code {
        0 => Some(Exit::Done),
        2 => Some(Exit::Usage),
        3 => Some(Exit::Environment),
        75 => Some(Exit::Requeue),
        130 => Some(Exit::Interrupted),
        // mpirun could not start a single rank and has said why.
        1..128 if !last.began => Some(Exit::Environment),
        _ => None,
    };
    if let Some(exit) = said.or(request.map(StopRequest::exit)) {
        return Decision::End(exit);
    }
    let number = history.len() as u32;
    let vain = history.iter().rev().take_while(|tried| !tried.progressed).count() as u32;
    // The first attempt is no restart.
    let vain_restarts = vain.min(number - 1);
    if !limits.restartable {
        Decision::GiveUp(Reason::NotTraining)
    } else if vain_restarts >= MAX_VAIN_RESTARTS {
        Decision::GiveUp(Reason::Vain)
    } else if number > limits.max_restarts {
        Decision::GiveUp(Reason::NoneLeft)
    } else {
        Decision::Restart { number, left: limits.max_restarts - number, pause: pause(vain) }
    }
}

/// The pause after `vain` attempts in a row without a new checkpoint.
fn pause(vain: u32) -> Duration {
    let doublings = vain.saturating_sub(1).min(16);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_restarts: 10, restartable: true };

    fn tried(code: i32, progressed: bool) -> Tried {
        Tried { code, began: true, progressed }
    }

    fn after(history: &[Tried]) -> Decision {
        decide(history, LIMITS, None)
    }

    #[test]
    fn ends_that_were_meant_and_errors_that_stay_are_final() {
        for (code, exit) in [
            (0, Exit::Done),
            (2, Exit::Usage),
            (3, Exit::Environment),
            (75, Exit::Requeue),
            (130, Exit::Interrupted),
        ] {
            assert_eq!(after(&[tried(code, false)]), Decision::End(exit));
        }
    }

    #[test]
    fn failures_signals_and_panics_are_tried_again() {
        for code in [1, 101, 137, 139, 134, 255] {
            let expected = Decision::Restart { number: 1, left: 9, pause: Duration::from_secs(1) };
            assert_eq!(after(&[tried(code, false)]), expected, "{code}");
        }
    }

    #[test]
    fn restarts_are_counted() {
        let limits = Limits { max_restarts: 2, ..LIMITS };
        let history = vec![tried(137, true); 3];
        let left = |n: usize| match decide(&history[..n], limits, None) {
            Decision::Restart { left, .. } => Some(left),
            _ => None,
        };
        assert_eq!((left(1), left(2)), (Some(1), Some(0)));
        assert_eq!(decide(&history, limits, None), Decision::GiveUp(Reason::NoneLeft));
        let never = Limits { max_restarts: 0, ..LIMITS };
        assert_eq!(decide(&history[..1], never, None), Decision::GiveUp(Reason::NoneLeft));
    }

    #[test]
    fn three_restarts_without_a_new_checkpoint_are_enough() {
        let vain = vec![tried(1, false); 4];
        assert!(matches!(after(&vain[..3]), Decision::Restart { number: 3, .. }));
        assert_eq!(after(&vain), Decision::GiveUp(Reason::Vain));
        // One new checkpoint in between, and the count begins again.
        let mut history = vec![tried(1, true)];
        history.extend(&vain[..2]);
        history.push(tried(1, true));
        history.extend(&vain[..2]);
        assert!(matches!(after(&history), Decision::Restart { number: 6, .. }));
        history.push(tried(1, false));
        assert_eq!(after(&history), Decision::GiveUp(Reason::Vain));
    }

    #[test]
    fn pauses_double_while_nothing_is_gained() {
        let pauses: Vec<u64> = (0..8).map(|vain| pause(vain).as_secs()).collect();
        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
        let pause_after = |history: &[Tried]| match after(history) {
            Decision::Restart { pause, .. } => pause.as_secs(),
            _ => 0,
        };
        let (gain, vain) = (tried(137, true), tried(137, false));
        assert_eq!(pause_after(&[vain, vain, vain]), 4);
        assert_eq!(pause_after(&[vain, vain, gain]), 1);
        assert_eq!(pause_after(&[gain, vain]), 1);
    }

    #[test]
    fn a_stop_request_ends_what_fails_while_stopping() {
        let stop = |code, request| decide(&[tried(code, false)], LIMITS, Some(request));
        for code in [1, 137, 143] {
            assert_eq!(stop(code, StopRequest::Requeue), Decision::End(Exit::Requeue));
            assert_eq!(stop(code, StopRequest::User), Decision::End(Exit::Interrupted));
        }
        assert_eq!(stop(0, StopRequest::User), Decision::End(Exit::Done), "it was faster than the signal");
        assert_eq!(stop(3, StopRequest::Requeue), Decision::End(Exit::Environment));
    }

    #[test]
    fn what_cannot_begin_or_go_on_is_not_tried_again() {
        let never_began = Tried { code: 1, began: false, progressed: false };
        assert_eq!(after(&[never_began]), Decision::End(Exit::Environment));
        let killed = Tried { code: 137, ..never_began };
        assert!(matches!(after(&[killed]), Decision::Restart { .. }), "mpirun was killed while it started");
        let once = Limits { restartable: false, ..LIMITS };
        assert_eq!(decide(&[tried(137, false)], once, None), Decision::GiveUp(Reason::NotTraining));
        assert_eq!(decide(&[tried(0, false)], once, None), Decision::End(Exit::Done));
    }
}
