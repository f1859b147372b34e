//! Events order the communication against the computation, both ways, and nothing else does.

use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use cudarc::driver::sys;
use dtrain_comm::{MemoryKind, ReduceOp, TensorOp, Transport};

use crate::standin::{NEVER, connect, installed, lend, start_in};
use crate::world::{connect_rank, is_rank, text};

const LEN: usize = 1000;

/// What a kernel of the computation does: waits until it may go on, then writes.
struct Producer {
    gate: Receiver<()>,
    values: *mut f32,
    value: f32,
}

/// A later kernel: copies what it sees.
struct Consumer {
    values: *const f32,
    seen: Sender<Vec<f32>>,
}

unsafe extern "C" fn produce(argument: *mut c_void) {
    // SAFETY: the box that `on_compute_stream` gave away.
    let producer = unsafe { Box::from_raw(argument.cast::<Producer>()) };
    producer.gate.recv().unwrap();
    for index in 0..LEN {
        // SAFETY: the test's vector has `LEN` values; under a correct order nobody else uses them now.
        unsafe { producer.values.add(index).write_volatile(producer.value) };
    }
}

unsafe extern "C" fn consume(argument: *mut c_void) {
    // SAFETY: the box that `on_compute_stream` gave away.
    let consumer = unsafe { Box::from_raw(argument.cast::<Consumer>()) };
    // SAFETY: as in `produce`.
    let read = |index| unsafe { consumer.values.add(index).read_volatile() };
    consumer.seen.send((0..LEN).map(read).collect()).unwrap();
}

fn on_compute_stream<T>(kernel: unsafe extern "C" fn(*mut c_void), argument: T) {
    let argument = Box::into_raw(Box::new(argument)).cast();
    // SAFETY: the kernel takes the box back; the context is current, since this thread has connected.
    let status = unsafe { sys::cuLaunchHostFunc(std::ptr::null_mut(), Some(kernel), argument) };
    assert_eq!(status, sys::CUresult::CUDA_SUCCESS);
}

/// What a consumer on the compute stream sees of an all-reduce of what a producer on it wrote.
fn consumed(ignore_waits: bool) -> (Vec<f32>, f32) {
    let session = connect_rank();
    let (rank, size) = (session.world().rank, session.world().world_size);
    let nccl = connect(&session, MemoryKind::Device, NEVER).unwrap();
    let mut values = vec![0.0_f32; LEN];
    let pointer = values.as_mut_ptr();
    let (open, gate) = channel();
    let (seen, result) = channel();
    on_compute_stream(produce, Producer { gate, values: pointer, value: (rank + 1) as f32 });
    // SAFETY: the values are kept until the consumer has run, and used on the compute stream only.
    let ticket = unsafe { nccl.start(TensorOp::AllReduce(ReduceOp::Sum), lend(&mut values)) }.unwrap();
    ticket.wait().unwrap();
    on_compute_stream(consume, Consumer { values: pointer, seen });
    // The host has waited for nothing so far: the producer has not even begun to write.
    assert!(result.try_recv().is_err());
    session.collective().barrier().unwrap();
    if ignore_waits {
        // Without its wait, the operation is complete before the producer writes.
        nccl.synchronize().unwrap();
        session.collective().barrier().unwrap();
    } else {
        // All ranks have started it, and an operation that did not wait would be complete long before.
        std::thread::sleep(Duration::from_millis(100));
    }
    open.send(()).unwrap();
    let seen = result.recv().unwrap();
    drop(nccl);
    session.finalize().unwrap();
    (seen, (1..=size).sum::<usize>() as f32)
}

#[test]
fn the_computation_before_and_after_is_ordered_without_the_host() {
    const NAME: &str = "nccl_ordering::the_computation_before_and_after_is_ordered_without_the_host";
    if is_rank() {
        let (seen, sum) = consumed(false);
        assert_eq!(seen, [sum; LEN]);
    } else if let Some(output) = start_in(&installed(), NAME, 2, &[("DTRAIN_STANDIN_LATENCY_US", "3000")]) {
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn without_the_waits_the_test_above_would_fail() {
    const NAME: &str = "nccl_ordering::without_the_waits_the_test_above_would_fail";
    if is_rank() {
        let (seen, sum) = consumed(true);
        assert_ne!(seen, [sum; LEN]);
    } else if let Some(output) = start_in(&installed(), NAME, 2, &[("DTRAIN_STANDIN_IGNORE_WAITS", "1")]) {
        assert!(output.status.success(), "{}", text(&output));
    }
}
