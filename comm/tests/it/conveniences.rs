//! What is built on the four operations.

use dtrain_comm::{CollectiveExt, Disagreement, plan_threads};

use crate::world::in_worlds;

#[test]
fn messages_of_any_length_reach_everybody() {
    in_worlds("conveniences::messages_of_any_length_reach_everybody", &[1, 2, 3, 4], |session| {
        let (rank, size) = (session.world().rank, session.world().world_size);
        let collective = &**session.collective();
        let squares: Vec<usize> = (0..size).map(|rank| rank * rank).collect();
        assert_eq!(collective.all_gather_usize(rank * rank).unwrap(), squares);

        let message = |rank: usize| vec![rank as u8 + 1; 7 * rank];
        let expected: Vec<Vec<u8>> = (0..size).map(message).collect();
        assert_eq!(collective.gather_bytes(&message(rank)).unwrap(), expected);

        for root in 0..size {
            assert_eq!(collective.broadcast_bytes(message(rank), root).unwrap(), message(root));
        }

        let mut values = [rank as f64, 0.5, -1.0];
        collective.sum_f64(&mut values).unwrap();
        let size = size as f64;
        assert_eq!(values, [size * (size - 1.0) / 2.0, size / 2.0, -size]);
        collective.sum_f64(&mut []).unwrap();
    });
}

#[test]
fn a_failure_of_one_rank_is_known_to_all() {
    in_worlds("conveniences::a_failure_of_one_rank_is_known_to_all", &[1, 2, 4], |session| {
        let (rank, size) = (session.world().rank, session.world().world_size);
        let collective = &**session.collective();
        assert_eq!(collective.agree(Ok::<_, String>(rank)), Ok(rank));
        assert!(!collective.all_true(rank != 0).unwrap());
        assert!(collective.all_true(true).unwrap());

        let local = if rank == size - 1 { Err("disk full") } else { Ok(()) };
        let Err(Disagreement::Failed(failures)) = collective.agree(local) else {
            panic!("rank {rank} went on")
        };
        assert_eq!(failures.causes.len(), 1);
        assert_eq!(failures.causes[0].ranks, [size - 1]);

        let everywhere = collective.agree(Err::<(), _>("no such file")).unwrap_err();
        assert_eq!(everywhere.to_string(), "no such file");
    });
}

#[test]
fn unbound_local_ranks_divide_the_machine() {
    in_worlds("conveniences::unbound_local_ranks_divide_the_machine", &[2, 3], |session| {
        let plan = plan_threads(&**session.collective()).unwrap();
        let share = (plan.num_allowed / session.world().world_size).max(1);
        assert!(plan.num_threads <= share && plan.num_threads >= 1, "{plan:?}");
    });
}
