//! Where the ranks of a way live: threads of this process over its memory, or the processes of an MPI job over the
//! transport of the run.

use std::sync::Arc;
use std::thread;

use dtrain_comm::{Background, Collective, CommError, Single, local_world};

use super::batches::GlobalBatch;
use super::differences::Differences;
use super::training::{Reference, Setup, Steps};
use super::ways::Way;
use crate::engine::Ranks;
use crate::error::TrainError;

/// The ranks there are.
pub(super) enum World {
    /// As many as a way asks for, each a thread.
    Threads {
        /// Threads of libtorch that a rank alone takes.
        num_threads: usize,
    },
    /// The processes of the job.
    Processes {
        /// The run's transport.
        plain: Ranks,
        /// One that works beside the computation.
        background: Ranks,
    },
}

impl World {
    /// `ranks` are those of the run, which has `num_threads` threads for a rank.
    ///
    /// # Errors
    /// When MPI has no further communicator or the system no thread.
    pub(super) fn of(ranks: &Ranks, num_threads: usize) -> Result<Self, TrainError> {
        if ranks.is_alone() {
            return Ok(World::Threads { num_threads });
        }
        let background =
            if ranks.transport().is_asynchronous() { ranks.clone() } else { background(ranks.control())? };
        Ok(World::Processes { plain: ranks.clone(), background })
    }

    /// What the ranks are, in words.
    pub(super) fn name(&self) -> &'static str {
        match self {
            World::Threads { .. } => "threads",
            World::Processes { plain, .. } => plain.transport().backend().name(),
        }
    }

    /// Trains the reference, one rank; every process for itself.
    pub(super) fn record(
        &self,
        setup: &Setup,
        way: &Way,
        batches: &[GlobalBatch],
    ) -> Result<Reference, TrainError> {
        self.restore_threads();
        Reference::record(setup, way, alone(), share_of(0, setup, way, batches)?)
    }

    /// Trains `way` over its ranks and compares it with `reference`.
    pub(super) fn compare(
        &self,
        setup: &Setup,
        way: &Way,
        batches: &[GlobalBatch],
        reference: &Reference,
    ) -> Result<Differences, TrainError> {
        match self {
            _ if way.world_size == 1 => {
                self.restore_threads();
                reference.compare(setup, way, alone(), share_of(0, setup, way, batches)?)
            }
            World::Threads { num_threads } => {
                let num_threads = (num_threads / way.world_size).max(1);
                on_threads(setup, way, batches, reference, num_threads)
            }
            World::Processes { plain, background } => {
                let ranks = if way.overlap { background } else { plain };
                let steps = share_of(ranks.world().rank, setup, way, batches)?;
                reference.compare(setup, way, ranks.clone(), steps)
            }
        }
    }

    /// Ranks that are threads may have left other numbers in libtorch's libraries.
    fn restore_threads(&self) {
        if let World::Threads { num_threads } = self {
            tch::set_num_threads(*num_threads as i32);
        }
    }
}

fn alone() -> Ranks {
    let alone: Arc<dyn Collective> = Arc::new(Single::new());
    Ranks::inline(&alone)
}

fn background(collective: &Arc<dyn Collective>) -> Result<Ranks, TrainError> {
    let transport = Background::start(collective.another()?)?;
    Ok(Ranks::new(Arc::clone(collective), Arc::new(transport)))
}

fn share_of(rank: usize, setup: &Setup, way: &Way, batches: &[GlobalBatch]) -> Result<Steps, TrainError> {
    batches.iter().take(way.num_steps).map(|batch| batch.of_rank(way, rank, setup.device)).collect()
}

fn on_threads(
    setup: &Setup,
    way: &Way,
    batches: &[GlobalBatch],
    reference: &Reference,
    num_threads: usize,
) -> Result<Differences, TrainError> {
    let mut jobs = Vec::with_capacity(way.world_size);
    for collective in local_world(way.world_size) {
        let steps = share_of(collective.world().rank, setup, way, batches)?;
        jobs.push((collective, steps, reference.share()));
    }
    let results: Vec<Result<Differences, TrainError>> = thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .into_iter()
            .map(|(collective, steps, reference)| {
                let rank = collective.world().rank;
                // A rank whose thread does not start drops its collective, which ends the others.
                thread::Builder::new().name(format!("rank-{rank}")).spawn_scoped(scope, move || {
                    tch::set_num_threads(num_threads as i32);
                    let ranks =
                        if way.overlap { background(&collective)? } else { Ranks::inline(&collective) };
                    drop(collective);
                    reference.compare(setup, way, ranks, steps)
                })
            })
            .collect();
        let join = |thread: std::io::Result<thread::ScopedJoinHandle<'_, _>>| {
            thread?.join().unwrap_or_else(|_| Err(TrainError::internal("a rank panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    first_cause(results)
}

/// The result that all ranks share, or the reason of the rank that failed first: others only saw it leave.
fn first_cause(results: Vec<Result<Differences, TrainError>>) -> Result<Differences, TrainError> {
    let (mut shared, mut cause) = (None, None);
    for result in results {
        match (result, &cause) {
            (Ok(differences), _) => shared = Some(differences),
            (Err(error), None | Some(TrainError::Comm(CommError::PeerLeft { .. }))) => cause = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    match (cause, shared) {
        (Some(error), _) => Err(error),
        (None, Some(differences)) => Ok(differences),
        (None, None) => Err(TrainError::internal("a world without ranks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_that_failed_by_itself_gives_the_reason() {
        let left = || Err(CommError::PeerLeft { operation: "all_reduce", rank: 1, world_size: 3 }.into());
        let failed = || Err(TrainError::run("out of memory", "use less"));
        let message = |results| first_cause(results).unwrap_err().to_string();
        assert_eq!(message(vec![left(), failed(), left()]), "out of memory");
        assert_eq!(message(vec![failed(), left()]), "out of memory");
        assert!(message(vec![Ok(Differences::none(0)), left()]).contains("another rank has left"));
        assert_eq!(
            first_cause(vec![Ok(Differences::none(1)), Ok(Differences::none(1))]).unwrap(),
            Differences::none(1)
        );
    }
}
