//! Every collective against what one process computes from the data of all ranks.

use dtrain_comm::{Buffer, Collective, CommError, MpiCollective, ReduceOp, Session};

use crate::world::{connect_rank, in_worlds, is_rank, start, text};

const SIZES: [usize; 4] = [1, 2, 3, 4];
const OPERATIONS: [ReduceOp; 3] = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min];

/// The collectives of the session, and the same with messages cut into pieces of 64 bytes and of one element.
fn chunked(session: &Session) -> Vec<(String, std::sync::Arc<dyn Collective>)> {
    let mut all = vec![("whole".to_owned(), session.collective().clone())];
    for bytes in [64, 1] {
        let duplicate: MpiCollective = session.duplicate_mpi().unwrap().unwrap();
        all.push((
            format!("chunks of {bytes} bytes"),
            std::sync::Arc::new(duplicate.with_max_chunk_bytes(bytes)),
        ));
    }
    all
}

/// Small whole numbers, so that sums are exact in every type, different on each rank and at each index.
fn number(rank: usize, index: usize) -> u8 {
    ((rank * 37 + index * 11 + index / 7) % 50) as u8
}

fn expected(op: ReduceOp, world_size: usize, index: usize) -> u8 {
    let all = (0..world_size).map(|rank| number(rank, index));
    match op {
        ReduceOp::Sum => all.sum(),
        ReduceOp::Max => all.max().unwrap(),
        ReduceOp::Min => all.min().unwrap(),
    }
}

#[test]
fn all_reduce_is_the_reduction_in_one_process() {
    in_worlds("operations::all_reduce_is_the_reduction_in_one_process", &SIZES, |session| {
        let world = session.world();
        for (name, collective) in chunked(session) {
            macro_rules! check {
                ($element:ty) => {
                    for op in OPERATIONS {
                        for len in [0_usize, 1, 2, 16, 17, 1003] {
                            let own = |index| number(world.rank, index) as $element;
                            let mut values: Vec<$element> = (0..len).map(own).collect();
                            collective.all_reduce(Buffer::from(&mut values[..]), op).unwrap();
                            let oracle: Vec<_> = (0..len)
                                .map(|index| expected(op, world.world_size, index) as $element)
                                .collect();
                            assert_eq!(values, oracle, "{op:?} of {len} {} in {name}", stringify!($element));
                        }
                    }
                };
            }
            check!(f32);
            check!(f64);
            check!(i32);
            check!(i64);
            check!(u64);
            check!(u8);
        }
    });
}

#[test]
fn negative_and_wide_integers_keep_their_meaning() {
    in_worlds("operations::negative_and_wide_integers_keep_their_meaning", &[2, 3], |session| {
        let (rank, size) = (session.world().rank, session.world().world_size);
        let mut signed = [-(rank as i64) - 1, i64::MIN + rank as i64];
        session.collective().all_reduce(Buffer::from(&mut signed[..]), ReduceOp::Max).unwrap();
        assert_eq!(signed, [-1, i64::MIN + size as i64 - 1]);
        let mut unsigned = [u64::MAX - rank as u64, rank as u64];
        session.collective().all_reduce(Buffer::from(&mut unsigned[..]), ReduceOp::Max).unwrap();
        assert_eq!(unsigned, [u64::MAX, size as u64 - 1]);
    });
}

/// Numbers whose sum depends on the order of summation.
fn rough(rank: usize, index: usize) -> f32 {
    let bits = (rank as u32 * 0x9e37_79b9) ^ (index as u32).wrapping_mul(0x85eb_ca6b);
    (bits.wrapping_mul(0xc2b2_ae35) >> 8) as f32 / 1000.0 - 8000.0
}

/// Sums of several lengths, below and above the thresholds at which Open MPI changes its algorithm.
fn rough_sums(session: &Session) -> Vec<f32> {
    let mut sums = Vec::new();
    for len in [1, 33, 2500, 3 << 18] {
        let mut values: Vec<f32> = (0..len).map(|index| rough(session.world().rank, index)).collect();
        session.collective().all_reduce(Buffer::from(&mut values[..]), ReduceOp::Sum).unwrap();
        sums.append(&mut values);
    }
    sums
}

fn fingerprint(values: &[f32]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn sums_have_the_same_bits_on_all_ranks_and_in_every_run() {
    const NAME: &str = "operations::sums_have_the_same_bits_on_all_ranks_and_in_every_run";
    if is_rank() {
        let session = connect_rank();
        let hash = fingerprint(&rough_sums(&session));
        for _ in 0..3 {
            assert_eq!(fingerprint(&rough_sums(&session)), hash, "repeated in the same run");
        }
        println!("\nbits={hash:016x}=");
        session.finalize().unwrap();
        return;
    }
    for size in [2, 3, 4] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let Some(output) = start(NAME, size, &[]) else { return };
            assert!(output.status.success(), "{}", text(&output));
            let text = text(&output);
            let hashes: Vec<String> =
                text.split("bits=").skip(1).filter_map(|rest| Some(rest.get(..16)?.to_owned())).collect();
            assert_eq!(hashes.len(), size, "{text}");
            seen.extend(hashes);
        }
        assert!(seen.iter().all(|hash| *hash == seen[0]), "{size} ranks: {seen:?}");
    }
}

#[test]
fn all_gather_puts_uneven_parts_in_the_order_of_ranks() {
    in_worlds("operations::all_gather_puts_uneven_parts_in_the_order_of_ranks", &SIZES, |session| {
        let world = session.world();
        let part = |rank: usize, count: usize| -> Vec<u8> { (0..count).map(|i| number(rank, i)).collect() };
        type Counts = fn(usize, usize) -> usize;
        let cases: [Counts; 5] = [
            |_, _| 0,
            |_, _| 8,
            |rank, _| 13 * rank,
            |rank, size| if rank + 1 == size { 201 } else { 0 },
            |rank, _| if rank == 0 { 1 } else { 65 },
        ];
        for (name, collective) in chunked(session) {
            for (index, case) in cases.iter().enumerate() {
                let counts: Vec<usize> =
                    (0..world.world_size).map(|rank| case(rank, world.world_size)).collect();
                let mut recv = vec![0xff; counts.iter().sum()];
                collective.all_gather(&part(world.rank, counts[world.rank]), &counts, &mut recv).unwrap();
                let oracle: Vec<u8> =
                    counts.iter().enumerate().flat_map(|(rank, &count)| part(rank, count)).collect();
                assert_eq!(recv, oracle, "case {index} in {name}");
            }
        }
    });
}

#[test]
fn reduce_scatter_leaves_each_rank_its_part_of_the_reduction() {
    const NAME: &str = "operations::reduce_scatter_leaves_each_rank_its_part_of_the_reduction";
    in_worlds(NAME, &SIZES, |session| {
        let world = session.world();
        for (name, collective) in chunked(session) {
            macro_rules! check {
                ($element:ty) => {
                    for op in OPERATIONS {
                        for part in [0_usize, 1, 5, 16, 17, 301] {
                            let len = part * world.world_size;
                            let own = |index| number(world.rank, index) as $element;
                            let mut values: Vec<$element> = (0..len).map(own).collect();
                            collective.reduce_scatter(Buffer::from(&mut values[..]), op).unwrap();
                            let range = world.rank * part..(world.rank + 1) * part;
                            let oracle: Vec<_> = range
                                .clone()
                                .map(|index| expected(op, world.world_size, index) as $element)
                                .collect();
                            assert_eq!(
                                values[range],
                                oracle,
                                "{op:?} of {len} {} in {name}",
                                stringify!($element)
                            );
                        }
                    }
                };
            }
            check!(f32);
            check!(f64);
            check!(i32);
            check!(i64);
            check!(u64);
            check!(u8);
        }
    });
}

#[test]
fn all_gather_in_place_fills_in_the_parts_of_the_others() {
    in_worlds("operations::all_gather_in_place_fills_in_the_parts_of_the_others", &SIZES, |session| {
        let world = session.world();
        type Counts = fn(usize, usize) -> usize;
        let cases: [Counts; 5] = [
            |_, _| 0,
            |_, _| 8,
            |rank, _| 13 * rank,
            |rank, size| if rank + 1 == size { 201 } else { 0 },
            |rank, _| if rank == 0 { 1 } else { 65 },
        ];
        for (name, collective) in chunked(session) {
            for (index, case) in cases.iter().enumerate() {
                let counts: Vec<usize> =
                    (0..world.world_size).map(|rank| case(rank, world.world_size)).collect();
                let owners: Vec<usize> =
                    counts.iter().enumerate().flat_map(|(rank, &count)| vec![rank; count]).collect();
                let oracle: Vec<f64> =
                    owners.iter().enumerate().map(|(index, &rank)| f64::from(number(rank, index))).collect();
                let mut values: Vec<f64> = oracle
                    .iter()
                    .zip(&owners)
                    .map(|(&value, &rank)| if rank == world.rank { value } else { f64::NAN })
                    .collect();
                collective.all_gather_in_place(Buffer::from(&mut values[..]), &counts).unwrap();
                assert_eq!(values, oracle, "case {index} in {name}");
            }
        }
    });
}

#[test]
fn broadcast_copies_from_any_root() {
    in_worlds("operations::broadcast_copies_from_any_root", &SIZES, |session| {
        let world = session.world();
        for (name, collective) in chunked(session) {
            for root in 0..world.world_size {
                for len in [0, 1, 64, 65, 1000] {
                    let mut buffer: Vec<u8> = (0..len).map(|index| number(world.rank, index)).collect();
                    collective.broadcast(&mut buffer, root).unwrap();
                    let oracle: Vec<u8> = (0..len).map(|index| number(root, index)).collect();
                    assert_eq!(buffer, oracle, "{len} bytes from {root} in {name}");
                }
            }
            collective.barrier().unwrap();
        }
    });
}

#[test]
fn arguments_that_do_not_fit_are_refused_before_mpi_is_called() {
    in_worlds("operations::arguments_that_do_not_fit_are_refused_before_mpi_is_called", &[2], |session| {
        let collective = session.collective();
        // On one rank only: had MPI been called, it would wait for the other.
        if session.world().rank == 1 {
            let wrong = [
                collective.all_gather(&[1], &[1, 1], &mut [0]),
                collective.all_gather(&[1], &[1, 2], &mut [0; 3]),
                collective.all_gather(&[1], &[1], &mut [0]),
                collective.all_gather(&[1], &[usize::MAX, 1], &mut [0; 2]),
                collective.broadcast(&mut [], 2),
                collective.reduce_scatter(Buffer::from(&mut [0_f32; 3][..]), ReduceOp::Sum),
                collective.all_gather_in_place(Buffer::from(&mut [0_f32; 3][..]), &[1, 1]),
                collective.all_gather_in_place(Buffer::from(&mut [0_f32; 3][..]), &[3]),
            ];
            for result in wrong {
                assert!(
                    matches!(result, Err(CommError::Argument { rank: 1, world_size: 2, .. })),
                    "{result:?}"
                );
            }
        }
        collective.barrier().unwrap();
    });
}
