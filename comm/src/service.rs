//! Whether the service through which `srun` connects its tasks is one that the MPI library knows. With another one
//! `MPI_Init` ends the process, or finds every task alone in a world of one.

use crate::error::CommError;
use crate::hint::Hint;
use crate::world::Source;

type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Compares what `hint` found in the environment with the library that is linked.
///
/// # Errors
/// [`CommError::NoProcessManager`] for several tasks without any service, [`CommError::WrongProcessManager`] for
/// PMI-2 with an Open MPI that knows PMIx only.
pub(crate) fn check_service(
    hint: &Hint,
    variables: Variables<'_>,
    is_open_mpi: impl FnOnce() -> bool,
) -> Result<(), CommError> {
    let Some(tasks) = hint.world_size.filter(|&tasks| tasks > 1) else { return Ok(()) };
    if !hint.can_connect {
        return Err(CommError::NoProcessManager { tasks });
    }
    let of_srun = hint.source == Source::Pmi && variables("SLURM_STEP_ID").is_some();
    // Open MPI's own variable: whoever chooses a component has built it.
    let chosen = variables("OMPI_MCA_pmix").is_some();
    if of_srun && !chosen && is_open_mpi() {
        return Err(CommError::WrongProcessManager { tasks });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, is_open_mpi: bool) -> Result<(), CommError> {
        let get = |name: &str| {
            let mut pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
            pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        check_service(&Hint::from_environment(&get).unwrap(), &get, || is_open_mpi)
    }

    // What a task of `srun -n2` sees with `--mpi=none`, `--mpi=pmi2` and `--mpi=pmix` on SLURM 22.05.
    const NONE: &str = "SLURM_STEP_ID=0 SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 SLURM_LOCALID=0";
    const PMI2: &str = "PMI_FD=11 PMI_JOBID=7.0 PMI_RANK=1 PMI_SIZE=2";
    const PMIX: &str = "PMIX_RANK=1 PMIX_NAMESPACE=slurm.pmix.7.0";

    #[test]
    fn open_mpi_wants_pmix() {
        assert_eq!(check(NONE, true), Err(CommError::NoProcessManager { tasks: 2 }));
        let with_pmi2 = format!("{NONE} {PMI2}");
        assert_eq!(check(&with_pmi2, true), Err(CommError::WrongProcessManager { tasks: 2 }));
        assert_eq!(check(&format!("{with_pmi2} OMPI_MCA_pmix=s2"), true), Ok(()));
        assert_eq!(check(&format!("{NONE} {PMIX}"), true), Ok(()));
    }

    #[test]
    fn mpich_takes_pmi_2_and_one_task_needs_nothing() {
        assert_eq!(check(&format!("{NONE} {PMI2}"), false), Ok(()));
        assert_eq!(check(PMI2, true), Ok(()), "mpiexec outside of SLURM");
        assert_eq!(check("SLURM_STEP_ID=0 SLURM_NTASKS=1 SLURM_PROCID=0", true), Ok(()));
        assert_eq!(check("", true), Ok(()));
    }
}
