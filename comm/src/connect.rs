//! From the environment to a [`Session`]: a process alone never touches MPI, ranks of a job find each other.
//!
//! # How a session ends
//! - **Agreed**: all ranks call [`Session::finalize`]. Rank 0 writes and prints everything before: as soon as one
//!   process exits after it, the launcher may end the others. Only rank 0 then exits with a code other than 0.
//! - **Alone**: a rank that fails by itself reports why and calls [`Session::abort`]; the launcher ends all ranks.
//! - **Panic**: dropping the session while its thread unwinds aborts in the same way, with code 101. Finalizing there
//!   would wait for ranks that wait for this one.
//! - A session dropped otherwise stays open, so that the error that unwound the call stack can still be printed; the
//!   launcher ends the job when the process exits.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::collective::Collective;
use crate::error::CommError;
use crate::heartbeat::{Stall, Watch, WatchOptions};
use crate::hint::Hint;
use crate::join::join_nodes;
use crate::last_resort;
use crate::mpi::{self, MpiCollective, Runtime};
use crate::service::{check_service, unused_tasks};
use crate::single::Single;
use crate::warning::Warning;
use crate::world::World;

/// Exit code of a Rust process that panics.
const PANIC_CODE: i32 = 101;

/// How long MPI's abort may take before the process is killed.
const ABORT: Duration = Duration::from_secs(5);

const YIELD: &str = "OMPI_MCA_mpi_yield_when_idle";

/// Whether NCCL connects ranks at the first collective that needs it (1, its default) or at the start.
const RUNTIME_CONNECT: &str = "NCCL_RUNTIME_CONNECT";

/// The connection to the other ranks, for as long as the process works.
///
/// It stays on the thread that opened it, which MPI wants to be the one that finalizes.
#[derive(Debug)]
pub struct Session {
    collective: Arc<dyn Collective>,
    /// `None` in a world without MPI.
    mpi: Option<Arc<MpiCollective>>,
    warnings: Vec<Warning>,
    stays_on_its_thread: PhantomData<*const ()>,
}

/// Ends all ranks from any thread, such as a watchdog's, while others wait in collectives.
#[derive(Debug, Clone)]
pub struct AbortHandle {
    has_peers: bool,
}

/// Finds the other ranks, or finds that there are none.
///
/// Call it before the process starts threads: only then may it set `OMPI_MCA_mpi_yield_when_idle=1`, which keeps
/// waiting ranks from taking the processor of those that compute.
///
/// # Errors
/// The environment contradicts itself, or MPI fails or sees another world than the launcher.
pub fn connect() -> Result<Session, CommError> {
    let hint = Hint::from_environment(&|name| std::env::var(name).ok())?;
    if hint.is_single() {
        let collective = Arc::new(Single::of(World::of_one(hint.source)));
        collective.heartbeat().publish();
        let warnings = unused_tasks(&hint, &|name| std::env::var(name).ok()).into_iter().collect();
        return Ok(Session { collective, mpi: None, warnings, stays_on_its_thread: PhantomData });
    }
    connect_mpi(&hint)
}

/// Connects through MPI even if `hint` says that there are no peers.
///
/// # Errors
/// As for [`connect`].
pub fn connect_mpi(hint: &Hint) -> Result<Session, CommError> {
    // Checked here, since MPI_Init would end the process instead of returning.
    check_service(hint, &|name| std::env::var(name).ok(), Runtime::is_open_mpi)?;
    let spinning = yield_when_idle();
    connect_gpus_at_the_start();
    let (mpi, unseen) = mpi::start(hint)?;
    let (mpi, warnings) = (Arc::new(mpi), spinning.into_iter().chain(unseen).collect());
    let World { rank, world_size, node, num_nodes, .. } = mpi.world();
    tracing::debug!(rank, world_size, node, num_nodes, "connected through MPI");
    Ok(Session { collective: mpi.clone(), mpi: Some(mpi), warnings, stays_on_its_thread: PhantomData })
}

impl Session {
    /// The collective operations over all ranks.
    #[must_use]
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// The ranks that take part.
    #[must_use]
    pub fn world(&self) -> &World {
        self.collective.world()
    }

    /// Collectives over the same ranks whose calls never mix with those of [`Session::collective`], for another thread
    /// or another purpose; all ranks call it.
    ///
    /// # Errors
    /// What MPI reports.
    pub fn duplicate(&self) -> Result<Arc<dyn Collective>, CommError> {
        match self.duplicate_mpi()? {
            Some(mpi) => Ok(Arc::new(mpi)),
            None => Ok(self.collective.clone()),
        }
    }

    /// As [`Session::duplicate`], with the settings that only MPI has; `None` without MPI.
    ///
    /// # Errors
    /// What MPI reports.
    pub fn duplicate_mpi(&self) -> Result<Option<MpiCollective>, CommError> {
        self.mpi.as_ref().map(|mpi| mpi.duplicate()).transpose()
    }

    /// Calls `on_stall` once, on a thread of its own, when a blocking call of this session's collectives or their
    /// duplicates, or an operation of NCCL, lasts too long: a rank that has died without its launcher's notice, sleeps or
    /// went another way keeps the others waiting for ever. `on_stall` says so, if it is this rank that speaks, and ends
    /// the job through an [`AbortHandle`]. Should it not come back, the process is killed. All ranks call it.
    ///
    /// Work of a rank between its calls counts for the others as waiting, so the limit is longer than the longest; work
    /// that was announced as slow ([`crate::Stage::is_slow`]) has a limit of its own.
    ///
    /// # Errors
    /// [`CommError::CommThread`] when the system gives no thread, [`CommError::NoInterface`] on all ranks when rank 0 has
    /// no such interface; what MPI reports.
    pub fn watch(
        &self,
        options: &WatchOptions,
        on_stall: impl Fn(Stall) + Send + 'static,
    ) -> Result<Watch, CommError> {
        let Some(mpi) = &self.mpi else { return Ok(Watch::of_nothing()) };
        let relay = join_nodes(&**mpi, mpi.heartbeat(), options.interface.as_deref())?;
        Watch::start(mpi.heartbeat(), options, relay, on_stall)
    }

    /// Sums `buffer` over all ranks with one raw `MPI_Allreduce` in place and nothing else, as a measure for the others;
    /// without MPI it does nothing.
    ///
    /// # Errors
    /// [`CommError::Argument`] for more elements than MPI can count; what MPI reports.
    pub fn bare_all_reduce(&self, buffer: &mut [f32]) -> Result<(), CommError> {
        self.mpi.as_ref().map_or(Ok(()), |mpi| mpi.bare_all_reduce(buffer))
    }

    /// What was unusual about connecting.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// A handle that ends all ranks from any thread.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle { has_peers: self.mpi.is_some() }
    }

    /// The agreed end; waits for all ranks. Collectives that outlive the session return [`CommError::Finalized`].
    ///
    /// # Errors
    /// What MPI reports.
    pub fn finalize(mut self) -> Result<(), CommError> {
        match self.mpi.take() {
            Some(mpi) => mpi.finalize(),
            None => Ok(()),
        }
    }

    /// The end of a rank that fails alone: ends this process and all others with `code`.
    ///
    /// Report the reason before; nothing runs afterwards, no destructors either.
    pub fn abort(&self, code: i32) -> ! {
        self.abort_handle().abort(code)
    }
}

impl AbortHandle {
    /// As [`Session::abort`].
    pub fn abort(&self, code: i32) -> ! {
        let _armed = last_resort::arm(ABORT);
        if self.has_peers {
            Runtime::abort(code);
        }
        exit(code)
    }
}

#[expect(clippy::exit, reason = "ending the process is what the caller asks for")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.mpi.is_some() && std::thread::panicking() {
            Runtime::abort(PANIC_CODE);
        }
    }
}

/// Makes waiting ranks give way to computing ones, unless the user has chosen.
fn yield_when_idle() -> Option<Warning> {
    if std::env::var_os(YIELD).is_some() {
        return None;
    }
    if num_threads() != Some(1) {
        return Some(Warning {
            what: "ranks that wait for others may slow down ranks that compute".to_owned(),
            hint: format!("set `{YIELD}=1` in the environment; 0 silences this"),
        });
    }
    // SAFETY: this thread is the only one of the process, so that nobody reads the environment meanwhile.
    unsafe { std::env::set_var(YIELD, "1") };
    None
}

/// Keeps NCCL from connecting ranks in the middle of a step, unless the user has chosen. Without it, the first collectives
/// of the NCCL transport see to the same for what they cover.
fn connect_gpus_at_the_start() {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".nccl.conf"));
    let own = std::env::var_os("NCCL_CONF_FILE").map(PathBuf::from).or(home);
    let files = own.into_iter().chain([PathBuf::from("/etc/nccl.conf")]);
    let is_chosen = std::env::var_os(RUNTIME_CONNECT).is_some()
        || files.filter_map(|file| std::fs::read_to_string(file).ok()).any(|text| chooses(&text));
    if !is_chosen && num_threads() == Some(1) {
        // SAFETY: this thread is the only one of the process, so that nobody reads the environment meanwhile.
        unsafe { std::env::set_var(RUNTIME_CONNECT, "0") };
    }
}

/// Whether the text of a configuration file of NCCL, `NAME=VALUE` in each line, has a value; the environment would hide it.
fn chooses(text: &str) -> bool {
    text.lines().filter_map(|line| line.split_once('=')).any(|(name, _)| name.trim() == RUNTIME_CONNECT)
}

/// Threads of this process, where the system tells.
fn num_threads() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_in_nccl_s_own_file_is_seen() {
        assert!(chooses("# site\nNCCL_DEBUG=WARN\nNCCL_RUNTIME_CONNECT=1\n"));
        assert!(!chooses("NCCL_DEBUG=WARN\n#NCCL_RUNTIME_CONNECT=1\nNCCL_RUNTIME_CONNECTION=1\n"));
    }
}
