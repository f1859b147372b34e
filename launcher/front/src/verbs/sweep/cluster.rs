//! A sweep on a SLURM cluster: an array of workers for each stage, which depends on the one before.

use std::path::{Path, PathBuf};

use dtrain_configs::{compose, shell_path};

use super::usage;
use crate::cli::{ConfigDir, Launcher, NewSweep, SlurmTrainArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::slurm::{Job, Run, WorkerJob, max_array_size, render_worker, report, submit};
use crate::sweep::plan::Plan;

/// Workers where nobody says how many.
const WORKERS: usize = 8;

/// The job of a worker, checked against a trial of the plan; nothing is submitted or written.
///
/// # Errors
/// What SLURM would refuse, or run in vain.
pub(super) fn job(args: &NewSweep, plan: &Plan) -> Result<Job, Failure> {
    let slurm = &args.slurm;
    let Some(trial) = plan.trials.first() else {
        return Err(usage("the sweep has no trials", "give it some"));
    };
    let composition = compose(&trial.settings, &args.config.options())?;
    let asked = SlurmTrainArgs {
        overrides: Vec::new(),
        print: true,
        submit: false,
        resources: slurm.resources.clone(),
        array: None,
        at_once: None,
        setup: slurm.setup.clone(),
        launcher: Launcher::Auto,
        save_margin_secs: slurm.save_margin_secs,
        config: ConfigDir::default(),
    };
    let runs = [Run { line: None, config: composition.config }];
    let job = Job::new(&asked, &runs).map_err(|problems| {
        let (message, hint) = report(&problems);
        Failure::agreed(Exit::Usage, message, hint)
    })?;
    let (ranks, world) = (plan.header.ranks, job.nodes * job.tasks_per_node);
    if ranks > 1 && ranks != world || ranks == 1 && job.nodes > 1 {
        return Err(usage(
            format!(
                "a trial of {ranks} rank(s) does not fill a worker of {} node(s) with {} task(s) each",
                job.nodes, job.tasks_per_node
            ),
            "give `--ranks` the tasks of all nodes of a worker",
        ));
    }
    let workers = workers(args, plan.trials.len());
    match max_array_size().filter(|most| workers > *most) {
        Some(most) => Err(usage(
            format!(
                "{workers} workers are more than an array of this cluster may have: MaxArraySize allows {most}"
            ),
            "give fewer `--workers`; each takes one trial after the other",
        )),
        None => Ok(job),
    }
}

fn workers(args: &NewSweep, trials: usize) -> usize {
    args.slurm.workers.map_or(trials.clamp(1, WORKERS), std::num::NonZeroUsize::get)
}

/// Submits the arrays of a sweep that is written.
pub(super) fn begin(
    args: &NewSweep,
    (plan, job): (&Plan, &Job),
    dir: &Path,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dtrain"));
    let folder = std::path::absolute(dir).unwrap_or(dir.to_owned()).display().to_string();
    for warning in &job.warnings {
        printer.warn(warning);
    }
    let mut after = None;
    for (index, stage) in plan.header.stages.iter().enumerate() {
        let mut arguments = vec![folder.clone(), "--stage".into(), stage.name.clone()];
        if plan.header.ranks > 1 {
            arguments.extend(["--at-once".into(), "1".into()]);
        }
        let asked = WorkerJob {
            workers: workers(args, plan.trials_of(index).count()),
            is_single: plan.header.ranks == 1,
            after: after.take(),
            arguments,
        };
        let number = submit(&render_worker(&job.clone().of_workers(&asked), &program))?;
        printer.say(&format!("job {number}: {} worker(s) for stage {}", asked.workers, stage.name));
        printer.data(&number);
        after = Some(number);
    }
    let word = shell_path(dir);
    printer.say(&format!("state: squeue --me; dtrain sweep status {word}\nstop:  dtrain sweep stop {word}"));
    Ok(Exit::Done)
}
