//! `dtrain launch`: one process per GPU or group of cores, watched, and started again when they die.
//!
//! ```text
//! args -> plan (words, run directory, size, hosts) -> attempt -> cause -> policy -> attempt ... -> exit code
//!                                                     command, output, stop request
//! ```
//!
//! What an attempt leaves behind is evidence, the cause is found in it by a pure function, and another one decides. This
//! file does what they say.

mod attempt;
mod cause;
mod command;
mod history;
mod job_dir;
mod mpirun;
mod output;
mod plan;
mod policy;
mod processes;
mod report;
mod size;
mod stop_request;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use dtrain_front::cli::LaunchArgs;
use dtrain_front::{Exit, Printer};
use dtrain_trainer::track::rfc3339;

pub use size::print_num_gpus;

use attempt::{Attempt, Places, Watch};
use history::{Line, newest_step, next_attempt};
use job_dir::JobDir;
use plan::{Plan, Run};
use policy::{Decision, Limits, Tried, decide};
use stop_request::{Inbox, StopRequests};

use crate::failure::Failure;
use crate::logging;

/// How often signals are looked for during a pause.
const LOOK: Duration = Duration::from_millis(50);

/// Launches, and launches again.
///
/// # Errors
/// Wrong words or settings, a machine without mpirun, a directory that is in use, and the cause of the last attempt.
pub fn run(args: &LaunchArgs, printer: &Printer) -> Result<Exit, Failure> {
    logging::install(printer.rank());
    let inbox = Inbox::open().map_err(|error| broken("signals cannot be watched", &error))?;
    let plan = Plan::new(args)?;
    if plan.needs_mpirun() {
        command::check_mpirun().map_err(|message| {
            let hint = "install Open MPI (Debian: openmpi-bin), or start the ranks with your own launcher: \
                        `mpiexec -n N dtrain ...`, `srun dtrain ...`";
            Failure::agreed(Exit::Environment, message, Some(hint.into()))
        })?;
    }
    let job = JobDir::create().map_err(|error| broken("no private folder for the job", &error))?;
    let limits = Limits { max_restarts: args.max_restarts, restartable: plan.run.is_some() };
    let grace = Duration::from_secs(args.grace_secs.into());
    let mut launch =
        Launch { plan, job, limits, grace, inbox, stop_requests: StopRequests::default(), printer };
    launch.announce();
    launch.supervise()
}

fn broken(what: &str, error: &std::io::Error) -> Failure {
    Failure::agreed(Exit::Environment, format!("{what}: {error}"), None)
}

/// A launch in progress.
struct Launch<'a> {
    plan: Plan,
    job: JobDir,
    limits: Limits,
    grace: Duration,
    inbox: Inbox,
    stop_requests: StopRequests,
    printer: &'a Printer,
}

impl Launch<'_> {
    fn announce(&self) {
        let size = &self.plan.size;
        let ranks = if size.num_ranks == 1 { "rank" } else { "ranks" };
        let mut text = format!("launching {} {ranks} ({})", size.num_ranks, size.reason);
        if let Some(run) = &self.plan.run {
            text.push_str(&format!(", run directory {}", run.dir.path().display()));
        }
        self.printer.say(&text);
    }

    fn supervise(&mut self) -> Result<Exit, Failure> {
        let mut tried = Vec::new();
        for number in 0.. {
            let places = self.places(number)?;
            let (started, from_step) = (SystemTime::now(), self.newest_step());
            let mut watch = Watch {
                plan: &self.plan,
                inbox: &mut self.inbox,
                stop_requests: &mut self.stop_requests,
                grace: self.grace,
                printer: self.printer,
            };
            let ended = attempt::run(&mut watch, &places, number > 0);
            let left = self.job.clear(&places.job);
            let ended = ended.map_err(|error| broken("the ranks cannot be started", &error))?;
            if left > 0 {
                self.printer.warn(&format!("{left} processes of this job do not end; they hold their GPUs"));
            }
            let to_step = self.newest_step();
            let code = ended.evidence.code();
            tried.push(Tried { code, began: ended.began, progressed: to_step > from_step });
            let decision = decide(&tried, self.limits, self.stop_requests.strongest());
            self.note(&places, &ended, started, (from_step, to_step), decision);
            match decision {
                Decision::End(exit) => return self.end(exit, &ended, &places),
                Decision::GiveUp(reason) => {
                    self.show(&ended, &places);
                    let cause = ended.evidence.cause();
                    let hint = report::final_hint(reason);
                    return Err(Failure::agreed(Exit::Failed, cause.to_string(), Some(hint)));
                }
                Decision::Restart { number, left, pause } => {
                    self.show(&ended, &places);
                    let cause = ended.evidence.cause();
                    self.printer.say(&report::restart_line(number, left, pause, to_step, &cause));
                    if let Some(exit) = self.pause(pause) {
                        return Ok(exit);
                    }
                }
            }
        }
        Ok(Exit::Failed)
    }

    fn newest_step(&self) -> Option<u64> {
        self.plan.run.as_ref().and_then(|run| newest_step(&run.dir))
    }

    /// Folders of the attempt, numbered over all launches of the run.
    fn places(&self, number: u32) -> Result<Places, Failure> {
        let job =
            self.job.attempt(number).map_err(|error| broken("no private folder for the job", &error))?;
        let files = self.plan.run.as_ref().map(log_folder).transpose();
        // A full or read-only disk is for the ranks to complain about; they know what they need.
        Ok(Places { job, files: files.ok().flatten() })
    }

    /// Says what a person must know of an end that is final.
    fn end(&self, exit: Exit, ended: &Attempt, places: &Places) -> Result<Exit, Failure> {
        if ended.was_cut_off {
            let secs = self.grace.as_secs();
            self.printer.warn(&format!(
                "the ranks did not end within {secs} s and were killed; the run goes on from its newest checkpoint \
                 (`--grace-secs` gives more time)"
            ));
        }
        if !ended.began && exit == Exit::Environment {
            let hint = "mpirun could not start the ranks; its words are above".to_owned();
            return Err(Failure::agreed(exit, ended.output.mpirun().trim(), Some(hint)));
        }
        let expected = ended.evidence.code() == exit as i32;
        if !expected && !ended.was_cut_off && !ended.evidence.killed_by_launcher {
            self.show(ended, places);
        }
        Ok(exit)
    }

    fn show(&self, ended: &Attempt, places: &Places) {
        let cause = ended.evidence.cause();
        let table = report::table(&cause, |rank| ended.output.last_lines(rank), places.files.as_deref());
        self.printer.say(&format!("\n{table}\n"));
    }

    /// Adds the attempt to the run's history.
    fn note(
        &self,
        places: &Places,
        ended: &Attempt,
        started: SystemTime,
        (from_step, to_step): (Option<u64>, Option<u64>),
        decision: Decision,
    ) {
        let (Some(run), Some(files)) = (&self.plan.run, &places.files) else { return };
        let code = ended.evidence.code();
        let number = files.file_name().and_then(|name| name.to_str()?.strip_prefix("attempt_")?.parse().ok());
        let line = Line {
            attempt: number.unwrap_or_default(),
            started: rfc3339(started),
            ended: rfc3339(SystemTime::now()),
            world_size: self.plan.size.num_ranks,
            from_step,
            to_step,
            code,
            cause: (![0, 75, 130].contains(&code)).then(|| ended.evidence.cause().to_string()),
            decision: match decision {
                Decision::End(_) => "end",
                Decision::GiveUp(_) => "give up",
                Decision::Restart { .. } => "restart",
            }
            .to_owned(),
        };
        if let Err(error) = line.append(&run.dir) {
            self.printer.warn(&format!("the attempt could not be noted: {error}"));
        }
    }

    /// Waits before a restart; a signal ends the waiting and the launch.
    fn pause(&mut self, pause: Duration) -> Option<Exit> {
        let until = Instant::now() + pause;
        loop {
            for signal in self.inbox.pending() {
                self.stop_requests.hear(signal, Instant::now());
            }
            if let Some(request) = self.stop_requests.strongest() {
                return Some(request.exit());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

/// A new folder for the output of an attempt.
fn log_folder(run: &Run) -> std::io::Result<PathBuf> {
    let folder = run.dir.launch_log(next_attempt(&run.dir.launch_logs()));
    fs_err::create_dir_all(&folder)?;
    Ok(folder)
}
