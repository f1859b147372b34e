//! What is going to be started: the words for the ranks, the run directory, how many processes and where.

use std::num::NonZeroUsize;
use std::time::SystemTime;

use dtrain_configs::schema::{DeviceChoice, RunConfig};
use dtrain_front::cli::{LaunchArgs, NumRanks, Verb};
use dtrain_front::{Exit, composed_for_training, read_launched, stored_for_resuming};
use dtrain_trainer::run::{RunDir, RunLock, reserve_run_dir};

use super::size::{Machine, Size};
use crate::failure::Failure;

/// A job that is ready to be started, several times if need be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Verb and its words, as typed.
    pub words: Vec<String>,
    /// Where a training run lives; `None` for work that does not go on where it stopped.
    pub run: Option<Run>,
    /// How many processes.
    pub size: Size,
    /// Where.
    pub hosts: Hosts,
    /// Further options of mpirun.
    pub mpirun_args: Vec<String>,
}

/// A training run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its directory.
    pub dir: RunDir,
    /// Whether the words for the ranks name the directory already.
    pub is_named: bool,
    /// Whether the verb is `resume`, which goes on by itself.
    pub resumes: bool,
}

/// Machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// The one that the launcher runs on.
    This,
    /// Those of mpirun's `-host`, with a number of processes each.
    Named(Vec<String>),
    /// The nodes of a SLURM allocation of several, which mpirun knows.
    Allocation,
}

impl Plan {
    /// Reads what was typed, checks it, and makes the run directory, so that all starts share it.
    ///
    /// # Errors
    /// Wrong words or settings; a directory that cannot be made or that another process holds.
    pub fn new(args: &LaunchArgs) -> Result<Self, Failure> {
        refuse_within_ranks()?;
        let words = args.words_with_verb();
        let (config, resumes) = match read(&words)? {
            Work::Train(config) => (Some(config), false),
            Work::Resume(config) => (Some(config), true),
            Work::Other => (None, false),
        };
        let use_gpus = config.as_ref().is_none_or(|config| config.trainer.device != DeviceChoice::Cpu);
        let nodes = std::env::var("SLURM_JOB_NUM_NODES").ok().and_then(|nodes| nodes.parse().ok());
        let ranks = match (args.ranks, numbered(&args.hosts)) {
            (NumRanks::Auto, Some(number)) => NumRanks::Exactly(number),
            (ranks, _) => ranks,
        };
        let size = Machine::look(use_gpus).size(ranks, args.cores_per_rank, args.hosts.len().max(1));
        let hosts = hosts(&args.hosts, size.num_ranks, nodes.unwrap_or(1))?;
        let run = config.map(|config| reserve(&config, resumes)).transpose()?;
        let mpirun_args = args.mpirun_args.iter().flat_map(|words| words.split_whitespace());
        Ok(Self { words, run, size, hosts, mpirun_args: mpirun_args.map(str::to_owned).collect() })
    }

    /// Whether all processes are on this machine.
    pub fn is_local(&self) -> bool {
        self.hosts == Hosts::This
    }

    /// A single process here needs no MPI.
    pub fn needs_mpirun(&self) -> bool {
        !(self.is_local() && self.size.num_ranks == 1 && self.mpirun_args.is_empty())
    }

    /// The words for the ranks.
    pub fn words(&self, restarted: bool) -> Vec<String> {
        let mut words = self.words.clone();
        if let Some(run) = self.run.as_ref().filter(|run| !run.resumes) {
            if !run.is_named {
                words.push(format!("run.dir={}", run.dir.path().display()));
            }
            if restarted {
                words.push("run.resume=auto".to_owned());
            }
        }
        words
    }
}

/// What the words ask for.
enum Work {
    Train(Box<RunConfig>),
    Resume(Box<RunConfig>),
    Other,
}

fn read(words: &[String]) -> Result<Work, Failure> {
    match read_launched(words)? {
        Verb::Train(args) if !args.cfg && !args.dry_run && args.fast_dev_run.is_none() => {
            Ok(Work::Train(Box::new(composed_for_training(&args)?.config)))
        }
        Verb::Resume(args) => Ok(Work::Resume(Box::new(stored_for_resuming(&args)?.0))),
        _ => Ok(Work::Other),
    }
}

/// A launcher under mpirun or srun would start a job for each of their processes.
fn refuse_within_ranks() -> Result<(), Failure> {
    let hint = dtrain_comm::Hint::from_environment(&|name| std::env::var(name).ok());
    match hint {
        Ok(hint) if hint.source == dtrain_comm::Source::Single => Ok(()),
        Ok(hint) => Err(Failure::agreed(
            Exit::Usage,
            format!(
                "`dtrain launch` starts its own processes, and {} has started this one",
                hint.source.name()
            ),
            Some("use `dtrain launch` alone, or `dtrain train` under mpirun or srun".into()),
        )),
        Err(error) => Err(dtrain_front::Failure::from(error).into()),
    }
}

/// The sum of the numbers in `HOST:N`, if all hosts have one.
fn numbered(hosts: &[String]) -> Option<NonZeroUsize> {
    let numbers: Option<Vec<usize>> =
        hosts.iter().map(|host| host.rsplit_once(':').and_then(|(_, number)| number.parse().ok())).collect();
    NonZeroUsize::new(numbers?.into_iter().fold(0, usize::saturating_add))
}

/// The hosts as mpirun takes them.
fn hosts(named: &[String], num_ranks: usize, slurm_nodes: usize) -> Result<Hosts, Failure> {
    if named.is_empty() {
        return Ok(if slurm_nodes > 1 { Hosts::Allocation } else { Hosts::This });
    }
    if named.iter().all(|host| host.contains(':')) {
        return Ok(Hosts::Named(named.to_vec()));
    }
    if named.iter().any(|host| host.contains(':')) || !num_ranks.is_multiple_of(named.len()) {
        return Err(Failure::agreed(
            Exit::Usage,
            format!("{num_ranks} ranks cannot be dealt out evenly to `--hosts {}`", named.join(",")),
            Some("give each host its number, as in `--hosts node1:4,node2:2`".into()),
        ));
    }
    let each = num_ranks / named.len();
    Ok(Hosts::Named(named.iter().map(|host| format!("{host}:{each}")).collect()))
}

fn reserve(config: &RunConfig, resumes: bool) -> Result<Run, Failure> {
    let dir = reserve_run_dir(config, SystemTime::now()).map_err(|error| {
        Failure::agreed(
            Exit::Environment,
            format!("the run directory cannot be made: {error}"),
            Some("choose another `run.dir` or `run.root`".into()),
        )
    })?;
    RunLock::wait_until_free(&dir)?;
    Ok(Run { dir, is_named: config.run.dir.is_some(), resumes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(run: Option<Run>) -> Plan {
        let size = Size { num_ranks: 1, reason: String::new(), cores: None };
        Plan { words: vec!["train".into()], run, size, hosts: Hosts::This, mpirun_args: Vec::new() }
    }

    #[test]
    fn every_start_has_the_same_directory() {
        let run = |is_named, resumes| Some(Run { dir: RunDir::new("runs/a"), is_named, resumes });
        assert_eq!(plan(run(false, false)).words(false), ["train", "run.dir=runs/a"]);
        assert_eq!(plan(run(false, false)).words(true), ["train", "run.dir=runs/a", "run.resume=auto"]);
        assert_eq!(plan(run(true, false)).words(true), ["train", "run.resume=auto"]);
        assert_eq!(plan(run(true, true)).words(true), ["train"], "`resume` takes no settings");
        assert_eq!(plan(None).words(true), ["train"]);
    }

    #[test]
    fn a_single_process_here_needs_no_mpirun() {
        assert!(!plan(None).needs_mpirun());
        assert!(Plan { hosts: Hosts::Allocation, ..plan(None) }.needs_mpirun());
        assert!(Plan { mpirun_args: vec!["-v".into()], ..plan(None) }.needs_mpirun());
    }

    #[test]
    fn hosts_get_their_share() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        assert_eq!(hosts(&[], 4, 1).unwrap(), Hosts::This);
        assert_eq!(hosts(&[], 4, 2).unwrap(), Hosts::Allocation);
        let named = Hosts::Named(words(&["a:2", "b:2"]));
        assert_eq!(hosts(&words(&["a", "b"]), 4, 1).unwrap(), named);
        assert_eq!(hosts(&words(&["a:2", "b:2"]), 3, 1).unwrap(), named);
        assert_eq!(numbered(&words(&["a:2", "b:3"])).map(NonZeroUsize::get), Some(5));
        for unnumbered in [&[][..], &["a", "b:3"], &["a:0"], &["a:x"]] {
            assert_eq!(numbered(&words(unnumbered)), None, "{unnumbered:?}");
        }
        for (hosts_typed, ranks) in [(&["a", "b"][..], 3), (&["a:1", "b"], 2)] {
            assert_eq!(hosts(&words(hosts_typed), ranks, 1).unwrap_err().exit, Exit::Usage);
        }
    }

    #[test]
    fn mistakes_are_found_before_anything_starts() {
        for words in
            [&["trian"][..], &["train", "--no-such-flag"], &["resume"], &["launch"], &["train", "seed=x"]]
        {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(read(&words).err().map(|failure| failure.exit), Some(Exit::Usage), "{words:?}");
        }
        for words in [&["train", "--dry-run"][..], &["train", "--fast-dev-run"], &["ls"], &["eval", "runs/a"]]
        {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert!(matches!(read(&words), Ok(Work::Other)), "{words:?}");
        }
    }
}
