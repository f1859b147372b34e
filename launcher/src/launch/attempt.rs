//! One start of all processes, watched to its end: output is passed on, signals become stop requests, and a job that cannot end by
//! itself is ended.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use dtrain_front::Printer;
use dtrain_front::record::Record;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::cause::Evidence;
use super::command::{Folders, MPI_FOLDER, command};
use super::mpirun::{Ending, noticed};
use super::output::Output;
use super::plan::Plan;
use super::processes::{kill_job, of_job};
use super::stop_request::{Action, Inbox, StopRequest, StopRequests};

/// How often signals and the end are looked for while nothing is said.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks for records of failures.
const RECORDS_LOOK: Duration = Duration::from_millis(250);
/// After the first record, mpirun ends the other ranks within two seconds, unless it is stuck itself.
const END_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Until killed processes are gone.
const DYING: Duration = Duration::from_secs(10);

/// Where an attempt keeps its things.
#[derive(Debug, Clone)]
pub struct Places {
    /// Private folder, removed after the attempt.
    pub job: PathBuf,
    /// Files of output and records that stay; `None` keeps nothing.
    pub files: Option<PathBuf>,
}

/// An attempt that has ended.
pub struct Attempt {
    /// Why.
    pub evidence: Evidence,
    /// Whether any rank began.
    pub began: bool,
    /// What was said last.
    pub output: Output,
    /// Whether ranks were killed while they should have saved.
    pub was_cut_off: bool,
}

/// What the attempts share.
pub struct Watch<'a> {
    /// What is started.
    pub plan: &'a Plan,
    /// Signals that arrive.
    pub inbox: &'a mut Inbox,
    /// What they ask for.
    pub stop_requests: &'a mut StopRequests,
    /// Time to save.
    pub grace: Duration,
    /// The terminal.
    pub printer: &'a Printer,
}

/// Starts the processes and waits until all have ended.
///
/// # Errors
/// The processes cannot be started or watched.
pub fn run(watch: &mut Watch<'_>, places: &Places, restarted: bool) -> std::io::Result<Attempt> {
    let failures = match &places.files {
        // Other hosts do not see the private folder.
        Some(files) if !watch.plan.is_local() => files.join("failures"),
        _ => places.job.join("failures"),
    };
    fs_err::create_dir_all(&failures)?;
    fs_err::create_dir(places.job.join(MPI_FOLDER))?;
    let num_pipes = watch.plan.size.num_ranks;
    let mut output = Output::new(&places.job, num_pipes, places.files.clone(), watch.printer.clone())?;
    let killed_for_memory = out_of_memory_kills();
    let folders = Folders { job: &places.job, failures: &failures };
    let is_mpirun = watch.plan.needs_mpirun();
    let mut child = command(watch.plan, folders, restarted)?.spawn()?;
    output.add_child(
        is_mpirun,
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    );

    let mut end = End { child, job: &places.job, killed: false, was_cut_off: false };
    let watched = end.watch(watch, &mut output, &failures);
    if watched.is_err() {
        end.kill();
    }
    let ending = watched?;
    let began = output.any_rank_spoke() || dtrain_front::rank::has_begun(&places.job);
    // Ranks that mpirun left behind when it was killed.
    kill_job(&places.job, DYING);
    output.finish()?;
    let evidence = Evidence {
        ending,
        is_mpirun,
        noticed: noticed(&output.mpirun()),
        records: Record::read_all(&failures),
        stages: dtrain_comm::last_stages(&places.job, watch.plan.size.num_ranks),
        killed_by_launcher: end.killed,
        out_of_memory: out_of_memory_kills().saturating_sub(killed_for_memory),
    };
    Ok(Attempt { evidence, began, output, was_cut_off: end.was_cut_off })
}

/// The processes of an attempt, and how they are ended.
struct End<'a> {
    child: Child,
    job: &'a Path,
    killed: bool,
    was_cut_off: bool,
}

impl End<'_> {
    fn watch(
        &mut self,
        watch: &mut Watch<'_>,
        output: &mut Output,
        failures: &Path,
    ) -> std::io::Result<Ending> {
        let mut failed: Option<Instant> = None;
        let mut next_look = Instant::now() + RECORDS_LOOK;
        loop {
            output.take(LOOK)?;
            for signal in watch.inbox.pending() {
                match watch.stop_requests.hear(signal, Instant::now()) {
                    Action::Nothing => {}
                    Action::Tell(request) => {
                        watch.printer.say(asked(request));
                        self.tell(request);
                    }
                    Action::Kill => self.kill(),
                }
            }
            if let Some(status) = self.child.try_wait()? {
                let signal = status.signal().map(Ending::Signal);
                return Ok(signal.unwrap_or(Ending::Exit(status.code().unwrap_or(1))));
            }
            let now = Instant::now();
            if now >= next_look && failed.is_none() {
                next_look = now + RECORDS_LOOK;
                let any = std::fs::read_dir(failures).is_ok_and(|mut records| records.next().is_some());
                failed = any.then_some(now);
            }
            if failed.is_some_and(|since| now.duration_since(since) > END_AFTER_FAILURE) {
                self.kill();
            }
            if !self.killed
                && let Some((_, since)) = watch.stop_requests.told()
                && now.duration_since(since) > watch.grace
            {
                self.was_cut_off = true;
                self.kill();
            }
        }
    }

    /// mpirun hands the signal on to all ranks, wherever they are.
    fn tell(&self, request: StopRequest) {
        // A process that has just ended cannot be told, which is noticed at the next look.
        let _ = kill(self.pid(), request.signal());
    }

    /// Ends everything at once. mpirun goes too: it would wait for ranks on other hosts.
    fn kill(&mut self) {
        self.killed = true;
        for pid in of_job(self.job) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = killpg(self.pid(), Signal::SIGKILL);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

fn asked(request: StopRequest) -> &'static str {
    match request {
        StopRequest::User => "stopping: the ranks save and end; Ctrl-C again ends them at once",
        StopRequest::Requeue => "stopping: the ranks save and end, to be started again later",
    }
}

/// Processes that this kernel has killed for want of memory since it started; 0 where it does not tell.
fn out_of_memory_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = counters.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
