//! A rank that fails ends the job, and errors of MPI come back as values.

use dtrain_comm::{CommError, Session};

use crate::world::{connect_rank, in_worlds, is_rank, start, text};

/// Rank 1 of three fails in its own way while the others wait for it; returns the exit code of the job.
fn exit_code_when_rank_1(name: &str, fails: impl FnOnce(Session)) -> Option<i32> {
    if is_rank() {
        let session = connect_rank();
        if session.world().rank == 1 {
            fails(session);
        } else {
            let _ = session.collective().barrier();
            panic!("the barrier was passed without rank 1");
        }
        return None;
    }
    let output = start(name, 3, &[])?;
    assert!(!text(&output).contains("the barrier was passed"), "{}", text(&output));
    output.status.code()
}

#[test]
fn a_panic_ends_the_job() {
    let code = exit_code_when_rank_1("failing::a_panic_ends_the_job", |session| {
        let _session = session;
        panic!("as planned");
    });
    assert!(code.is_none_or(|code| code == 101), "{code:?}");
}

#[test]
fn abort_ends_the_job_with_its_code() {
    let code = exit_code_when_rank_1("failing::abort_ends_the_job_with_its_code", |session| session.abort(7));
    assert!(code.is_none_or(|code| code == 7), "{code:?}");
}

#[test]
fn abort_works_from_another_thread_while_this_one_waits() {
    let name = "failing::abort_works_from_another_thread_while_this_one_waits";
    let code = exit_code_when_rank_1(name, |session| {
        let handle = session.abort_handle();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            handle.abort(9);
        });
        // The others are in a barrier: a collective of another kind with them does not return.
        let _ = session.collective().all_gather(&[1], &[1; 3], &mut [0; 3]);
        loop {
            std::thread::park();
        }
    });
    assert!(code.is_none_or(|code| code == 9), "{code:?}");
}

#[test]
#[expect(clippy::exit, reason = "the end of a process is what is tested")]
fn a_process_that_exits_with_an_open_session_ends_the_job() {
    let name = "failing::a_process_that_exits_with_an_open_session_ends_the_job";
    let code = exit_code_when_rank_1(name, |session| {
        drop(session);
        std::process::exit(2);
    });
    assert!(code.is_none_or(|code| code == 2), "{code:?}");
}

#[test]
fn lengths_that_differ_between_ranks_are_a_typed_error() {
    const NAME: &str = "failing::lengths_that_differ_between_ranks_are_a_typed_error";
    in_worlds(NAME, &[2], |session| {
        let mut buffer = vec![0; if session.world().rank == 0 { 8 } else { 4 }];
        let result = session.collective().broadcast(&mut buffer, 0);
        if session.world().rank == 1 {
            let Err(CommError::Mpi { operation: "MPI_Bcast", rank: 1, count: 4, ref text, .. }) = result
            else {
                panic!("{result:?}");
            };
            assert!(text.contains("MPI_ERR_TRUNCATE"), "{text}");
        }
    });
}

#[test]
fn collectives_after_the_end_are_refused() {
    const NAME: &str = "failing::collectives_after_the_end_are_refused";
    if is_rank() {
        let session = connect_rank();
        let collective = session.collective().clone();
        let rank = session.world().rank;
        session.finalize().unwrap();
        assert_eq!(collective.barrier(), Err(CommError::Finalized { operation: "barrier", rank }));
    } else if let Some(output) = start(NAME, 2, &[]) {
        assert!(output.status.success(), "{}", text(&output));
    }
}
