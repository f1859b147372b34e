//! Memory goes back to its owner when nothing of NCCL writes it any more, whatever went wrong.

use std::time::Duration;

use dtrain_comm::{CommError, MemoryKind, ReduceOp, TensorOp, Transport};

use crate::standin::{NEVER, connect, function, installed, lend, start_in, with_standin};
use crate::watching::sleep_for_ever;
use crate::world::{connect_rank, is_rank, text};

const SUM: TensorOp = TensorOp::AllReduce(ReduceOp::Sum);
/// A slow wire, so that operations are under way when the wait for them begins.
const LATENCY: [(&str, &str); 1] = [("DTRAIN_STANDIN_LATENCY_US", "200000")];
const OWN: f32 = -1.0;

/// What the memory of an operation holds some time after its ticket was dropped on a thread that has lost its context and
/// the owner has written it.
fn written_after_a_lost_context(test: &str, memory: MemoryKind) {
    with_standin(test, &[2], &LATENCY, |session| {
        // SAFETY: its type in the stand-in.
        let fail = unsafe { function::<extern "C" fn(u32)>("dtrainStandinFailContexts") };
        let nccl = connect(session, memory, NEVER).unwrap();
        let mut values = vec![1.0_f32; 1000];
        // SAFETY: the values are kept until the end; the ticket's wait gives them back.
        let ticket = unsafe { nccl.start(SUM, lend(&mut values)) }.unwrap();
        fail(1);
        let error = ticket.wait().unwrap_err();
        assert!(matches!(error, CommError::Cuda { operation: "cuCtxSetCurrent", .. }), "{error:?}");
        values.fill(OWN);
        std::thread::sleep(Duration::from_millis(400));
        assert!(values.iter().all(|&value| value == OWN), "NCCL has written memory that was given back");
        assert_eq!(nccl.synchronize(), Err(error));
        session.collective().barrier().unwrap();
    });
}

#[test]
fn a_ticket_on_a_thread_without_context_waits_all_the_same() {
    let name = "nccl_memory::a_ticket_on_a_thread_without_context_waits_all_the_same";
    written_after_a_lost_context(name, MemoryKind::Device);
}

#[test]
fn a_ticket_for_the_host_on_a_thread_without_context_waits_all_the_same() {
    let name = "nccl_memory::a_ticket_for_the_host_on_a_thread_without_context_waits_all_the_same";
    written_after_a_lost_context(name, MemoryKind::Host);
}

/// The call fails, since it finds the error of an operation before it; what it has put on the stream is not left there.
#[test]
fn a_launch_that_fails_leaves_nothing_on_the_stream() {
    let name = "nccl_memory::a_launch_that_fails_leaves_nothing_on_the_stream";
    with_standin(name, &[2], &LATENCY, |session| {
        let rank = session.world().rank;
        let nccl = connect(session, MemoryKind::Host, NEVER).unwrap();
        let mut first = vec![1.0_f32; 10 + rank];
        // SAFETY: the values are kept until the end.
        let ticket = unsafe { nccl.start(SUM, lend(&mut first)) };
        let mut failed = ticket.is_err();
        let mut others = vec![vec![1.0_f32; 10]; 20];
        for values in &mut others {
            // SAFETY: as above.
            let result = unsafe { nccl.start(SUM, lend(values)) };
            failed |= result.is_err();
            drop(result);
            values.fill(OWN);
        }
        assert!(failed, "no launch failed");
        std::thread::sleep(Duration::from_millis(400));
        assert!(others.iter().flatten().all(|&value| value == OWN));
        session.collective().barrier().unwrap();
    });
}

/// Whatever the process would do next, memory that looks free may be written under it.
#[test]
fn a_process_in_which_nccl_does_not_let_go_ends() {
    const NAME: &str = "nccl_memory::a_process_in_which_nccl_does_not_let_go_ends";
    if is_rank() {
        let session = connect_rank();
        let nccl = connect(&session, MemoryKind::Host, Duration::from_secs(1)).unwrap();
        if session.world().rank == 1 {
            sleep_for_ever();
        }
        let mut values = vec![1.0_f32; 10];
        // SAFETY: the values are kept until the ticket is done, which is never.
        let ticket = unsafe { nccl.start(SUM, lend(&mut values)) }.unwrap();
        println!("\nthe wait came back: {:?}", ticket.wait());
        return;
    }
    let Some(output) = start_in(&installed(), NAME, 2, &[("DTRAIN_STANDIN_ABORT_HANGS", "1")]) else {
        return;
    };
    let text = text(&output);
    assert!(text.contains("signal 9") && !text.contains("the wait came back"), "{text}");
}
