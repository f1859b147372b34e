//! Collectives from several threads, each with its own communicator.

use dtrain_comm::{Background, Buffer, CollectiveExt, ElementKind, ReduceOp, TensorOp, Transport};

use crate::world::in_worlds;

#[test]
fn the_communication_thread_reduces_while_the_main_thread_talks() {
    in_worlds(
        "threading::the_communication_thread_reduces_while_the_main_thread_talks",
        &[1, 2, 3],
        |session| {
            let (rank, size) = (session.world().rank, session.world().world_size);
            let thread = Background::start(session.duplicate().unwrap()).unwrap();
            for round in 0..5_usize {
                let mut buckets: Vec<Vec<f32>> =
                    (0..4).map(|bucket| vec![(rank + bucket + round) as f32; 5000]).collect();
                let tickets: Vec<_> = buckets
                    .iter_mut()
                    // SAFETY: the buckets outlive the tickets and are read after them.
                    .map(|bucket| unsafe {
                        let memory = bucket.as_mut_ptr().cast();
                        let buffer = Buffer::from_raw(memory, bucket.len(), ElementKind::F32);
                        thread.start(TensorOp::AllReduce(ReduceOp::Sum), buffer).unwrap()
                    })
                    .collect();
                let ranks = session.collective().all_gather_usize(rank).unwrap();
                assert_eq!(ranks, (0..size).collect::<Vec<_>>());
                for ticket in tickets {
                    ticket.wait().unwrap();
                }
                for (bucket, values) in buckets.iter().enumerate() {
                    let sum: usize = (0..size).map(|rank| rank + bucket + round).sum();
                    assert!(
                        values.iter().all(|&value| value == sum as f32),
                        "round {round}, bucket {bucket}"
                    );
                }
            }
        },
    );
}

#[test]
fn collectives_of_different_threads_do_not_mix() {
    in_worlds("threading::collectives_of_different_threads_do_not_mix", &[2, 3], |session| {
        let size = session.world().world_size;
        let duplicates: Vec<_> = (0..3).map(|_| session.duplicate().unwrap()).collect();
        std::thread::scope(|scope| {
            for (index, collective) in duplicates.iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..50 {
                        let mut value = [(index * 1000 + round) as u64];
                        collective.all_reduce(Buffer::from(&mut value[..]), ReduceOp::Sum).unwrap();
                        assert_eq!(value, [(size * (index * 1000 + round)) as u64]);
                    }
                });
            }
        });
    });
}
