//! What can go wrong around a run: processes that die, memory that fails or is missing, disks that fill, checkpoints that rot, clocks that jump. Whatever it
//! is, the same command goes on and ends with the weights of the undisturbed run, or says what is wrong and loses nothing.

mod clock;
mod damage;
mod disk;
mod kills;
mod memory;

use dtrain_tests::{RunFiles, Sandbox, differences, write_classes};

use crate::small_runs::settings;

/// Optimizer steps of the runs.
const STEPS: u64 = 24;
/// 36 recordings, of which 9 are for validation, in batches of 9.
const STEPS_PER_EPOCH: u64 = 3;

/// A working directory with the recordings.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    write_classes(&sandbox.join("sounds"), &["lark", "rook", "wren"], 12);
    sandbox
}

/// Settings of a run in `dir`, evaluated after each epoch and saved every second step; `more` is appended.
fn small(dir: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir={dir}");
    let steps = format!("trainer.max_steps={STEPS}");
    let mut all = vec![
        dir.as_str(),
        steps.as_str(),
        "trainer.max_epochs=null",
        "trainer.batch_size=9",
        "data.splits.default.val_fraction=0.25",
        "eval.every_epochs=1",
        "checkpoint.every_steps=2",
    ];
    all.extend(more);
    settings("simclr", &all)
}

#[track_caller]
fn assert_same_end(run: &RunFiles, whole: &RunFiles) {
    assert_eq!(whole.result_count("step"), STEPS);
    let found = differences(run, whole);
    assert!(found.is_empty(), "{}: {}", run.path().display(), found.join("\n"));
}
