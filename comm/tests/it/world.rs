//! Starts ranks and runs their bodies.

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use dtrain_comm::{Hint, Session, connect_mpi};
use dtrain_test_skip::skipped;

/// Set in the processes that are ranks.
const RANK_MODE: &str = "DTRAIN_COMM_TEST_RANK";

/// One MPI job at a time: two of them on two cores take turns instead of making progress.
static ONE_JOB: Mutex<()> = Mutex::new(());

/// Whether this process is a rank of a test.
pub fn is_rank() -> bool {
    std::env::var_os(RANK_MODE).is_some()
}

/// Connects a rank, also a rank without peers.
pub fn connect_rank() -> Session {
    connect_mpi(&Hint::from_environment(&|name| std::env::var(name).ok()).unwrap()).unwrap()
}

/// Runs `body` on each rank of worlds of the given sizes; `test` is the full name of the calling test.
pub fn in_worlds(test: &str, sizes: &[usize], body: impl FnOnce(&Session)) {
    in_worlds_with(test, sizes, &[], body);
}

/// As [`in_worlds`], with environment variables.
pub fn in_worlds_with(test: &str, sizes: &[usize], variables: &[(&str, &str)], body: impl FnOnce(&Session)) {
    if is_rank() {
        let session = connect_rank();
        body(&session);
        session.finalize().unwrap();
        return;
    }
    for &size in sizes {
        let Some(output) = start(test, size, variables) else { return };
        assert!(output.status.success(), "{size} ranks: {}", text(&output));
        assert_eq!(text(&output).matches("1 passed").count(), size, "{}", text(&output));
    }
}

/// Runs the test `test` as a world of `size` ranks; `None`, with a line for the reader, without `mpirun`.
pub fn start(test: &str, size: usize, variables: &[(&str, &str)]) -> Option<Output> {
    if Command::new("mpirun").arg("--version").output().is_err() {
        skipped("`mpirun` is not on PATH (scripts/setup.sh installs Open MPI)");
        return None;
    }
    let _alone = ONE_JOB.lock().unwrap_or_else(PoisonError::into_inner);
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new("timeout");
    // The limit only turns a hang into a failure.
    command.args(["--kill-after=10", "120", "mpirun", "--bind-to", "none", "--oversubscribe", "-n"]);
    command.arg(size.to_string()).arg(this).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_mpi_yield_when_idle", "1").env(RANK_MODE, "1");
    for &(name, value) in variables {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    Some(command.output().unwrap())
}

/// Everything that the ranks printed.
pub fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}
