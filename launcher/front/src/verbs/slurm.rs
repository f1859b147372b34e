//! `dtrain slurm`.

use std::path::{Path, PathBuf};

use dtrain_configs::{compose, shell_word};

use crate::cli::{SlurmTarget, SlurmTrainArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::slurm::{Job, Run, SubmitError, SweepFile, SweepFileError, render, report, submit};

/// Writes the script of a job, or submits it.
pub fn run(what: SlurmTarget, printer: &Printer) -> Result<Exit, Failure> {
    let SlurmTarget::Train(args) = what;
    if !printer.speaks() {
        // One of several ranks: a job is submitted once.
        return Ok(Exit::Done);
    }
    let runs = runs(&args)?;
    let job = Job::new(&args, &runs).map_err(|problems| {
        let (message, hint) = report(&problems);
        Failure::agreed(Exit::Usage, message, hint)
    })?;
    for warning in &job.warnings {
        printer.warn(warning);
    }
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dtrain"));
    let script = render(&job, &program);
    if !args.submit {
        printer.data(&script);
        return Ok(Exit::Done);
    }
    let number = submit(&script)?;
    printer.data(&number);
    printer.say(&describe(&job, &number));
    Ok(Exit::Done)
}

/// Composes every run of the job.
fn runs(args: &SlurmTrainArgs) -> Result<Vec<Run>, Failure> {
    let options = args.config.options();
    let Some(path) = &args.array else {
        return Ok(vec![Run { line: None, config: compose(&args.overrides, &options)?.config }]);
    };
    let sweep = SweepFile::read(path)?;
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    for run in sweep.runs {
        let settings: Vec<String> = args.overrides.iter().cloned().chain(run.settings).collect();
        match compose(&settings, &options) {
            Ok(composition) => runs.push(Run { line: Some(run.line), config: composition.config }),
            Err(errors) => {
                let text = errors.to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text);
                problems.push(format!("line {}: {text}", run.line));
            }
        }
    }
    if problems.is_empty() { Ok(runs) } else { Err(broken_lines(path, &problems)) }
}

/// Lines with mistakes that are printed; more than this many are counted.
const MAX_PRINTED: usize = 10;

fn broken_lines(path: &Path, problems: &[String]) -> Failure {
    let mut message = format!("{} line(s) of `{}` cannot be run", problems.len(), path.display());
    for problem in problems.iter().take(MAX_PRINTED) {
        message.push_str("\n\n");
        message.push_str(problem);
    }
    if problems.len() > MAX_PRINTED {
        message.push_str(&format!("\n\n... and {} more", problems.len() - MAX_PRINTED));
    }
    Failure::agreed(Exit::Usage, message, None)
}

/// What the user does next.
fn describe(job: &Job, number: &str) -> String {
    let Job { name, nodes, tasks_per_node, .. } = job;
    let (output, run) = if job.is_array {
        (format!("{name}-{number}_<task>.out"), format!("runs/{name}-{number}/<task>"))
    } else {
        (format!("{name}-{number}.out"), format!("runs/{name}-{number}"))
    };
    format!(
        "job {number}: {name}, {nodes} node(s) of {tasks_per_node} task(s)\n\
         state:  squeue --job {number}\n\
         output: tail -F {}\n\
         run:    {run}, unless the settings name `run.dir`\n\
         stop:   dtrain stop RUN saves at the next step; scancel {number} has the cluster's KillWait for it",
        shell_word(&output)
    )
}

impl From<SweepFileError> for Failure {
    fn from(error: SweepFileError) -> Self {
        Failure::agreed(Exit::Usage, &error, Some(error.hint().to_owned()))
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        Failure::agreed(error.exit(), &error, error.hint().map(str::to_owned))
    }
}
