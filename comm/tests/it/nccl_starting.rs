//! How ranks meet over NCCL: connections are made at the start, who does not come is named, and the host never waits for a
//! launch.

use std::time::Duration;

use dtrain_comm::{
    CommError, MemoryKind, NcclOptions, NcclTransport, ReduceOp, Session, TensorOp, Transport,
};
use nix::sys::signal::{Signal, raise};

use crate::standin::{NEVER, connect, function, installed, lend, options, start_in, with_standin};
use crate::watching::{said, sleep_for_ever, watch};
use crate::world::{connect_rank, is_rank, text};

const SUM: TensorOp = TensorOp::AllReduce(ReduceOp::Sum);
/// What the session's watchdog allows a collective.
const LIMIT: Duration = Duration::from_secs(1);
/// After the limit, the ranks that wait are to speak within it.
const SPOKEN: f64 = 5.0;

/// Both ranks have connected under a watchdog; rank 1 is lost, and rank 0 does what never comes back.
fn without_rank_1(next: impl FnOnce(NcclTransport)) -> ! {
    let session = connect_rank();
    let nccl = connect(&session, MemoryKind::Device, NEVER).unwrap();
    let _watch = watch(&session, LIMIT, NEVER);
    if session.world().rank == 1 {
        sleep_for_ever();
    }
    next(nccl);
    panic!("rank 0 went on alone");
}

/// What a step of a network with synchronized batch norm starts: a small sum per layer and direction, and buckets.
fn step(nccl: &NcclTransport) {
    let (mut sums, mut bucket) = (vec![1.0_f64; 129], vec![1.0_f32; 10_000]);
    for layer in 0..108 {
        // SAFETY: the values are kept until the ticket, which is waited for here, is done.
        unsafe { nccl.start(SUM, lend(&mut sums)) }.unwrap().wait().unwrap();
        if layer % 20 == 0 {
            // SAFETY: as above.
            unsafe { nccl.start(SUM, lend(&mut bucket)) }.unwrap().wait().unwrap();
        }
    }
    nccl.synchronize().unwrap();
}

/// A call takes 300 us. Blocking, that is the call's own time, which is NCCL's to shorten; not blocking, the host polls for
/// NCCL's thread at each of the 114 operations.
#[test]
fn a_step_waits_for_no_launch_unless_nccl_is_told_not_to_block() {
    const NAME: &str = "nccl_starting::a_step_waits_for_no_launch_unless_nccl_is_told_not_to_block";
    if is_rank() {
        let session = connect_rank();
        for blocking in [true, false] {
            let options =
                NcclOptions { blocking, ..options(session.world().local_rank, MemoryKind::Device, NEVER) };
            let nccl = NcclTransport::connect(session.collective(), options).unwrap();
            step(&nccl);
            assert_eq!(nccl.host_waits(), if blocking { 0 } else { 114 });
        }
        session.finalize().unwrap();
        return;
    }
    let Some(output) = start_in(&installed(), NAME, 2, &[("DTRAIN_STANDIN_CALL_US", "300")]) else { return };
    assert!(output.status.success(), "{}", text(&output));
}

/// NCCL obeys its variable before the configuration, and so must whoever calls it.
#[test]
fn the_user_s_own_variable_decides_how_nccl_is_called() {
    const NAME: &str = "nccl_starting::the_user_s_own_variable_decides_how_nccl_is_called";
    if is_rank() {
        let session = connect_rank();
        let nccl = connect(&session, MemoryKind::Host, NEVER).unwrap();
        step(&nccl);
        assert_eq!(nccl.host_waits(), 114);
        drop(nccl);
        session.finalize().unwrap();
        return;
    }
    let Some(output) = start_in(&installed(), NAME, 2, &[("NCCL_COMM_BLOCKING", "0")]) else { return };
    assert!(output.status.success(), "{}", text(&output));
}

/// NCCL connects lazily; nothing that a run does is left for the middle of a step.
#[test]
fn every_kind_and_size_is_connected_at_the_start() {
    let name = "nccl_starting::every_kind_and_size_is_connected_at_the_start";
    with_standin(name, &[2, 3], &[("NCCL_RUNTIME_CONNECT", "1")], |session| {
        let size = session.world().world_size;
        // SAFETY: its type in the stand-in.
        let connections = unsafe { function::<extern "C" fn() -> u64>("dtrainStandinConnections") };
        let largest = 8 << 20;
        let own = options(session.world().local_rank, MemoryKind::Host, NEVER);
        let options = NcclOptions { largest_bytes: largest, ..own };
        let nccl = NcclTransport::connect(session.collective(), options).unwrap();
        let before = connections();
        assert!(before >= 12, "{before} connections at the start");
        for bytes in [8, 1000, 40_000, 300_000, 5 << 20, largest] {
            let part = bytes / size_of::<f64>() / size + 1;
            for op in [
                SUM,
                TensorOp::AllReduce(ReduceOp::Max),
                TensorOp::ReduceScatter,
                TensorOp::AllGather { counts: vec![part; size] },
                TensorOp::AllGather {
                    counts: (0..size).map(|rank| if rank == 0 { part * size } else { 0 }).collect(),
                },
                TensorOp::Broadcast { root: size - 1 },
            ] {
                let mut values = vec![1.0_f64; part * size];
                // SAFETY: the values are kept until the ticket, which is waited for here, is done.
                unsafe { nccl.start(op, lend(&mut values)) }.unwrap().wait().unwrap();
            }
        }
        assert_eq!(connections(), before);
    });
}

/// Rank 0 hangs inside NCCL's call, which connects; the table still says who is missing.
#[test]
fn a_rank_that_never_comes_to_the_first_collective_is_named() {
    const NAME: &str = "nccl_starting::a_rank_that_never_comes_to_the_first_collective_is_named";
    if is_rank() {
        without_rank_1(|nccl| {
            let mut values = vec![1.0_f32; 10];
            // SAFETY: the values are kept for ever.
            let result = unsafe { nccl.start(SUM, lend(&mut values)) };
            panic!("the launch came back: {result:?}");
        });
    }
    for blocking in ["1", "0"] {
        let variables = [("DTRAIN_STANDIN_CONNECTS_ALWAYS", "1"), ("NCCL_COMM_BLOCKING", blocking)];
        let Some(output) = start_in(&installed(), NAME, 2, &variables) else { return };
        names_rank_1(&said(&output), "all_reduce (call 2 of NCCL) on rank 0 of 2 has waited ");
    }
}

/// The end is for all ranks too.
#[test]
fn a_rank_that_never_comes_to_the_end_is_named() {
    const NAME: &str = "nccl_starting::a_rank_that_never_comes_to_the_end_is_named";
    if is_rank() {
        without_rank_1(drop);
    }
    let Some(output) = start_in(&installed(), NAME, 2, &[]) else { return };
    names_rank_1(&said(&output), "finalize (call 2 of NCCL) on rank 0 of 2 has waited ");
}

/// Rank 1 is stopped while the ranks connect.
#[test]
fn a_rank_that_does_not_connect_is_named() {
    const NAME: &str = "nccl_starting::a_rank_that_does_not_connect_is_named";
    if is_rank() {
        let session = connect_rank();
        let _watch = watch(&session, LIMIT, NEVER);
        if session.world().rank == 1 {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                raise(Signal::SIGSTOP).unwrap();
            });
        }
        let result = connect(&session, MemoryKind::Device, NEVER);
        panic!("the ranks have connected: {result:?}");
    }
    // A wire on which the first collectives take longer than it takes to stop rank 1.
    let Some(output) = start_in(&installed(), NAME, 2, &[("DTRAIN_STANDIN_LATENCY_US", "200000")]) else {
        return;
    };
    let said = said(&output);
    names_rank_1(&said, "connect (call 1 of NCCL) on rank 0 of 2 has waited ");
    assert!(said.contains("stopped (SIGSTOP) inside the call, last seen in connecting over NCCL"), "{said}");
}

/// The table names rank 1, and was written soon after the limit.
#[track_caller]
fn names_rank_1(said: &str, wait: &str) {
    assert!(said.starts_with("rank 1 "), "{said}");
    let waited = said.split(wait).nth(1).and_then(|rest| rest.split(" s\n").next());
    let waited: f64 = waited.unwrap_or_else(|| panic!("`{wait}` is not in:\n{said}")).parse().unwrap();
    assert!(waited < LIMIT.as_secs_f64() + SPOKEN, "{said}");
}

/// The others wait inside NCCL for a rank that has an error to tell, and hear of it at once.
#[test]
fn a_rank_that_cannot_connect_ends_the_wait_of_the_others_with_its_reason() {
    let name = "nccl_starting::a_rank_that_cannot_connect_ends_the_wait_of_the_others_with_its_reason";
    with_standin(name, &[3], &[("DTRAIN_STANDIN_FAILING_RANK", "1")], |session: &Session| {
        let error = connect(session, MemoryKind::Host, NEVER).unwrap_err();
        assert!(error.is_environment(), "{error:?}");
        let own = session.world().rank == 1;
        assert_eq!(matches!(error, CommError::Nccl { code: 2, .. }), own, "{error:?}");
        let reason = "ncclCommInitRankConfig on rank 1 of 3: unhandled system error";
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains("No network interface was found"), "{error}");
    });
}
