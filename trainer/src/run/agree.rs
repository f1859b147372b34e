//! Errors that all ranks hear of before any of them ends, so that none waits for one that is gone.

use dtrain_comm::{Collective, CollectiveExt};
use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, TrainError};

/// A rank's error as the others hear it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    class: ErrorClass,
    message: String,
    hint: Option<String>,
}

impl Told {
    /// What the others need to know.
    pub fn of(error: &TrainError) -> Self {
        Self { class: error.class(), message: error.to_string(), hint: error.hint() }
    }
}

/// Lets all ranks go on, or none; the error of the lowest failing rank is everybody's.
pub fn agreed<T>(collective: &dyn Collective, local: Result<T, TrainError>) -> Result<T, TrainError> {
    let own = serde_json::to_vec(&local.as_ref().err().map(Told::of)).map_err(TrainError::internal)?;
    let mut told = Vec::with_capacity(collective.world().world_size);
    for bytes in collective.gather_bytes(&own)? {
        told.push(serde_json::from_slice::<Option<Told>>(&bytes).map_err(TrainError::internal)?);
    }
    settle(told, collective.world().rank, local)
}

/// As [`agreed`], once it is known what each rank told, in rank order.
pub fn settle<T>(
    told: impl IntoIterator<Item = Option<Told>>,
    own_rank: usize,
    local: Result<T, TrainError>,
) -> Result<T, TrainError> {
    let first = told.into_iter().enumerate().find_map(|(rank, told)| Some((rank, told?)));
    match (first, local) {
        (None, local) => local,
        (Some((rank, _)), Err(error)) if rank == own_rank => Err(error.known_to_all()),
        (Some((rank, Told { class, message, hint })), _) => {
            Err(TrainError::OtherRank { rank, class, message, hint })
        }
    }
}

/// Rank 0's work, of whose failure all ranks hear.
///
/// # Errors
/// That of `work`, on all ranks.
pub(crate) fn on_rank_0(
    collective: &dyn Collective,
    work: impl FnOnce() -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    agreed(collective, if collective.world().rank == 0 { work() } else { Ok(()) })
}

/// What rank 0 answers, on all ranks.
///
/// # Errors
/// What the transport reports.
pub(crate) fn rank_0_says(collective: &dyn Collective, here: bool) -> Result<bool, TrainError> {
    Ok(collective.broadcast_bytes(vec![u8::from(here)], 0)? == [1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_failing_rank_speaks_for_all() {
        let error = |name: &str| TrainError::config(format!("{name} is wrong"), "fix it");
        let told = [None, Some(Told::of(&error("a"))), Some(Told::of(&error("b")))];
        let locals = [Ok(()), Err(error("a")), Err(error("b"))];
        for (rank, (local, expected)) in
            locals.into_iter().zip(["a is wrong (rank 1)", "a is wrong", "a is wrong (rank 1)"]).enumerate()
        {
            let heard = settle(told.clone(), rank, local).unwrap_err();
            assert_eq!(heard.to_string(), expected);
            assert_eq!((heard.hint().as_deref(), heard.class()), (Some("fix it"), ErrorClass::Config));
            assert!(heard.is_agreed());
        }
        assert_eq!(settle([None, None], 1, Ok(7)).unwrap(), 7);
    }
}
