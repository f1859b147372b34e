//! Whether a job's tasks become one world. The service through which `srun` connects them must be one that the MPI
//! library knows: with another one `MPI_Init` ends the process, or finds every task alone in a world of one.

use crate::error::CommError;
use crate::hint::Hint;
use crate::warning::Warning;
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

/// What to say when the script of a job starts the program by itself although the job has several tasks: they idle.
pub(crate) fn unused_tasks(hint: &Hint, variables: Variables<'_>) -> Option<Warning> {
    let tasks: usize = variables("SLURM_NTASKS")?.trim().parse().ok()?;
    let is_script = hint.source == Source::Single && variables("SLURM_JOB_ID").is_some();
    (is_script && tasks > 1).then(|| Warning {
        what: format!("this SLURM job has {tasks} tasks, but dtrain was started once, outside of `srun`"),
        hint: "start it with `srun --mpi=pmix` or `mpirun`, as slurm/train.sbatch does; `unset SLURM_NTASKS` silences this"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(words: &str, name: &str) -> Option<String> {
        let mut pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    fn check(words: &str, is_open_mpi: bool) -> Result<(), CommError> {
        let get = |name: &str| find(words, name);
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

    #[test]
    fn one_process_for_many_tasks_is_told() {
        let told = |words: &str| {
            let get = |name: &str| find(words, name);
            unused_tasks(&Hint::from_environment(&get).unwrap(), &get).map(|warning| warning.what)
        };
        let script = "SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_LOCALID=0";
        assert_eq!(
            told(&format!("{script} SLURM_NTASKS=8")).unwrap(),
            "this SLURM job has 8 tasks, but dtrain was started once, outside of `srun`"
        );
        for words in [
            "",
            script,
            "SLURM_NTASKS=8",
            NONE,
            "SLURM_JOB_ID=7 SLURM_NTASKS=1",
            "SLURM_JOB_ID=7 SLURM_NTASKS=x",
        ] {
            assert_eq!(told(words), None, "{words}");
        }
        let mpirun = "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1 SLURM_JOB_ID=7 SLURM_NTASKS=8";
        assert_eq!(told(mpirun), None);
    }
}
