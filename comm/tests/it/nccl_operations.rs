//! Every operation of the NCCL transport against MPI.

use std::sync::Arc;

use dtrain_comm::{
    Backend, CollectiveExt, Inline, MemoryKind, NcclTransport, ReduceOp, Session, TensorOp, Ticket, Transport,
};

use crate::standin::{Element, NEVER, connect, lend, with_standin};

const SIZES: [usize; 3] = [1, 2, 4];

/// Values small enough for sums of four in a byte, different on each rank.
fn values<T: Element>(rank: usize, len: usize) -> Vec<T> {
    (0..len).map(|index| T::of((rank * 37 + index * 11 + index / 7) % 50)).collect()
}

fn start<T: Element>(transport: &dyn Transport, op: &TensorOp, values: &mut [T]) -> Ticket {
    // SAFETY: the callers keep the values until the ticket is done.
    unsafe { transport.start(op.clone(), lend(values)) }.unwrap()
}

/// The part of the buffer that `op` defines.
fn defined<'a, T>(op: &TensorOp, session: &Session, values: &'a [T]) -> &'a [T] {
    let (rank, size) = (session.world().rank, session.world().world_size);
    match op {
        TensorOp::ReduceScatter => {
            let part = values.len() / size;
            &values[rank * part..(rank + 1) * part]
        }
        _ => values,
    }
}

/// Operations that fit about `len` elements, with the length that they take.
fn operations(size: usize, len: usize) -> Vec<(TensorOp, usize)> {
    let uneven: Vec<usize> = (0..size).map(|rank| if rank % 2 == 0 { len } else { rank }).collect();
    let total = uneven.iter().sum();
    vec![
        (TensorOp::AllReduce(ReduceOp::Sum), len),
        (TensorOp::AllReduce(ReduceOp::Max), len),
        (TensorOp::AllReduce(ReduceOp::Min), len),
        (TensorOp::ReduceScatter, len * size),
        (TensorOp::AllGather { counts: vec![len; size] }, len * size),
        (TensorOp::AllGather { counts: uneven }, total),
        (TensorOp::Broadcast { root: size - 1 }, len),
    ]
}

fn check_all<T: Element>(session: &Session, nccl: &NcclTransport, len: usize) {
    let world = session.world();
    let mpi = Inline::new(session.collective().clone());
    for (op, len) in operations(world.world_size, len) {
        let (mut ours, mut theirs) = (values::<T>(world.rank, len), values::<T>(world.rank, len));
        start(nccl, &op, &mut ours).wait().unwrap();
        nccl.synchronize().unwrap();
        start(&mpi, &op, &mut theirs).wait().unwrap();
        let [ours, theirs] = [&ours, &theirs].map(|values| defined(&op, session, values));
        assert_eq!(ours, theirs, "{op:?} of {len} {:?}", T::KIND);
    }
}

#[test]
fn every_operation_on_every_kind_is_what_mpi_computes() {
    let name = "nccl_operations::every_operation_on_every_kind_is_what_mpi_computes";
    with_standin(name, &SIZES, &[], |session| {
        for memory in [MemoryKind::Host, MemoryKind::Device] {
            let nccl = connect(session, memory, NEVER).unwrap();
            assert_eq!((nccl.backend(), nccl.is_asynchronous()), (Backend::Nccl, true));
            assert_eq!(nccl.world(), session.world());
            for len in [0, 1, 7, 1003] {
                check_all::<f32>(session, &nccl, len);
                check_all::<f64>(session, &nccl, len);
                check_all::<i32>(session, &nccl, len);
                check_all::<i64>(session, &nccl, len);
                check_all::<u64>(session, &nccl, len);
                check_all::<u8>(session, &nccl, len);
            }
            // Longer than the stand-in's windows.
            check_all::<f32>(session, &nccl, 400_003);
        }
    });
}

#[test]
fn groups_do_what_their_operations_do_one_by_one_in_whatever_order() {
    let name = "nccl_operations::groups_do_what_their_operations_do_one_by_one_in_whatever_order";
    with_standin(
        name,
        &[2, 3],
        &[("DTRAIN_STANDIN_SEED", "5"), ("DTRAIN_STANDIN_LATENCY_US", "200")],
        |session| {
            let world = session.world();
            let nccl = connect(session, MemoryKind::Host, NEVER).unwrap();
            let mpi = Inline::new(session.collective().clone());
            for round in 0..10 {
                let operations = operations(world.world_size, 13 * round);
                let mut ours: Vec<_> =
                    operations.iter().map(|(_, len)| values::<f32>(world.rank, *len)).collect();
                let mut theirs = ours.clone();
                for (transport, all) in [(&nccl as &dyn Transport, &mut ours), (&mpi, &mut theirs)] {
                    let lent = operations.iter().zip(all).map(|((op, _), values)| (op.clone(), lend(values)));
                    // SAFETY: the values are kept and untouched until the ticket is done.
                    unsafe { transport.start_group(lent.collect()) }.unwrap().wait().unwrap();
                }
                for (((op, _), ours), theirs) in operations.iter().zip(&ours).zip(&theirs) {
                    assert_eq!(
                        defined(op, session, ours),
                        defined(op, session, theirs),
                        "{op:?} in round {round}"
                    );
                }
            }
        },
    );
}

#[test]
fn operations_in_flight_keep_their_order_whoever_starts_and_waits() {
    let name = "nccl_operations::operations_in_flight_keep_their_order_whoever_starts_and_waits";
    with_standin(name, &[2, 4], &[("DTRAIN_STANDIN_LATENCY_US", "300")], |session| {
        let (rank, size) = (session.world().rank, session.world().world_size);
        let nccl = Arc::new(connect(session, MemoryKind::Host, NEVER).unwrap());
        let mut buckets: Vec<Vec<f32>> =
            (0..40).map(|bucket| vec![(rank + bucket) as f32; 100 + bucket]).collect();
        // One thread after the other starts its half, as hooks of a backward pass do; another waits, last first.
        let (first, second) = buckets.split_at_mut(20);
        let mut tickets: Vec<Ticket> = Vec::new();
        for half in [first, second] {
            let nccl = nccl.clone();
            let started = std::thread::scope(|scope| {
                let sum = TensorOp::AllReduce(ReduceOp::Sum);
                let starter =
                    scope.spawn(move || half.iter_mut().map(|bucket| start(&*nccl, &sum, bucket)).collect());
                let started: Vec<Ticket> = starter.join().unwrap();
                started
            });
            tickets.extend(started);
        }
        // The control plane goes on meanwhile.
        assert_eq!(session.collective().all_gather_usize(rank).unwrap(), (0..size).collect::<Vec<_>>());
        std::thread::spawn(move || tickets.into_iter().rev().for_each(|ticket| ticket.wait().unwrap()))
            .join()
            .unwrap();
        for (bucket, values) in buckets.iter().enumerate() {
            let sum: usize = (0..size).map(|rank| rank + bucket).sum();
            assert!(values.iter().all(|&value| value == sum as f32), "bucket {bucket}");
        }
    });
}

#[test]
fn the_bare_calls_are_sums_too() {
    with_standin("nccl_operations::the_bare_calls_are_sums_too", &[1, 3], &[], |session| {
        let (rank, size) = (session.world().rank, session.world().world_size);
        let nccl = connect(session, MemoryKind::Host, NEVER).unwrap();
        let expected: Vec<f32> =
            (0..999).map(|index| (0..size).map(|rank| rank + index).sum::<usize>() as f32).collect();
        let own = || (0..999).map(|index| (rank + index) as f32).collect::<Vec<f32>>();
        let (mut over_nccl, mut over_mpi) = (own(), own());
        // SAFETY: the values are kept until the call returns.
        unsafe { nccl.bare_all_reduce(lend(&mut over_nccl)) }.unwrap();
        session.bare_all_reduce(&mut over_mpi).unwrap();
        assert_eq!((over_nccl, over_mpi), (expected.clone(), expected));
    });
}
