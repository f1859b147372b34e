//! A rank that never comes ends the job with a table that names it, and a slow one does not.

use std::process::Output;
use std::time::Duration;

use dtrain_comm::{Session, Stage, Stall, Watch, WatchOptions};
use nix::sys::signal::{Signal, raise};

use crate::world::{connect_rank, in_worlds, is_rank, start, text};

const LIMIT: Duration = Duration::from_millis(700);
/// For slow work.
const LONG: Duration = Duration::from_secs(60);

/// What a launcher does when a rank waits too long.
fn end(session: &Session) -> impl Fn(Stall) + Send + 'static {
    let abort = session.abort_handle();
    move |stall| {
        if stall.speaks {
            println!("\nstuck: {stall}\nthe end");
        }
        abort.abort(3)
    }
}

pub fn watch(session: &Session, limit: Duration, slow_limit: Duration) -> Watch {
    let options = WatchOptions { limit, slow_limit, connect_limit: limit, interface: None };
    session.watch(&options, end(session)).unwrap()
}

pub fn sleep_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// What the rank that spoke said; fails unless exactly one did.
#[track_caller]
pub fn said(output: &Output) -> String {
    let text = text(output);
    assert_eq!(text.matches("stuck: ").count(), 1, "{text}");
    let said = text.split("stuck: ").nth(1).and_then(|rest| rest.split("\nthe end").next());
    said.unwrap().to_owned()
}

/// One rank of `size` is lost in its own way while the others wait for it in their second call; returns what was said.
fn said_without(
    name: &str,
    size: usize,
    lost: usize,
    limit: Duration,
    variables: &[(&str, &str)],
    is_lost: impl FnOnce(&Session),
) -> Option<String> {
    if is_rank() {
        let session = connect_rank();
        session.collective().barrier().unwrap();
        let _watch = watch(&session, limit, LONG);
        if session.world().rank == lost {
            is_lost(&session);
            sleep_for_ever();
        }
        let _ = session.collective().all_gather(&[1], &vec![1; size], &mut vec![0; size]);
        panic!("the all-gather was passed without rank {lost}");
    }
    let output = start(name, size, variables)?;
    let text = text(&output);
    assert!(!text.contains("the all-gather was passed"), "{text}");
    Some(said(&output))
}

#[track_caller]
pub fn assert_says(said: Option<String>, parts: &[&str]) {
    let Some(said) = said else { return };
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn a_rank_that_sleeps_is_named_with_what_it_did_last() {
    let name = "watching::a_rank_that_sleeps_is_named_with_what_it_did_last";
    let said = said_without(name, 3, 1, LIMIT, &[], |session| {
        session.collective().heartbeat().set_step(41);
        let _stage = session.collective().heartbeat().enter(Stage::Forward);
        sleep_for_ever();
    });
    assert_says(
        said,
        &[
            "rank 1 has not arrived: forward, step 41, for ",
            "all_gather (call 2 of control) on rank 0 of 3 has waited ",
            "NOT ARRIVED",
            "in all_gather, call 2",
            "after barrier, call 1",
        ],
    );
}

#[test]
fn a_rank_that_is_stopped_is_named() {
    let name = "watching::a_rank_that_is_stopped_is_named";
    let said = said_without(name, 3, 1, LIMIT, &[], |_| raise(Signal::SIGSTOP).unwrap());
    assert_says(said, &["rank 1 has not arrived: stopped (SIGSTOP), last seen in working, "]);
}

#[test]
fn a_rank_zero_that_is_stopped_is_named_by_another() {
    let name = "watching::a_rank_zero_that_is_stopped_is_named_by_another";
    let said = said_without(name, 3, 0, LIMIT, &[], |_| raise(Signal::SIGSTOP).unwrap());
    assert_says(
        said,
        &["rank 0 has not arrived: stopped (SIGSTOP)", "(call 2 of control) on rank 1 of 3 has waited"],
    );
}

/// Under a launcher that lets the others live, as SLURM may.
#[test]
fn a_rank_that_is_killed_is_named() {
    let name = "watching::a_rank_that_is_killed_is_named";
    let variables = [("OMPI_MCA_orte_enable_recovery", "1")];
    let said = said_without(name, 3, 1, 3 * LIMIT, &variables, |_| raise(Signal::SIGKILL).unwrap());
    assert_says(said, &["rank 1 is gone: process ", "process gone"]);
}

/// Nobody waits ten minutes for a process that is not there.
#[test]
fn a_process_that_is_gone_is_not_waited_for_to_the_limit() {
    let name = "watching::a_process_that_is_gone_is_not_waited_for_to_the_limit";
    let variables = [("OMPI_MCA_orte_enable_recovery", "1")];
    let said = said_without(name, 2, 1, 100 * LONG, &variables, |_| raise(Signal::SIGKILL).unwrap());
    assert_says(said, &["rank 1 is gone"]);
}

#[test]
fn ranks_that_call_different_things_are_named() {
    let name = "watching::ranks_that_call_different_things_are_named";
    let said = said_without(name, 2, 1, LIMIT, &[], |session| {
        let _ = session.collective().barrier();
    });
    assert_says(
        said,
        &[
            "the ranks have parted ways: rank 0 waits in all_gather (call 2 of control), rank 1 in barrier (call 2 of control)",
        ],
    );
}

#[test]
fn duplicates_are_watched_too() {
    const NAME: &str = "watching::duplicates_are_watched_too";
    if is_rank() {
        let session = connect_rank();
        let duplicate = session.duplicate().unwrap();
        let _watch = watch(&session, LIMIT, LONG);
        if session.world().rank == 0 {
            let _ = duplicate.broadcast(&mut [0; 1 << 20], 1);
        } else {
            let _ = session.collective().barrier();
        }
        sleep_for_ever();
    }
    let Some(output) = start(NAME, 2, &[]) else { return };
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_says(
        Some(said(&output)),
        &["rank 0 waits in broadcast (call 1 of tensors), rank 1 in barrier (call 2 of control)"],
    );
}

#[test]
fn the_job_ends_with_the_code_of_its_watchdog() {
    const NAME: &str = "watching::the_job_ends_with_the_code_of_its_watchdog";
    if is_rank() {
        let session = connect_rank();
        let _watch = watch(&session, LIMIT, LONG);
        if session.world().rank == 1 {
            raise(Signal::SIGSTOP).unwrap();
        }
        let _ = session.collective().barrier();
        sleep_for_ever();
    }
    let Some(output) = start(NAME, 2, &[]) else { return };
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
}

#[test]
fn work_of_a_rank_between_its_calls_trips_nobody() {
    in_worlds("watching::work_of_a_rank_between_its_calls_trips_nobody", &[1, 2], |session| {
        let watch = watch(session, LONG, LONG);
        for _ in 0..100 {
            session.collective().barrier().unwrap();
        }
        if session.world().is_main() {
            std::thread::sleep(LIMIT);
        }
        session.collective().barrier().unwrap();
        drop(watch);
    });
}

#[test]
fn announced_slow_work_trips_nobody() {
    in_worlds("watching::announced_slow_work_trips_nobody", &[2, 3], |session| {
        let _watch = watch(session, 3 * LIMIT, LONG);
        if session.world().is_main() {
            let _stage = session.collective().heartbeat().enter(Stage::Saving);
            std::thread::sleep(9 * LIMIT);
        }
        session.collective().barrier().unwrap();
    });
}

#[test]
fn slow_work_has_a_limit_of_its_own() {
    const NAME: &str = "watching::slow_work_has_a_limit_of_its_own";
    if is_rank() {
        let session = connect_rank();
        let _watch = watch(&session, LIMIT, 3 * LIMIT);
        if session.world().is_main() {
            let _stage = session.collective().heartbeat().enter(Stage::Saving);
            sleep_for_ever();
        }
        let _ = session.collective().barrier();
        panic!("the barrier was passed");
    }
    let Some(output) = start(NAME, 2, &[]) else { return };
    assert_says(
        Some(said(&output)),
        &["rank 0 has not arrived: saving, for ", "longer than `comm.slow_work_timeout_secs`"],
    );
}

#[test]
fn slow_work_of_a_process_that_is_stopped_is_none() {
    let name = "watching::slow_work_of_a_process_that_is_stopped_is_none";
    let said = said_without(name, 2, 0, LIMIT, &[], |session| {
        let _stage = session.collective().heartbeat().enter(Stage::Saving);
        raise(Signal::SIGSTOP).unwrap();
    });
    assert_says(said, &["rank 0 has not arrived: stopped (SIGSTOP), last seen in saving, "]);
}

/// Whatever ends the job early leaves no file behind, since the name is gone before the work begins.
#[test]
fn the_shared_memory_has_no_name() {
    in_worlds("watching::the_shared_memory_has_no_name", &[1, 3], |session| {
        session.collective().barrier().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let own: Vec<&str> = maps.lines().filter(|line| line.contains("dtrain-heartbeat-")).collect();
        assert!(!own.is_empty() && own.iter().all(|line| line.ends_with("(deleted)")), "{own:?}");
    });
}

/// A launcher that gives the job a folder may read there what a rank that was killed did last.
#[test]
fn in_a_folder_of_the_job_the_memory_keeps_its_name() {
    const NAME: &str = "watching::in_a_folder_of_the_job_the_memory_keeps_its_name";
    let folder = tempfile::tempdir().unwrap();
    if is_rank() {
        connect_rank().finalize().unwrap();
        return;
    }
    let variables = [("DTRAIN_JOB_DIR", folder.path().to_str().unwrap())];
    let Some(output) = start(NAME, 2, &variables) else { return };
    assert!(output.status.success(), "{}", text(&output));
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
