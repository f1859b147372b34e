//! Which rank this process is, of how many, on which node.

use std::ffi::c_int;

use mpi::ffi;

use super::raw;
use crate::error::CommError;
use crate::hint::Hint;
use crate::world::World;

/// Spreads the ranks of one machine over nodes, for tests: the node of each rank, with commas between.
const TEST_NODES: &str = "DTRAIN_TEST_NODES";

pub(super) fn find_world(hint: &Hint, granted: c_int) -> Result<World, CommError> {
    let unknown = World { rank: hint.rank, ..World::of_one(hint.source) };
    // SAFETY: MPI was initialized by the caller; the handles are constants.
    let status = unsafe { ffi::MPI_Comm_set_errhandler(raw::comm_world(), ffi::RSMPI_ERRORS_RETURN) };
    raw::check(status, "MPI_Comm_set_errhandler", &unknown, 0)?;
    check_thread_level(granted)?;
    let (rank, world_size) = rank_and_size(&unknown)?;
    hint.check(rank, world_size)?;
    let world = World { rank, world_size, ..unknown };
    let (local_rank, local_size, leader) = find_node(&world)?;
    let mut leaders = vec![0_u64; world_size];
    let own = [leader];
    // SAFETY: MPI is running; `own` holds one element and `leaders` one for each rank.
    let status = unsafe {
        ffi::MPI_Allgather(
            own.as_ptr().cast(),
            1,
            ffi::RSMPI_UINT64_T,
            leaders.as_mut_ptr().cast(),
            1,
            ffi::RSMPI_UINT64_T,
            raw::comm_world(),
        )
    };
    raw::check(status, "MPI_Allgather", &world, 1)?;
    let (node, num_nodes) = node_index(leader, leaders);
    Ok(World { local_rank, local_size, node, num_nodes, ..world })
}

/// Local rank, local size, and the lowest rank on this node.
fn find_node(world: &World) -> Result<(usize, usize, u64), CommError> {
    let (mut machine, mut node) = (raw::comm_world(), raw::comm_world());
    let (mut local_rank, mut local_size): (c_int, c_int) = (0, 0);
    let mut leader = world.rank as u64;
    let part = test_node(world.rank);
    // SAFETY: MPI is running; all ranks make the same calls; `machine` and `node` are valid once the splits have
    // succeeded, and the pointers are to locals.
    unsafe {
        let status = ffi::MPI_Comm_split_type(
            raw::comm_world(),
            ffi::RSMPI_COMM_TYPE_SHARED,
            0,
            ffi::RSMPI_INFO_NULL,
            &raw mut machine,
        );
        raw::check(status, "MPI_Comm_split_type", world, 0)?;
        raw::check(ffi::MPI_Comm_split(machine, part, 0, &raw mut node), "MPI_Comm_split", world, 0)?;
        raw::check(ffi::MPI_Comm_rank(node, &raw mut local_rank), "MPI_Comm_rank", world, 0)?;
        raw::check(ffi::MPI_Comm_size(node, &raw mut local_size), "MPI_Comm_size", world, 0)?;
        let status = ffi::MPI_Bcast((&raw mut leader).cast(), 1, ffi::RSMPI_UINT64_T, 0, node);
        raw::check(status, "MPI_Bcast", world, 1)?;
        raw::check(ffi::MPI_Comm_free(&raw mut node), "MPI_Comm_free", world, 0)?;
        raw::check(ffi::MPI_Comm_free(&raw mut machine), "MPI_Comm_free", world, 0)?;
    }
    Ok((usize::try_from(local_rank).unwrap_or_default(), usize::try_from(local_size).unwrap_or(1), leader))
}

/// Which of a machine's pretended nodes a rank is on.
fn test_node(rank: usize) -> c_int {
    let nodes = std::env::var(TEST_NODES).unwrap_or_default();
    nodes
        .split(',')
        .nth(rank)
        .and_then(|node| node.trim().parse().ok())
        .filter(|&node| node >= 0)
        .unwrap_or(0)
}

fn node_index(leader: u64, mut leaders: Vec<u64>) -> (usize, usize) {
    leaders.sort_unstable();
    leaders.dedup();
    (leaders.binary_search(&leader).unwrap_or_default(), leaders.len())
}

pub(super) fn rank_and_size(world: &World) -> Result<(usize, usize), CommError> {
    let (mut rank, mut size): (c_int, c_int) = (0, 0);
    // SAFETY: MPI is running; the pointers are to locals.
    unsafe {
        raw::check(ffi::MPI_Comm_rank(raw::comm_world(), &raw mut rank), "MPI_Comm_rank", world, 0)?;
        raw::check(ffi::MPI_Comm_size(raw::comm_world(), &raw mut size), "MPI_Comm_size", world, 0)?;
    }
    Ok((usize::try_from(rank).unwrap_or_default(), usize::try_from(size).unwrap_or(1)))
}

fn check_thread_level(granted: c_int) -> Result<(), CommError> {
    // SAFETY: constants of the C library, defined once it is loaded.
    let (single, funneled, multiple) =
        unsafe { (ffi::RSMPI_THREAD_SINGLE, ffi::RSMPI_THREAD_FUNNELED, ffi::RSMPI_THREAD_MULTIPLE) };
    if granted >= multiple {
        return Ok(());
    }
    let granted = if granted == single {
        "MPI_THREAD_SINGLE"
    } else if granted == funneled {
        "MPI_THREAD_FUNNELED"
    } else {
        "MPI_THREAD_SERIALIZED"
    };
    Err(CommError::ThreadLevel { granted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_by_their_lowest_rank() {
        // Ranks 0, 2 on one node; 1, 3 on another; 4 alone.
        let leaders = vec![0, 1, 0, 1, 4];
        let nodes: Vec<_> = leaders.iter().map(|&leader| node_index(leader, leaders.clone())).collect();
        assert_eq!(nodes, [(0, 3), (1, 3), (0, 3), (1, 3), (2, 3)]);
    }
}
