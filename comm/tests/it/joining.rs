//! Who am I, with MPI and without.

use dtrain_comm::{CommError, Hint, Source, connect, connect_mpi};

use crate::world::{connect_rank, in_worlds, is_rank, start, text};

#[test]
fn ranks_know_their_place() {
    in_worlds("joining::ranks_know_their_place", &[1, 2, 3, 4], |session| {
        let variable = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
        let world = session.world();
        assert_eq!(world.rank, variable("OMPI_COMM_WORLD_RANK"));
        assert_eq!(world.world_size, variable("OMPI_COMM_WORLD_SIZE"));
        assert_eq!(world.local_rank, variable("OMPI_COMM_WORLD_LOCAL_RANK"));
        assert_eq!(world.local_size, variable("OMPI_COMM_WORLD_LOCAL_SIZE"));
        assert_eq!((world.node, world.num_nodes, world.source), (0, 1, Source::OpenMpi));
        assert_eq!(session.warnings(), []);
    });
}

#[test]
fn one_process_does_not_touch_mpi() {
    let session = connect().unwrap();
    assert_eq!((session.world().rank, session.world().world_size), (0, 1));
    let mut initialized = 0;
    // SAFETY: allowed at any time; the pointer is to a local.
    unsafe { mpi::ffi::MPI_Initialized(&raw mut initialized) };
    assert_eq!(initialized, 0);
    session.duplicate().unwrap().barrier().unwrap();
    session.finalize().unwrap();
}

#[test]
fn another_world_than_the_launcher_started_is_refused() {
    const NAME: &str = "joining::another_world_than_the_launcher_started_is_refused";
    if !is_rank() {
        let Some(output) = start(NAME, 1, &[]) else { return };
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    // What a task of `srun -n4` sees when its PMIx does not fit that of MPI.
    let hint = Hint {
        rank: 2,
        world_size: Some(4),
        local_rank: None,
        local_size: None,
        source: Source::Slurm,
        can_connect: true,
    };
    let unconnected = connect_mpi(&Hint { can_connect: false, ..hint.clone() }).unwrap_err();
    assert_eq!(unconnected, CommError::NoProcessManager { tasks: 4 });
    let mismatch = connect_mpi(&hint).unwrap_err();
    assert_eq!(mismatch.to_string(), "`srun` started rank 2 of 4, but MPI sees rank 0 of 1");
    // MPI has been finalized, so that the launcher has no reason to complain.
}

#[test]
fn mpi_is_initialized_once() {
    in_worlds("joining::mpi_is_initialized_once", &[2], |_session| {
        let hint = Hint::from_environment(&|name| std::env::var(name).ok()).unwrap();
        assert_eq!(connect_mpi(&hint).unwrap_err(), CommError::AlreadyInitialized);
    });
}

#[test]
fn connecting_late_warns_about_spinning() {
    const NAME: &str = "joining::connecting_late_warns_about_spinning";
    if is_rank() {
        // The test harness has started threads before.
        let session = connect_rank();
        assert!(session.warnings()[0].hint.contains("OMPI_MCA_mpi_yield_when_idle=1"));
        session.finalize().unwrap();
    } else if let Some(output) = start(NAME, 2, &[("OMPI_MCA_mpi_yield_when_idle", "")]) {
        assert!(output.status.success(), "{}", text(&output));
    }
}
