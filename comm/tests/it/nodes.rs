//! News between nodes: what a rank of another node does is known, and what is not heard of is said to be so.

use std::time::Duration;

use dtrain_comm::{CommError, Session, Stage, Stall, WatchOptions};
use nix::sys::signal::{Signal, raise};

use crate::world::{connect_rank, in_worlds_with, is_rank, start, text};

/// Longer than it takes for news to be old.
const LIMIT: Duration = Duration::from_secs(6);
const LONG: Duration = Duration::from_secs(60);

/// Two nodes of two ranks.
const NODES: [(&str, &str); 1] = [("DTRAIN_TEST_NODES", "0,0,1,1")];

fn options(limit: Duration) -> WatchOptions {
    WatchOptions { limit, slow_limit: LONG, connect_limit: limit, interface: None }
}

fn end(session: &Session) -> impl Fn(Stall) + Send + 'static {
    let abort = session.abort_handle();
    move |stall| {
        if stall.speaks {
            println!("\nstuck: {stall}\nthe end");
        }
        abort.abort(3)
    }
}

/// What is said when `is_lost` keeps some of four ranks on two nodes from a barrier.
fn said(name: &str, is_lost: impl FnOnce(&Session)) -> Option<String> {
    if is_rank() {
        let session = connect_rank();
        let _watch = session.watch(&options(LIMIT), end(&session)).unwrap();
        is_lost(&session);
        let _ = session.collective().barrier();
        panic!("the barrier was passed");
    }
    let output = start(name, 4, &NODES)?;
    let text = text(&output);
    let said: Vec<&str> =
        text.split("stuck: ").skip(1).filter_map(|rest| rest.split("\nthe end").next()).collect();
    assert_eq!(said.len(), 1, "{text}");
    said.first().map(|said| (*said).to_owned())
}

#[track_caller]
fn assert_says(said: Option<String>, parts: &[&str]) {
    let Some(said) = said else { return };
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn ranks_of_one_machine_can_be_spread_over_nodes() {
    let name = "nodes::ranks_of_one_machine_can_be_spread_over_nodes";
    in_worlds_with(name, &[4], &NODES, |session| {
        let world = session.world();
        let (node, local) = (world.rank / 2, world.rank % 2);
        assert_eq!((world.node, world.num_nodes, world.local_rank, world.local_size), (node, 2, local, 2));
    });
}

#[test]
fn what_a_rank_of_another_node_does_is_known() {
    let said = said("nodes::what_a_rank_of_another_node_does_is_known", |session| {
        if session.world().rank == 3 {
            session.collective().heartbeat().set_step(7);
            let _stage = session.collective().heartbeat().enter(Stage::Data);
            loop {
                std::thread::park();
            }
        }
    });
    assert_says(
        said,
        &["rank 3 has not arrived: waiting for a batch, step 7, for ", "on rank 0 of 4 has waited "],
    );
}

#[test]
fn a_stopped_rank_of_another_node_is_known_to_be_stopped() {
    let said = said("nodes::a_stopped_rank_of_another_node_is_known_to_be_stopped", |session| {
        if session.world().rank == 3 {
            raise(Signal::SIGSTOP).unwrap();
        }
    });
    assert_says(said, &["rank 3 has not arrived: stopped (SIGSTOP)"]);
}

#[test]
fn a_node_that_is_not_heard_of_is_named() {
    let said = said("nodes::a_node_that_is_not_heard_of_is_named", |session| {
        if session.world().node == 1 {
            // News have come before.
            std::thread::sleep(Duration::from_secs(2));
            raise(Signal::SIGSTOP).unwrap();
        }
    });
    assert_says(said, &["ranks 2-3 on ", " (node 1) not heard of for ", "node silent"]);
}

/// The news pass through rank 0, which is stopped: its own node knows, and the other one lets it speak.
#[test]
fn a_stopped_rank_zero_is_named_by_its_own_node() {
    let said = said("nodes::a_stopped_rank_zero_is_named_by_its_own_node", |session| {
        if session.world().rank == 0 {
            std::thread::sleep(Duration::from_secs(2));
            raise(Signal::SIGSTOP).unwrap();
        }
    });
    assert_says(said, &["rank 0 has not arrived: stopped (SIGSTOP)", "on rank 1 of 4 has waited"]);
}

#[test]
fn the_node_of_rank_zero_is_named_when_it_is_lost() {
    let said = said("nodes::the_node_of_rank_zero_is_named_when_it_is_lost", |session| {
        if session.world().node == 0 {
            std::thread::sleep(Duration::from_secs(2));
            raise(Signal::SIGSTOP).unwrap();
        }
    });
    assert_says(said, &["ranks 0-1 on ", " (node 0) not heard of for ", "on rank 2 of 4 has waited"]);
}

#[test]
fn slow_work_on_another_node_trips_nobody() {
    in_worlds_with("nodes::slow_work_on_another_node_trips_nobody", &[4], &NODES, |session| {
        let limit = Duration::from_secs(3);
        let _watch = session.watch(&options(limit), |stall| panic!("{stall}")).unwrap();
        if session.world().rank == 3 {
            let _stage = session.collective().heartbeat().enter(Stage::Evaluating);
            std::thread::sleep(3 * limit);
        }
        session.collective().barrier().unwrap();
    });
}

#[test]
fn an_interface_that_is_not_there_is_an_error_of_all_ranks() {
    let name = "nodes::an_interface_that_is_not_there_is_an_error_of_all_ranks";
    in_worlds_with(name, &[4], &NODES, |session| {
        let options = WatchOptions { interface: Some("no-such".into()), ..options(LIMIT) };
        let error = session.watch(&options, |stall| panic!("{stall}")).unwrap_err();
        let CommError::NoInterface { name, known } = error else { panic!("{error:?}") };
        assert_eq!(name, "no-such");
        assert!(known.split(", ").any(|name| name == "lo"), "{known}");
    });
}
