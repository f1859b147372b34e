//! Who this process is: read from the environment of the launcher first, checked against MPI later.
//!
//! The environment decides whether MPI is needed at all. What it says is a [`Hint`]: rank variables leak into
//! processes that they were not meant for (a batch script has `SLURM_PROCID=0` and `SLURM_NTASKS=4` although it is
//! one process; a rank of `mpirun` has the `SLURM_PROCID` of the daemon that started it).

use crate::error::CommError;
use crate::world::Source;

/// What the environment says about this process, before MPI was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Index of this process.
    pub rank: usize,
    /// Number of processes; plain PMIx does not tell.
    pub world_size: Option<usize>,
    /// Index on the node, where the launcher tells.
    pub local_rank: Option<usize>,
    /// Processes on the node, where the launcher tells.
    pub local_size: Option<usize>,
    /// Who started the processes.
    pub source: Source,
    /// Whether the launcher offers a service through which MPI can connect the processes.
    pub can_connect: bool,
}

type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Hint {
    /// Reads the variables of Open MPI, PMI, PMIx and SLURM, in this order: under `mpirun` or `mpiexec` inside a
    /// SLURM job the `SLURM_*` rank variables belong to the daemon that started the process.
    ///
    /// # Errors
    /// A variable holds no number, or numbers that contradict each other, or its companion is missing.
    pub fn from_environment(variables: Variables<'_>) -> Result<Self, CommError> {
        if let Some(hint) = open_mpi(variables)? {
            return Ok(hint);
        }
        if let Some(hint) = pmi(variables)? {
            return Ok(hint);
        }
        let alone = Self {
            rank: 0,
            world_size: Some(1),
            local_rank: Some(0),
            local_size: Some(1),
            source: Source::Single,
            can_connect: false,
        };
        let hint = pmix_or_slurm(variables)?.unwrap_or(alone);
        match other_launcher(variables) {
            Some(error) if hint.is_single() => Err(error),
            _ => Ok(hint),
        }
    }

    /// Whether this process is alone for certain, so that MPI is not needed.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.world_size == Some(1)
    }

    /// Compares the hint with what MPI reports.
    ///
    /// # Errors
    /// [`CommError::WorldMismatch`]: the ranks did not find each other, and training would run `world_size` times.
    pub fn check(&self, mpi_rank: usize, mpi_size: usize) -> Result<(), CommError> {
        let size_fits = self.world_size.is_none_or(|size| size == mpi_size);
        let alone = self.source == Source::Single;
        if alone || (size_fits && self.rank == mpi_rank) {
            return Ok(());
        }
        Err(CommError::WorldMismatch {
            launcher: self.source,
            rank: self.rank,
            expected: self.world_size.map_or_else(|| "an unknown number".to_owned(), |size| size.to_string()),
            mpi_rank,
            mpi_size,
        })
    }
}

fn open_mpi(variables: Variables<'_>) -> Result<Option<Hint>, CommError> {
    const RANK: &str = "OMPI_COMM_WORLD_RANK";
    const SIZE: &str = "OMPI_COMM_WORLD_SIZE";
    let Some((rank, size)) = rank_and_size(variables, RANK, SIZE)? else { return Ok(None) };
    let local_rank = local_rank(variables, "OMPI_COMM_WORLD_LOCAL_RANK", size)?;
    let local_size = local_size(variables, "OMPI_COMM_WORLD_LOCAL_SIZE", local_rank, size)?;
    Ok(Some(Hint {
        rank,
        world_size: Some(size),
        local_rank,
        local_size,
        source: Source::OpenMpi,
        can_connect: true,
    }))
}

fn pmi(variables: Variables<'_>) -> Result<Option<Hint>, CommError> {
    let Some((rank, size)) = rank_and_size(variables, "PMI_RANK", "PMI_SIZE")? else { return Ok(None) };
    let local_rank = local_rank(variables, "MPI_LOCALRANKID", size)?;
    let local_size = local_size(variables, "MPI_LOCALNRANKS", local_rank, size)?;
    Ok(Some(Hint {
        rank,
        world_size: Some(size),
        local_rank,
        local_size,
        source: Source::Pmi,
        can_connect: true,
    }))
}

/// Processes that torchrun, accelerate or the like has started find each other by an address of Python's, not by MPI: each
/// of them would train alone. A cluster may set the rank of a whole pod, but then no local rank.
fn other_launcher(variables: Variables<'_>) -> Option<CommError> {
    let number = |name: &str| variables(name)?.trim().parse::<usize>().ok();
    let (rank, size) = (number("RANK")?, number("WORLD_SIZE")?);
    number("LOCAL_RANK")?;
    let launcher = if variables("ACCELERATE_MIXED_PRECISION").is_some() {
        "`accelerate launch`"
    } else if variables("TORCHELASTIC_RUN_ID").is_some() {
        "`torchrun`"
    } else {
        "a launcher of PyTorch"
    };
    (size > 1).then_some(CommError::OtherLauncher { launcher, rank, size })
}

/// `srun --mpi=pmix` sets the variables of both; PMIx alone knows the rank but not the number of ranks.
fn pmix_or_slurm(variables: Variables<'_>) -> Result<Option<Hint>, CommError> {
    let pmix_rank = number(variables, "PMIX_RANK")?;
    let namespace = variables("PMIX_NAMESPACE").unwrap_or_default();
    if let Some(rank) = pmix_rank
        && !namespace.starts_with("slurm.pmix.")
    {
        return Ok(Some(Hint {
            rank,
            world_size: None,
            local_rank: None,
            local_size: None,
            source: Source::Pmix,
            can_connect: true,
        }));
    }
    let Some(hint) = slurm_step(variables)? else { return Ok(None) };
    if let Some(rank) = pmix_rank
        && rank != hint.rank
    {
        return Err(bad("PMIX_RANK", rank, format!("{} as in `SLURM_PROCID`", hint.rank)));
    }
    Ok(Some(Hint { can_connect: pmix_rank.is_some(), ..hint }))
}

/// A task of a step that `srun` started. The body of a batch script and the shell of `salloc` also see
/// `SLURM_PROCID` and `SLURM_NTASKS`; they have no step, or one of SLURM's special steps, and are one process.
fn slurm_step(variables: Variables<'_>) -> Result<Option<Hint>, CommError> {
    const STEP: &str = "SLURM_STEP_ID";
    const RANK: &str = "SLURM_PROCID";
    // Batch script, interactive shell, external and pending steps have the highest numbers (slurm.h: SLURM_BATCH_SCRIPT
    // and its neighbours); newer versions may write them as words.
    const FIRST_SPECIAL_STEP: u64 = 0xffff_fff0;
    let step = variables(STEP).and_then(|step| step.trim().parse::<u64>().ok());
    if step.is_none_or(|step| step >= FIRST_SPECIAL_STEP) {
        return Ok(None);
    }
    let size_name =
        if variables("SLURM_STEP_NUM_TASKS").is_some() { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" };
    let size = number(variables, size_name)?
        .ok_or(CommError::MissingVariable { variable: size_name, other: STEP })?;
    let rank = number(variables, RANK)?.ok_or(CommError::MissingVariable { variable: RANK, other: STEP })?;
    check_rank(RANK, rank, size_name, size)?;
    let local_rank = local_rank(variables, "SLURM_LOCALID", size)?;
    let local_size = variables("SLURM_GTIDS").map(|tasks| tasks.split(',').count());
    Ok(Some(Hint {
        rank,
        world_size: Some(size),
        local_rank,
        local_size,
        source: Source::Slurm,
        can_connect: false,
    }))
}

fn rank_and_size(
    variables: Variables<'_>,
    rank_name: &'static str,
    size_name: &'static str,
) -> Result<Option<(usize, usize)>, CommError> {
    match (number(variables, rank_name)?, number(variables, size_name)?) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(CommError::MissingVariable { variable: size_name, other: rank_name }),
        (None, Some(_)) => Err(CommError::MissingVariable { variable: rank_name, other: size_name }),
        (Some(rank), Some(size)) => {
            check_rank(rank_name, rank, size_name, size)?;
            Ok(Some((rank, size)))
        }
    }
}

fn check_rank(
    rank_name: &'static str,
    rank: usize,
    size_name: &'static str,
    size: usize,
) -> Result<(), CommError> {
    if size == 0 {
        return Err(bad(size_name, size, "at least 1".to_owned()));
    }
    if rank >= size {
        return Err(bad(rank_name, rank, format!("a rank below `{size_name}`, which is {size}")));
    }
    Ok(())
}

fn local_rank(
    variables: Variables<'_>,
    name: &'static str,
    world_size: usize,
) -> Result<Option<usize>, CommError> {
    let local = number(variables, name)?;
    match local {
        Some(rank) if rank >= world_size => {
            Err(bad(name, rank, format!("a rank below the world size {world_size}")))
        }
        local => Ok(local),
    }
}

fn local_size(
    variables: Variables<'_>,
    name: &'static str,
    local_rank: Option<usize>,
    world_size: usize,
) -> Result<Option<usize>, CommError> {
    let lowest = local_rank.map_or(1, |rank| rank + 1);
    match number(variables, name)? {
        Some(size) if size < lowest || size > world_size => {
            Err(bad(name, size, format!("a number from {lowest} to {world_size}")))
        }
        size => Ok(size),
    }
}

/// A whole number that MPI could count with.
fn number(variables: Variables<'_>, name: &'static str) -> Result<Option<usize>, CommError> {
    let Some(text) = variables(name) else { return Ok(None) };
    let parsed = text.trim().parse::<i32>().ok().and_then(|value| usize::try_from(value).ok());
    match parsed {
        Some(value) => Ok(Some(value)),
        None => Err(bad(name, text, format!("a whole number from 0 to {}", i32::MAX))),
    }
}

fn bad(variable: &'static str, value: impl ToString, expected: String) -> CommError {
    let mut value = value.to_string();
    if value.chars().count() > 80 {
        value = value.chars().take(80).chain(['…']).collect();
    }
    CommError::BadVariable { variable, value, expected }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Reads `NAME=value` words.
    fn read(words: &str) -> Result<Hint, CommError> {
        let variables: BTreeMap<&str, &str> =
            words.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        Hint::from_environment(&|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    fn summary(words: &str) -> (usize, Option<usize>, Option<usize>, Option<usize>, Source, bool) {
        let hint = read(words).unwrap();
        (hint.rank, hint.world_size, hint.local_rank, hint.local_size, hint.source, hint.can_connect)
    }

    // What a task of `srun -N2 -n4` on SLURM 22.05 sees, without PMIx.
    const STEP: &str = "SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=3 \
                        SLURM_LOCALID=1 SLURM_GTIDS=2,3 SLURM_STEP_TASKS_PER_NODE=2(x2) SLURM_NODEID=1";
    const OPEN_MPI: &str = "OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=0 \
                            OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_RANK=2 PMIX_NAMESPACE=1384710145";
    const SINGLE: (usize, Option<usize>, Option<usize>, Option<usize>, Source, bool) =
        (0, Some(1), Some(0), Some(1), Source::Single, false);

    #[test]
    fn nothing_is_one_process() {
        assert_eq!(summary(""), SINGLE);
        assert!(read("").unwrap().is_single());
    }

    #[test]
    fn mpirun_wins_over_the_daemon_that_srun_started() {
        let expected = (2, Some(4), Some(0), Some(2), Source::OpenMpi, true);
        assert_eq!(summary(OPEN_MPI), expected);
        let daemon = "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=4 SLURM_PROCID=1 SLURM_LOCALID=0";
        assert_eq!(summary(&format!("{OPEN_MPI} {daemon}")), expected);
    }

    #[test]
    fn srun_with_pmix_can_connect_and_without_it_cannot() {
        assert_eq!(summary(STEP), (3, Some(4), Some(1), Some(2), Source::Slurm, false));
        let with_pmix = format!("{STEP} PMIX_RANK=3 PMIX_NAMESPACE=slurm.pmix.7.0");
        assert_eq!(summary(&with_pmix), (3, Some(4), Some(1), Some(2), Source::Slurm, true));
        let with_pmi2 = format!("{STEP} PMI_RANK=3 PMI_SIZE=4");
        assert_eq!(summary(&with_pmi2), (3, Some(4), None, None, Source::Pmi, true));
    }

    #[test]
    fn a_batch_script_and_an_interactive_shell_are_one_process() {
        assert_eq!(summary("SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0"), SINGLE);
        assert_eq!(summary("SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_STEP_ID=4294967291"), SINGLE);
        assert_eq!(summary("SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_STEP_ID=batch"), SINGLE);
        let salloc = "SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1 SLURM_NTASKS=4 SLURM_PROCID=0";
        assert_eq!(summary(salloc), SINGLE);
        let shell = "SLURM_STEP_ID=3 SLURM_STEP_NUM_TASKS=1 SLURM_NTASKS=4 SLURM_PROCID=0";
        assert!(read(shell).unwrap().is_single(), "srun --pty bash in an allocation of four");
    }

    #[test]
    fn launchers_of_pytorch_are_noticed() {
        const WORDS: &str = "RANK=1 WORLD_SIZE=2 LOCAL_RANK=1";
        let error = read(&format!("{WORDS} TORCHELASTIC_RUN_ID=x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`torchrun` started rank 1 of 2, but ranks of dtrain find each other by MPI"
        );
        assert!(error.hint().unwrap().contains("`dtrain launch -n 2 ...`"));
        let accelerate = read(&format!("{WORDS} ACCELERATE_MIXED_PRECISION=no TORCHELASTIC_RUN_ID=x"));
        assert!(accelerate.unwrap_err().to_string().starts_with("`accelerate launch` started"));
        assert!(
            read(WORDS).is_err()
                && read(&format!("{WORDS} SLURM_STEP_ID=0 SLURM_NTASKS=1 SLURM_PROCID=0")).is_err()
        );
        for harmless in
            ["RANK=0 WORLD_SIZE=8", "RANK=0 WORLD_SIZE=1 LOCAL_RANK=0", "RANK=x WORLD_SIZE=2 LOCAL_RANK=0"]
        {
            assert_eq!(summary(harmless), SINGLE, "{harmless}");
        }
        assert!(read(&format!("{OPEN_MPI} {WORDS}")).is_ok(), "mpirun wins");
    }

    #[test]
    fn other_pmix_launchers_leave_the_size_open() {
        assert_eq!(
            summary("PMIX_RANK=5 PMIX_NAMESPACE=prterun-host-1@1"),
            (5, None, None, None, Source::Pmix, true)
        );
    }

    #[test]
    fn garbage_is_named_with_its_variable() {
        let message = |words: &str| read(words).unwrap_err().to_string();
        assert_eq!(
            message("OMPI_COMM_WORLD_RANK=two OMPI_COMM_WORLD_SIZE=4"),
            "`OMPI_COMM_WORLD_RANK` is `two`, expected a whole number from 0 to 2147483647"
        );
        assert_eq!(
            message("OMPI_COMM_WORLD_RANK=4 OMPI_COMM_WORLD_SIZE=4"),
            "`OMPI_COMM_WORLD_RANK` is `4`, expected a rank below `OMPI_COMM_WORLD_SIZE`, which is 4"
        );
        assert_eq!(
            message("OMPI_COMM_WORLD_RANK=0"),
            "`OMPI_COMM_WORLD_SIZE` is not set although `OMPI_COMM_WORLD_RANK` is"
        );
        assert_eq!(message("PMI_RANK=0 PMI_SIZE=0"), "`PMI_SIZE` is `0`, expected at least 1");
        assert_eq!(
            message("SLURM_STEP_ID=0 SLURM_PROCID=0"),
            "`SLURM_NTASKS` is not set although `SLURM_STEP_ID` is"
        );
        assert_eq!(
            message(&format!("{STEP} PMIX_RANK=2 PMIX_NAMESPACE=slurm.pmix.7.0")),
            "`PMIX_RANK` is `2`, expected 3 as in `SLURM_PROCID`"
        );
        assert_eq!(
            message(
                "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=1"
            ),
            "`OMPI_COMM_WORLD_LOCAL_SIZE` is `1`, expected a number from 2 to 4"
        );
    }

    #[test]
    fn worlds_of_one_instead_of_one_world_are_refused() {
        let hint = read(&format!("{STEP} PMIX_RANK=3 PMIX_NAMESPACE=slurm.pmix.7.0")).unwrap();
        assert_eq!(hint.check(3, 4), Ok(()));
        let error = hint.check(0, 1).unwrap_err();
        assert_eq!(error.to_string(), "`srun` started rank 3 of 4, but MPI sees rank 0 of 1");
        assert!(error.hint().unwrap().contains("srun --mpi=pmix"));
        let open = read("PMIX_RANK=0 PMIX_NAMESPACE=x").unwrap();
        assert_eq!(open.check(0, 4), Ok(()));
        assert!(open.check(1, 4).is_err());
        assert_eq!(read("").unwrap().check(0, 1), Ok(()));
    }

    proptest! {
        #[test]
        fn any_environment_gives_a_rank_below_the_size_or_an_error(
            values in prop::collection::vec(prop::option::of("-?[0-9]{1,3}|[a-z0-9 ]{0,6}|99999999999999999999"), 13),
        ) {
            const NAMES: [&str; 13] = [
                "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_SIZE", "PMIX_RANK", "SLURM_PROCID", "SLURM_NTASKS",
                "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_GTIDS",
            ];
            let get = |name: &str| NAMES.iter().position(|known| *known == name).and_then(|at| values[at].clone());
            if let Ok(hint) = Hint::from_environment(&get) {
                prop_assert!(hint.world_size.is_none_or(|size| hint.rank < size));
            }
        }
    }
}
