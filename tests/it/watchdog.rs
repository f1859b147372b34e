//! Nothing hangs silently: a rank that is stopped is named within seconds, by one rank, and nothing is left running; slow
//! work of rank 0 ends nothing.

use std::time::Duration;

use dtrain_tests::{Finished, Running, Sandbox};

use crate::small_runs::{settings, with_recordings};
use crate::transports::with_standin;

/// A long run of `ranks` that is past its tenth step.
fn running(sandbox: &Sandbox, ranks: usize, more: &[&str]) -> Running {
    let common = [
        "run.dir=run",
        "trainer.device=cpu",
        "trainer.batch_size=8",
        "trainer.max_epochs=null",
        "trainer.max_steps=1000000",
        "checkpoint.every_steps=500000",
        "comm.timeout_secs=3",
    ];
    let job = sandbox.dtrain(settings("simclr", &[&common[..], more].concat())).ranks(ranks);
    let mut running = with_standin(sandbox, job).start();
    let run = sandbox.run("run");
    running.wait_until("the tenth step", || run.metrics().iter().any(|line| line.step >= 10));
    running
}

/// Stops `lost` and waits for the end, which must be that of a failed run, with nothing left.
fn end_without(sandbox: &Sandbox, ranks: usize, lost: usize, more: &[&str]) -> Finished {
    let job = running(sandbox, ranks, more);
    let pids = job.rank_pids();
    assert_eq!(pids.len(), ranks);
    job.signal_process("STOP", pids[lost]);
    let done = job.wait().expect(1);
    for pid in pids {
        assert!(ends(pid), "process {pid} is left\n{}", done.report());
    }
    done
}

/// Whether a process ends soon, if it has not; mpirun does not wait for the last of those that it has killed.
fn ends(pid: u32) -> bool {
    (0..200).any(|look| {
        if look > 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Field 3 after the name: nothing for no such process, Z for one whose parent has yet to hear of its end.
        stat.rsplit(") ").next().is_none_or(|fields| fields.is_empty() || fields.starts_with('Z'))
    })
}

/// The error, which exactly one rank has said, names the rank that was stopped.
fn names(done: &Finished, sandbox: &Sandbox, ranks: usize, lost: usize) {
    let error = done.error(sandbox.path());
    assert!(error.starts_with(&format!("error: rank {lost} ")), "{}", done.report());
    for part in ["stopped (SIGSTOP)", "last seen in ", "rank  host", "hint: "] {
        assert!(error.contains(part), "`{part}` is not in\n{}", done.report());
    }
    let speaker = usize::from(lost == 0);
    assert!(error.contains(&format!("on rank {speaker} of {ranks} has waited ")), "{}", done.report());
    let rows = error.lines().filter(|line| line.contains("  stopped  ")).count();
    assert_eq!(rows, 1, "{}", done.report());
}

#[test]
fn a_rank_that_is_stopped_is_named() {
    let sandbox = with_recordings(10);
    let done = end_without(&sandbox, 3, 2, &[]);
    names(&done, &sandbox, 3, 2);
}

#[test]
fn a_rank_zero_that_is_stopped_is_named_by_another() {
    let sandbox = with_recordings(10);
    let done = end_without(&sandbox, 2, 0, &[]);
    names(&done, &sandbox, 2, 0);
}

#[test]
fn a_rank_that_is_stopped_is_named_where_tensors_travel_over_nccl() {
    let sandbox = with_recordings(10);
    let done = end_without(&sandbox, 2, 1, &["comm.backend=nccl"]);
    names(&done, &sandbox, 2, 1);
}

/// Rank 0 generates recordings for longer than a collective may wait, and the other rank waits for them.
#[test]
fn slow_work_of_rank_zero_ends_nothing() {
    let sandbox = Sandbox::new();
    let job = sandbox.dtrain([
        "experiment=null",
        "data=birdsong",
        "data.generate.scale=4",
        "comm.timeout_secs=1",
        "eval.every_epochs=0",
        "trainer.batch_size=4",
        "trainer.threads=1",
        "trainer.loader_threads=1",
        "trainer.max_epochs=null",
        "trainer.max_steps=1",
        "--dry-run",
    ]);
    let done = job.ranks(2).finish().succeeded();
    assert!(done.stderr.contains("dry run"), "{}", done.report());
}
