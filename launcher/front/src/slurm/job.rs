//! A job that was checked: the options of sbatch and the settings of its runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::DeviceChoice;

use super::problem::{Problem, SLACK_SECS};
use crate::cli::{Launcher, Resources, SlurmTrainArgs, TimeLimit};

/// One run of the job, composed.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where it stands in the sweep; `None` without one.
    pub line: Option<usize>,
    /// Its settings.
    pub config: RunConfig,
}

/// A job that SLURM can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name, which also names the run directory.
    pub name: String,
    /// Nodes of a run.
    pub nodes: usize,
    /// Ranks on each of them.
    pub tasks_per_node: usize,
    /// Options of sbatch, each one a line of the script.
    pub options: Vec<String>,
    /// Shell lines that come first.
    pub setup: Vec<String>,
    /// Arguments of the script before those that are typed after its name.
    pub arguments: Vec<String>,
    /// Who starts the ranks.
    pub launcher: Launcher,
    /// Whether each array task is a run.
    pub is_array: bool,
    /// What is unusual, for the user.
    pub warnings: Vec<String>,
}

impl Job {
    /// Checks what was typed against the runs (at least one), which it was composed to.
    ///
    /// # Errors
    /// Everything that speaks against submitting it.
    pub fn new(args: &SlurmTrainArgs, runs: &[Run]) -> Result<Self, Vec<Problem>> {
        let resources = &args.resources;
        let nodes = resources.nodes.get();
        let (gpus, tasks_per_node) = per_node(resources, runs);
        let mut problems = Vec::new();
        let world = nodes.checked_mul(tasks_per_node).filter(|&world| i32::try_from(world).is_ok());
        match world {
            Some(world) => problems.extend(runs.iter().flat_map(|run| check_run(run, world, gpus))),
            None => problems.push(Problem::TooManyTasks { nodes, tasks: tasks_per_node }),
        }
        if let Some(limit @ TimeLimit::Secs(secs)) = resources.time
            && secs <= args.save_margin_secs + SLACK_SECS
        {
            problems.push(Problem::TooShort { limit, margin_secs: args.save_margin_secs });
        }
        problems.extend(check_words(resources));
        for line in args.setup.iter().filter(|line| line.trim().is_empty() || line.contains(char::is_control))
        {
            problems.push(Problem::NotALine { value: line.escape_debug().to_string() });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let name = resources.job_name.clone().unwrap_or_else(|| default_name(runs));
        Ok(Self {
            options: options(args, &name, (nodes, tasks_per_node), gpus, runs),
            setup: args.setup.clone(),
            arguments: arguments(args),
            warnings: warnings(runs, world.unwrap_or(1), (resources, gpus)),
            launcher: args.launcher,
            is_array: args.array.is_some(),
            name,
            nodes,
            tasks_per_node,
        })
    }
}

/// GPUs and tasks of a node.
fn per_node(resources: &Resources, runs: &[Run]) -> (usize, usize) {
    match (resources.gpus_per_node, resources.tasks_per_node) {
        (Some(gpus), _) => (gpus, gpus.max(1)),
        (None, Some(tasks)) => (0, tasks.get()),
        (None, None) => {
            let on_cpu = runs.iter().all(|run| run.config.trainer.device == DeviceChoice::Cpu);
            (usize::from(!on_cpu), 1)
        }
    }
}

fn check_run(run: &Run, world: usize, gpus: usize) -> Vec<Problem> {
    let name = run.line.map_or(String::new(), |line| format!("line {line}: "));
    let mut problems = Vec::new();
    let batch = run.config.trainer.batch_size;
    if batch < world {
        problems.push(Problem::BatchTooSmall { run: name.clone(), batch, world });
    }
    match run.config.trainer.device {
        DeviceChoice::Cpu if gpus > 0 => problems.push(Problem::IdleGpus { run: name, gpus }),
        DeviceChoice::Cuda if gpus == 0 => problems.push(Problem::NoGpus { run: name }),
        DeviceChoice::Auto | DeviceChoice::Cpu | DeviceChoice::Cuda => {}
    }
    problems
}

/// A line of the script holds one option, which sbatch splits at blanks.
fn check_words(resources: &Resources) -> Vec<Problem> {
    let is_word = |value: &str| {
        !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !"'\"\\#".contains(c))
    };
    let named = [
        ("--partition", &resources.partition),
        ("--account", &resources.account),
        ("--qos", &resources.qos),
        ("--mem", &resources.mem),
        ("--job-name", &resources.job_name),
    ];
    let mut problems = Vec::new();
    for (option, value) in named {
        if let Some(value) = value.as_ref().filter(|value| !is_word(value)) {
            problems.push(Problem::NotAWord { option, value: value.escape_debug().to_string() });
        }
    }
    for value in &resources.sbatch_args {
        if !value.starts_with('-') {
            problems.push(Problem::NotAnOption { value: value.escape_debug().to_string() });
        } else if value.chars().any(char::is_control) {
            problems
                .push(Problem::NotAWord { option: "--sbatch-arg", value: value.escape_debug().to_string() });
        }
    }
    problems
}

/// Cores of a task with a GPU where nobody says how many: for the threads that prepare batches.
const CORES_PER_GPU: usize = 8;
/// Cores of a task that computes on them.
const CORES_PER_CPU_TASK: usize = 4;

/// Cores that a task is said to need: by whoever asks for the job, or as threads of its settings.
fn known_cores(resources: &Resources, runs: &[Run]) -> Option<usize> {
    let threads = |run: &Run| [run.config.trainer.threads.value(), run.config.trainer.loader_threads.value()];
    resources.cpus_per_task.map(NonZeroUsize::get).or_else(|| runs.iter().flat_map(threads).flatten().max())
}

/// Cores of a task of which nothing is known. A cluster's own default is one, on which everything waits for everything.
fn usual_cores(gpus: usize) -> usize {
    if gpus > 0 { CORES_PER_GPU } else { CORES_PER_CPU_TASK }
}

/// The experiment, else the method.
fn default_name(runs: &[Run]) -> String {
    let name = runs
        .first()
        .map_or("dtrain", |run| run.config.experiment.as_deref().unwrap_or_else(|| run.config.method.name()));
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}

fn options(
    args: &SlurmTrainArgs,
    name: &str,
    (nodes, tasks_per_node): (usize, usize),
    gpus: usize,
    runs: &[Run],
) -> Vec<String> {
    let resources = &args.resources;
    let mut options = vec![
        format!("--job-name={name}"),
        format!("--nodes={nodes}"),
        format!("--ntasks-per-node={tasks_per_node}"),
    ];
    let mut add = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("--{name}={value}")));
    };
    add("gpus-per-node", (gpus > 0).then(|| gpus.to_string()));
    let cores = known_cores(resources, runs).unwrap_or_else(|| usual_cores(gpus));
    add("cpus-per-task", Some(cores.to_string()));
    add("mem", resources.mem.clone());
    add("time", resources.time.map(|time| time.to_string()));
    add("partition", resources.partition.clone());
    add("account", resources.account.clone());
    add("qos", resources.qos.clone());
    if args.array.is_some() {
        let limit = args.at_once.map_or(String::new(), |tasks| format!("%{tasks}"));
        add("array", Some(format!("1-{}{limit}", runs.len())));
    }
    add("output", Some(if args.array.is_some() { "%x-%A_%a.out" } else { "%x-%j.out" }.to_owned()));
    options.extend(["--requeue".to_owned(), "--open-mode=append".to_owned()]);
    options.push(format!("--signal=B:USR1@{}", args.save_margin_secs));
    // Last, so that they win.
    options.extend(resources.sbatch_args.iter().cloned());
    options
}

/// Files are named from the root: a job may be submitted from anywhere.
fn arguments(args: &SlurmTrainArgs) -> Vec<String> {
    let absolute =
        |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
    let mut words: Vec<String> = args.array.iter().map(absolute).collect();
    if let Some(folder) = args.config.folder() {
        words.push(format!("--config-dir={}", absolute(&folder)));
    }
    words.extend(args.overrides.iter().cloned());
    words
}

fn warnings(runs: &[Run], world: usize, (resources, gpus): (&Resources, usize)) -> Vec<String> {
    let mut warnings = Vec::new();
    if known_cores(resources, runs).is_none() {
        warnings.push(format!(
            "each task asks for {} cores, a guess: `--cpus-per-task C` says what its share of one of your nodes is",
            usual_cores(gpus)
        ));
    }
    let mut batches: Vec<usize> = runs.iter().map(|run| run.config.trainer.batch_size).collect();
    batches.sort_unstable();
    batches.dedup();
    for batch in batches.into_iter().filter(|batch| batch % world != 0) {
        let (less, more) = (batch / world, batch % world);
        warnings.push(format!(
            "`trainer.batch_size={batch}` over {world} ranks: {more} of them take {} samples a step and the others \
             {less}; a multiple of {world} uses them evenly",
            less + 1
        ));
    }
    if runs.iter().any(|run| run.config.checkpoint.every_steps == Some(0)) {
        warnings.push(
            "`checkpoint.every_steps=0`: a run that loses its nodes without warning begins again; give a number of steps"
                .to_owned(),
        );
    }
    warnings
}
