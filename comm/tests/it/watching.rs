//! A rank that never comes ends the job with a message, and a slow one does not.

use std::time::Duration;

use dtrain_comm::{Session, Stuck};
use nix::sys::signal::{Signal, raise};

use crate::world::{connect_rank, in_worlds, is_rank, start, text};

/// What a launcher does when a rank waits too long.
fn end(session: &Session) -> impl Fn(Stuck) + Send + 'static {
    let abort = session.abort_handle();
    move |stuck| {
        println!("stuck: {stuck}");
        abort.abort(3)
    }
}

/// Rank 1 of three is lost in its own way while the others wait for it under a watch.
fn ends_with_a_message(name: &str, is_lost: impl FnOnce(&Session)) {
    if is_rank() {
        let session = connect_rank();
        session.collective().barrier().unwrap();
        let _watch = session.watch(Duration::from_millis(500), end(&session)).unwrap();
        if session.world().rank == 1 {
            is_lost(&session);
        }
        let _ = session.collective().all_gather(&[1], &[1; 3], &mut [0; 3]);
        panic!("the all-gather was passed without rank 1");
    }
    let Some(output) = start(name, 3, &[]) else { return };
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("stuck: all_gather (call 2) on rank"), "{text}");
    assert!(!text.contains("the all-gather was passed") && !text.contains("on rank 1 of"), "{text}");
}

#[test]
fn a_rank_that_sleeps_is_noticed_by_the_others() {
    ends_with_a_message("watching::a_rank_that_sleeps_is_noticed_by_the_others", |_| {
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn a_rank_that_is_stopped_is_noticed_by_the_others() {
    ends_with_a_message("watching::a_rank_that_is_stopped_is_noticed_by_the_others", |_| {
        raise(Signal::SIGSTOP).unwrap();
        // The launcher continues it in order to end it.
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn duplicates_are_watched_too() {
    const NAME: &str = "watching::duplicates_are_watched_too";
    if is_rank() {
        let session = connect_rank();
        let duplicate = session.duplicate().unwrap();
        let _watch = session.watch(Duration::from_millis(500), end(&session)).unwrap();
        if session.world().rank == 0 {
            let _ = duplicate.broadcast(&mut [0; 1 << 20], 1);
        }
        loop {
            std::thread::park();
        }
    }
    let Some(output) = start(NAME, 2, &[]) else { return };
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("stuck: broadcast (call 1) on rank 0 of 2"), "{}", text(&output));
}

#[test]
fn work_of_a_rank_between_its_calls_trips_nobody() {
    in_worlds("watching::work_of_a_rank_between_its_calls_trips_nobody", &[1, 2], |session| {
        let watch = session.watch(Duration::from_secs(30), |stuck| panic!("{stuck}")).unwrap();
        for _ in 0..100 {
            session.collective().barrier().unwrap();
        }
        if session.world().is_main() {
            std::thread::sleep(Duration::from_millis(700));
        }
        session.collective().barrier().unwrap();
        drop(watch);
    });
}
