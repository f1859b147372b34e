//! Clocks that jump: a time server sets the time of day, a laptop wakes up. Nothing that a run decides depends on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use dtrain_tests::{recorded_step, skipped, workspace_root};

use super::{STEPS, assert_same_end, sandbox, small};

const YEAR_SECS: i64 = 365 * 24 * 3600;

/// The library that shifts the time of day; `None` without a C compiler, which is said.
fn shim(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("clock_jump.so");
    let source = workspace_root().join("tests/fixtures/clock_jump.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    if compiled.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    skipped("shifting the clock needs a C compiler");
    None
}

#[test]
fn a_year_forward_and_two_back() {
    let sandbox = sandbox();
    let Some(shim) = shim(sandbox.path()) else { return };
    // A collective may wait for half a minute: far longer than any does, far shorter than the jumps.
    let strict = ["comm.timeout_secs=30", "eval.every_epochs=0"];
    sandbox.dtrain(small("whole", &strict)).ranks(2).finish().succeeded();
    let jump = sandbox.join("jump");
    let job = sandbox.dtrain(small("run", &strict)).ranks(2);
    let job = job.env("LD_PRELOAD", shim.display().to_string());
    let mut running = job.env("CLOCK_JUMP_FILE", jump.display().to_string()).start();
    let run = sandbox.run("run");
    for (step, seconds) in [(STEPS / 3, YEAR_SECS), (2 * STEPS / 3, -YEAR_SECS)] {
        running.wait_until("it trained", || recorded_step(&run) >= step);
        // Renamed into place, so that no process reads half a number.
        let whole = sandbox.join("jump.whole");
        std::fs::write(&whole, seconds.to_string()).unwrap();
        std::fs::rename(&whole, &jump).unwrap();
    }
    running.wait().succeeded();
    assert_same_end(&run, &sandbox.run("whole"));
    let walls: Vec<f64> = run.series("wall_s").into_iter().map(|(_, secs)| secs).collect();
    assert!(walls.windows(2).all(|pair| pair[0] <= pair[1]), "{walls:?}");
    assert!(walls.last().is_some_and(|secs| *secs < 3600.0), "{walls:?}");
}
