//! What goes wrong around NCCL is a typed error within the limit, on every rank.

use std::sync::Arc;
use std::time::Duration;

use dtrain_comm::{
    CollectiveExt, CommError, MemoryKind, NcclTransport, ReduceOp, Session, TensorOp, Ticket, Transport,
};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

use crate::standin::{NEVER, connect, installed, lend, options, start_in, with_standin};
use crate::world::{connect_rank, is_rank, text};

/// Long enough to connect and for an operation on a busy machine.
const LIMIT: Duration = Duration::from_secs(2);
const SUM: TensorOp = TensorOp::AllReduce(ReduceOp::Sum);

fn start(nccl: &NcclTransport, op: TensorOp, values: &mut [f32]) -> Result<Ticket, CommError> {
    // SAFETY: the callers keep the values until the ticket is done.
    unsafe { nccl.start(op, lend(values)) }
}

/// The error of an operation that cannot end well, from its start or its wait.
fn failed(result: Result<Ticket, CommError>) -> CommError {
    result.and_then(Ticket::wait).unwrap_err()
}

/// The error of connecting with the given device, which all ranks get.
fn refused(session: &Session, device: usize, memory: MemoryKind) -> CommError {
    NcclTransport::connect(session.collective(), options(device, memory, NEVER)).unwrap_err()
}

#[test]
fn operations_that_differ_between_ranks_are_named() {
    let name = "nccl_failing::operations_that_differ_between_ranks_are_named";
    with_standin(name, &[2, 3], &[], |session| {
        let rank = session.world().rank;
        for case in 0..4 {
            let nccl = connect(session, MemoryKind::Host, NEVER).unwrap();
            let mut values = vec![1.0_f32; 8];
            start(&nccl, SUM, &mut values).unwrap().wait().unwrap();
            let result = match (case, rank) {
                (0, 1) => start(&nccl, SUM, &mut values[..4]),
                (1, 1) => {
                    let mut wide = vec![1.0_f64; 8];
                    // SAFETY: kept until the ticket, which is waited for here, is done.
                    let wait = unsafe { nccl.start(SUM, lend(&mut wide)) }.and_then(Ticket::wait);
                    Err(wait.unwrap_err())
                }
                (2, 1) => start(&nccl, TensorOp::AllReduce(ReduceOp::Max), &mut values),
                (3, 1) => start(&nccl, TensorOp::Broadcast { root: 0 }, &mut values),
                (_, _) => start(&nccl, SUM, &mut values),
            };
            let error = failed(result);
            let CommError::Nccl { number: 2, ref text, code: 5, .. } = error else { panic!("{error:?}") };
            let differs =
                ["all_reduce (sum) of 4 float32", "float64", "all_reduce (max)", "broadcast from 0"][case];
            // Each rank names itself and the first that differs from it.
            let other = if rank == 1 { 0 } else { 1 };
            assert!(text.contains(&format!("rank {rank} calls ")), "{text}");
            assert!(text.contains(&format!("rank {other} calls ")), "{text}");
            assert!(text.contains(differs) && text.contains("all_reduce (sum) of 8 float32"), "{text}");
            assert!(text.contains("as operation 1"), "{text}");
            // The same error from now on.
            assert_eq!(failed(start(&nccl, SUM, &mut values)), error);
            assert_eq!(nccl.synchronize(), Err(error));
            session.collective().barrier().unwrap();
        }
    });
}

#[test]
fn two_ranks_on_one_gpu_are_refused_by_name() {
    let name = "nccl_failing::two_ranks_on_one_gpu_are_refused_by_name";
    with_standin(name, &[3], &[], |session| {
        // The stand-in's devices are none for the computation.
        assert_eq!(dtrain_comm::gpus().unwrap_err().to_string(), "the CUDA driver sees no GPU");
        let error = refused(session, session.world().rank / 2, MemoryKind::Host);
        assert!(error.is_environment());
        assert_eq!(
            error.to_string(),
            "ranks 0 and 1 both use GPU-64747261-696e-2d73-7461-6e64696e0000 of one node"
        );
    });
}

#[test]
fn ranks_that_pretend_to_be_on_different_hosts_share_a_gpu() {
    let name = "nccl_failing::ranks_that_pretend_to_be_on_different_hosts_share_a_gpu";
    with_standin(name, &[2], &[], |session| {
        let rank = session.world().rank;
        // SAFETY: the harness's main thread only waits for this one.
        unsafe { std::env::set_var("NCCL_HOSTID", format!("host-{rank}")) };
        let options = options(0, MemoryKind::Host, NEVER);
        let nccl = NcclTransport::connect(session.collective(), options).unwrap();
        let mut values = [rank as f32, 1.0];
        start(&nccl, SUM, &mut values).unwrap().wait().unwrap();
        assert_eq!(values, [1.0, 2.0]);
    });
}

#[test]
fn a_device_that_is_not_there_is_known_to_all_ranks() {
    let name = "nccl_failing::a_device_that_is_not_there_is_known_to_all_ranks";
    with_standin(name, &[2], &[("DTRAIN_STANDIN_DEVICES", "1")], |session| {
        let rank = session.world().rank;
        let error = refused(session, rank, MemoryKind::Host);
        assert!(error.is_environment());
        let message = "rank 1 is to use GPU 1, but this process sees 1 GPU, and its node has 2 ranks";
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("start one process per GPU")));
        assert_eq!(matches!(error, CommError::OtherRanks { .. }), rank == 0);
    });
}

#[test]
fn versions_that_will_not_do_are_refused() {
    const NAME: &str = "nccl_failing::versions_that_will_not_do_are_refused";
    let expected = [
        ("21809", "NCCL 2.18.9 is not supported, dtrain needs 2.19 or a newer 2.x"),
        ("30000", "NCCL 3.0.0 is not supported, dtrain needs 2.19 or a newer 2.x"),
        ("22809", "NCCL 2.28.9 cannot reach tensors in host memory"),
    ];
    if is_rank() {
        let session = connect_rank();
        let error = refused(&session, 0, MemoryKind::Host);
        let version = std::env::var("DTRAIN_STANDIN_VERSION").unwrap();
        let (_, message) = expected.iter().find(|(code, _)| *code == version).unwrap();
        assert_eq!(error.to_string(), *message);
        assert!(error.is_environment() && error.hint().is_some());
        session.finalize().unwrap();
        return;
    }
    let dir = installed();
    for (version, _) in expected {
        let Some(output) = start_in(&dir, NAME, 1, &[("DTRAIN_STANDIN_VERSION", version)]) else { return };
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn libraries_that_are_not_there_or_broken_are_named_in_one_line() {
    const NAME: &str = "nccl_failing::libraries_that_are_not_there_or_broken_are_named_in_one_line";
    const BROKEN: &str = "BROKEN_LIBRARY";
    if is_rank() {
        let session = connect_rank();
        let error = refused(&session, 0, MemoryKind::Host);
        let CommError::Library { library, .. } = error else { panic!("{error:?}") };
        assert_eq!(library, std::env::var(BROKEN).unwrap());
        assert!(!error.to_string().contains('\n') && error.hint().is_some(), "{error}");
        assert!(error.is_environment());
        session.finalize().unwrap();
        return;
    }
    let cases =
        [("NCCL", ["libnccl.so", "libnccl.so.2"]), ("the CUDA driver", ["libcuda.so", "libcuda.so.1"])];
    for (library, files) in cases {
        let dir = installed();
        for file in files {
            std::fs::remove_file(dir.path().join(file)).unwrap();
            std::fs::write(dir.path().join(file), "no library").unwrap();
        }
        let Some(output) = start_in(&dir, NAME, 1, &[(BROKEN, library)]) else { return };
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_rank_that_does_not_come_ends_the_wait_of_the_others() {
    let name = "nccl_failing::a_rank_that_does_not_come_ends_the_wait_of_the_others";
    with_standin(name, &[3], &[], |session| {
        let (rank, world_size) = (session.world().rank, session.world().world_size);
        let nccl = connect(session, MemoryKind::Host, LIMIT).unwrap();
        let mut values = vec![rank as f32; 100];
        if rank != 1 {
            // Two are under way: the first is the one that is told.
            let mut others = vec![0.0; 7];
            let first = start(&nccl, SUM, &mut values).unwrap();
            let second = start(&nccl, SUM, &mut others);
            let error = first.wait().unwrap_err();
            let CommError::TimedOut { operation: "all_reduce", number: 1, count: 100, waited, .. } = error
            else {
                panic!("{error:?}")
            };
            assert!(waited > LIMIT && !error.is_environment());
            let start = format!(
                "all_reduce (operation 1, 100 elements) on rank {rank} of {world_size} was not complete"
            );
            assert!(error.to_string().starts_with(&start), "{error}");
            assert_eq!(failed(second), error);
        }
        session.collective().barrier().unwrap();
    });
}

#[test]
#[expect(clippy::exit, reason = "the end of a process is what is tested")]
fn a_process_that_is_gone_ends_the_wait_of_the_others() {
    const NAME: &str = "nccl_failing::a_process_that_is_gone_ends_the_wait_of_the_others";
    if is_rank() {
        let session = connect_rank();
        let nccl = connect(&session, MemoryKind::Host, LIMIT).unwrap();
        if session.world().rank == 1 {
            std::process::exit(0);
        }
        let error = failed(start(&nccl, SUM, &mut [1.0; 4]));
        println!("\nended: {error}");
        std::process::exit(0);
    }
    // A launcher that lets the others live, as SLURM may; Open MPI then ends with 0 itself.
    let variables = [("OMPI_MCA_orte_enable_recovery", "1")];
    let Some(output) = start_in(&installed(), NAME, 2, &variables) else { return };
    let text = text(&output);
    assert!(
        text.contains("ended: all_reduce (operation 1, 4 elements) on rank 0 of 2 was not complete"),
        "{text}"
    );
}

#[test]
fn a_rank_that_is_stopped_ends_the_wait_of_the_others() {
    let name = "nccl_failing::a_rank_that_is_stopped_ends_the_wait_of_the_others";
    with_standin(name, &[2], &[], |session| {
        let rank = session.world().rank;
        let processes = session.collective().all_gather_usize(std::process::id() as usize).unwrap();
        let nccl = connect(session, MemoryKind::Host, LIMIT).unwrap();
        let mut values = vec![1.0; 100];
        if rank == 1 {
            raise(Signal::SIGSTOP).unwrap();
        }
        let error = failed(start(&nccl, SUM, &mut values));
        assert!(matches!(error, CommError::TimedOut { number: 1, .. }), "{error:?}");
        if rank == 0 {
            kill(Pid::from_raw(i32::try_from(processes[1]).unwrap()), Signal::SIGCONT).unwrap();
        }
        session.collective().barrier().unwrap();
    });
}

#[test]
fn a_wait_for_the_own_computation_is_not_one_for_other_ranks() {
    let name = "nccl_failing::a_wait_for_the_own_computation_is_not_one_for_other_ranks";
    with_standin(name, &[2], &[], |session| {
        use cudarc::driver::sys::{CUresult, cuLaunchHostFunc};
        unsafe extern "C" fn compute(_: *mut std::ffi::c_void) {
            std::thread::sleep(2 * LIMIT);
        }
        let nccl = connect(session, MemoryKind::Device, LIMIT).unwrap();
        // SAFETY: the context is current, since this thread has connected.
        let status = unsafe { cuLaunchHostFunc(std::ptr::null_mut(), Some(compute), std::ptr::null_mut()) };
        assert_eq!(status, CUresult::CUDA_SUCCESS);
        let mut values = vec![1.0; 3];
        start(&nccl, SUM, &mut values).unwrap().wait().unwrap();
        nccl.synchronize().unwrap();
        assert_eq!(values, [2.0; 3]);
    });
}

#[test]
fn abort_ends_a_wait_on_another_thread() {
    with_standin("nccl_failing::abort_ends_a_wait_on_another_thread", &[2], &[], |session| {
        let rank = session.world().rank;
        let nccl = Arc::new(connect(session, MemoryKind::Host, NEVER).unwrap());
        if rank == 0 {
            let own = nccl.clone();
            let waiting = std::thread::spawn(move || {
                let mut values = vec![1.0; 5];
                failed(start(&own, SUM, &mut values))
            });
            std::thread::sleep(Duration::from_millis(100));
            nccl.abort();
            let aborted = CommError::Aborted { rank: 0, world_size: 2 };
            assert_eq!(waiting.join().unwrap(), aborted);
            assert_eq!(nccl.synchronize(), Err(aborted));
        } else {
            nccl.abort();
        }
        session.collective().barrier().unwrap();
    });
}

#[test]
fn the_end_does_not_wait_for_ever_for_a_rank_that_stays() {
    let name = "nccl_failing::the_end_does_not_wait_for_ever_for_a_rank_that_stays";
    with_standin(name, &[2], &[], |session| {
        let nccl = connect(session, MemoryKind::Host, LIMIT).unwrap();
        let mut values = vec![1.0; 5];
        start(&nccl, SUM, &mut values).unwrap().wait().unwrap();
        if session.world().rank == 0 {
            drop(nccl);
            session.collective().barrier().unwrap();
        } else {
            // The other rank has left, which this one meets at its own end.
            session.collective().barrier().unwrap();
            drop(nccl);
        }
    });
}
