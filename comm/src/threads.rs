//! How many threads a rank may use: its share of the cores that the launcher bound it to.
//!
//! `mpirun` binds up to two ranks to one core each and more ranks to a socket each, so that neither the number of
//! cores of the machine nor the size of the affinity mask alone is right.

use std::collections::BTreeSet;

use crate::collective::Collective;
use crate::error::CommError;
use crate::ext::CollectiveExt;
use crate::warning::Warning;

/// Linux supports up to 8192 processors; a longer list is not one.
const MAX_CORES: usize = 1 << 16;

/// Threads for this rank, and what is odd about the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Threads for computation on this rank, at least 1.
    pub num_threads: usize,
    /// Cores that this rank may use, shared or not.
    pub num_allowed: usize,
    /// Set when the launcher bound this rank to a single core of a machine that has many for it, or when there are more
    /// ranks than cores.
    pub warning: Option<Warning>,
}

/// Exchanges the affinity masks of all ranks and gives this one its share; all ranks call it.
///
/// # Errors
/// What the transport reports.
pub fn plan_threads(collective: &dyn Collective) -> Result<ThreadPlan, CommError> {
    let world = collective.world();
    let own = allowed_cores();
    let mut message = (world.node as u64).to_ne_bytes().to_vec();
    message.extend(own.iter().flat_map(|&core| (core as u64).to_ne_bytes()));
    let messages = collective.gather_bytes(&message)?;
    let local: Vec<Vec<usize>> =
        messages.iter().filter_map(|bytes| cores_on_node(bytes, world.node)).collect();
    let quota = std::thread::available_parallelism().map_or(own.len(), usize::from);
    Ok(plan(&own, &local, quota, online_cores()))
}

/// The processors that this process may run on, ascending: its affinity mask.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(parse_cores).unwrap_or_else(|| {
        // No `/proc`: as many as the standard library knows of.
        (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
    })
}

/// The share of a rank that may use the processors `own`, while the ranks on its node, this one included, may use
/// `local`: each processor is divided by the ranks that share it. At least 1.
#[must_use]
pub fn threads_for(own: &[usize], local: &[Vec<usize>]) -> usize {
    let share = |core: &usize| {
        let num_sharers = local.iter().filter(|mask| mask.contains(core)).count();
        1.0 / num_sharers.max(1) as f64
    };
    // A little more than the sum, since a third three times is not quite 1.
    let threads = own.iter().map(share).sum::<f64>() + 1e-6;
    (threads as usize).max(1)
}

/// `quota` is what a container allows all ranks of the node together, `online` the size of the machine.
fn plan(own: &[usize], local: &[Vec<usize>], quota: usize, online: usize) -> ThreadPlan {
    let num_ranks = local.len().max(1);
    let mut num_threads = threads_for(own, local);
    if quota < own.len() {
        num_threads = num_threads.min((quota / num_ranks).max(1));
    }
    let fair = online / num_ranks;
    let warning = (own.len() == 1 && fair > 1).then(|| Warning {
        what: format!("this rank is bound to one of {online} cores, which {num_ranks} local ranks could share"),
        hint: "start with `mpirun --bind-to none` or `srun --cpus-per-task=N`; `trainer.threads=1` silences this"
            .to_owned(),
    });
    ThreadPlan { num_threads, num_allowed: own.len(), warning: warning.or_else(|| crowded(local)) }
}

/// Set when the node has more ranks than cores for them.
fn crowded(local: &[Vec<usize>]) -> Option<Warning> {
    let num_ranks = local.len();
    let num_cores = local.iter().flatten().collect::<BTreeSet<_>>().len();
    (num_ranks > num_cores).then(|| Warning {
        what: format!("{num_ranks} local ranks take turns on {num_cores} cores"),
        hint: format!(
            "at most {num_cores} ranks per machine would be faster; `trainer.threads=1` silences this"
        ),
    })
}

/// The mask in a message of [`plan_threads`], if it comes from `node`.
fn cores_on_node(bytes: &[u8], node: usize) -> Option<Vec<usize>> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|bytes| u64::from_ne_bytes(*bytes) as usize);
    (numbers.next()? == node).then(|| numbers.collect())
}

/// Processors of the machine, whoever may use them.
fn online_cores() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    parse_cores(&list).map_or(1, |cores| cores.len())
}

/// The processors of a list such as `0-3,8`; `None` for anything else.
fn parse_cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for span in list.trim().split(',') {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if last < first || last >= MAX_CORES {
            return None;
        }
        cores.extend(first..=last);
        if cores.len() > MAX_CORES {
            return None;
        }
    }
    cores.sort_unstable();
    cores.dedup();
    Some(cores)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::single::Single;

    fn mask(cores: std::ops::Range<usize>) -> Vec<usize> {
        cores.collect()
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse_cores("\t0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cores("5"), Some(vec![5]));
        for garbage in ["", "3-1", "a", "0-99999999999", "1,,2", "-1", "0-18446744073709551615"] {
            assert_eq!(parse_cores(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn ranks_divide_what_they_share() {
        let (low, high) = (mask(0..8), mask(8..16));
        assert_eq!(threads_for(&mask(0..16), &vec![mask(0..16); 3]), 5);
        assert_eq!(threads_for(&low, &[low.clone(), low.clone(), high.clone(), high.clone()]), 4);
        assert_eq!(threads_for(&low, &[low.clone(), mask(0..16)]), 4);
        assert_eq!(threads_for(&mask(0..16), &[low, mask(0..16)]), 12);
        assert_eq!(threads_for(&mask(3..4), &vec![mask(3..4); 4]), 1);
        assert_eq!(threads_for(&[], &[]), 1);
    }

    #[test]
    fn a_quota_of_a_container_counts() {
        assert_eq!(plan(&mask(0..64), &vec![mask(0..64); 2], 8, 64).num_threads, 4);
        assert_eq!(plan(&mask(0..64), &[mask(0..64)], 64, 64).num_threads, 64);
    }

    #[test]
    fn one_core_of_many_is_warned_about() {
        let bound = plan(&[0], &[vec![0], vec![1]], 1, 64);
        assert_eq!(bound.num_threads, 1);
        assert!(bound.warning.unwrap().hint.contains("--bind-to none"));
        assert_eq!(plan(&[0], &[vec![0], vec![1]], 1, 2).warning, None);
        assert_eq!(plan(&mask(0..64), &[mask(0..64)], 64, 64).warning, None);
    }

    #[test]
    fn more_ranks_than_cores_are_warned_about() {
        let crowd = plan(&mask(0..2), &vec![mask(0..2); 3], 2, 2);
        assert_eq!(crowd.num_threads, 1);
        assert_eq!(crowd.warning.unwrap().what, "3 local ranks take turns on 2 cores");
        assert_eq!(plan(&mask(0..2), &vec![mask(0..2); 2], 2, 2).warning, None);
    }

    #[test]
    fn this_process_may_use_something() {
        let plan = plan_threads(&Single::new()).unwrap();
        assert!(plan.num_threads >= 1 && plan.num_allowed == allowed_cores().len());
    }

    proptest! {
        #[test]
        fn equal_masks_are_divided_exactly(num_cores in 1_usize..300, num_ranks in 1_usize..40) {
            let masks = vec![mask(0..num_cores); num_ranks];
            prop_assert_eq!(threads_for(&masks[0], &masks), (num_cores / num_ranks).max(1));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[0-9,\\- ]{0,30}") {
            let _ = parse_cores(&text);
        }
    }
}
