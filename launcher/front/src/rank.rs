//! The beginning of a process that the launcher has started: it ends with the process that started it, and writes into the
//! pipes of the launcher.
//!
//! Output does not travel through mpirun, which cuts lines into pieces and drops what is on its way when a rank dies. On
//! other hosts, where the pipes are not, it does.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, getppid};

/// Private folder of the job on this host; ranks on other hosts have none.
pub const JOB_DIR: &str = "DTRAIN_JOB_DIR";
/// Where a failing rank leaves its record.
pub const FAILURE_DIR: &str = "DTRAIN_FAILURE_DIR";
/// Set for the processes of a launcher.
pub const LAUNCHED: &str = "DTRAIN_LAUNCHED";

/// The two outputs of a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Data.
    Out,
    /// Talk.
    Err,
}

impl Channel {
    /// Both.
    pub const ALL: [Channel; 2] = [Channel::Out, Channel::Err];

    /// Name of the pipe in the job's folder, and of the file in the run's.
    pub fn file_name(self, rank: usize) -> String {
        match self {
            Channel::Out => format!("rank_{rank:03}.out"),
            Channel::Err => format!("rank_{rank:03}.err"),
        }
    }
}

/// In the job's folder once any rank has begun.
const BEGAN: &str = "began";

/// Whether any rank of the job in this folder has begun.
pub fn has_begun(job: &Path) -> bool {
    job.join(BEGAN).exists()
}

/// Whether a launcher has started this process.
pub fn is_launched() -> bool {
    std::env::var_os(LAUNCHED).is_some()
}

/// To be called first of all. Does nothing in a process that was started otherwise.
pub fn begin(rank: usize) {
    let Some(job) = std::env::var_os(JOB_DIR).filter(|_| is_launched()) else { return };
    let job = Path::new(&job);
    if !job.is_dir() {
        // Another host, or a launcher that is gone.
        return;
    }
    end_with_parent();
    // That it is missing would only make a message less exact.
    let _ = std::fs::write(job.join(BEGAN), "");
    for channel in Channel::ALL {
        if let Err(error) = redirect(&job.join(channel.file_name(rank)), channel) {
            tracing::debug!("output goes through mpirun: {error}");
        }
    }
}

/// mpirun that is killed tells nobody; without this its ranks would live on as long as MPI lets them.
fn end_with_parent() {
    let before = getppid();
    // Refused by no Linux; without it the launcher and the janitor still find the process.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if getppid() != before || before == Pid::from_raw(1) {
        let _ = nix::sys::signal::kill(Pid::this(), Signal::SIGKILL);
    }
}

fn redirect(pipe: &Path, channel: Channel) -> std::io::Result<()> {
    // Without O_NONBLOCK this would wait for ever for a launcher that is gone.
    let end = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(pipe)?;
    // A launcher that cannot keep up slows its ranks down; it loses nothing.
    fcntl(end.as_fd(), FcntlArg::F_SETFL(OFlag::O_WRONLY))?;
    match channel {
        Channel::Out => dup2_stdout(&end)?,
        Channel::Err => dup2_stderr(&end)?,
    }
    Ok(())
}
