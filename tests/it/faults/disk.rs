//! Disks that are full: the run ends with the reason, the last good checkpoint stays, and with room again the run goes on.

use std::path::Path;

use dtrain_tests::{SmallDisk, recorded_step};

use super::{assert_same_end, sandbox, small};

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[test]
fn a_disk_too_small_for_the_next_checkpoint() {
    let sandbox = sandbox();
    // The best weights would be saved between two intervals.
    let no_best = ["checkpoint.monitor=null"];
    sandbox.dtrain(small("whole", &no_best)).finish().succeeded();
    let whole = sandbox.run("whole");
    let one = size_of(&whole.checkpoint(whole.latest_step().unwrap()));
    // Room for two checkpoints and the other files, and not for the third, which is written before the first is deleted.
    let Some(disk) = SmallDisk::mount(&sandbox.join("disk"), 2 * one + one / 2 + (256 << 10)) else { return };
    let finished = sandbox.dtrain(small("disk/run", &no_best)).finish().expect(3);
    let error = finished.error(sandbox.path());
    assert!(error.contains("disk") || error.contains("space"), "{error}");
    assert!(error.contains("hint:"), "{error}");
    let run = sandbox.run("disk/run");
    assert_eq!(run.checkpoint_steps(), [2, 4], "{}", finished.report());
    disk.resize(64 << 20);
    sandbox.dtrain(small("disk/run", &no_best)).finish().succeeded().says("resumed at");
    assert_same_end(&run, &whole);
}

#[test]
fn a_disk_that_fills_while_the_run_trains() {
    let sandbox = sandbox();
    let long = ["trainer.max_steps=100000", "checkpoint.every_steps=3", "eval.every_epochs=0"];
    let Some(disk) = SmallDisk::mount(&sandbox.join("disk"), 32 << 20) else { return };
    let mut running = sandbox.dtrain(small("disk/run", &long)).start();
    let run = sandbox.run("disk/run");
    running.wait_until("a checkpoint was written", || run.latest_step().is_some() && recorded_step(&run) > 5);
    let ballast = disk.fill();
    let finished = running.wait().expect(3);
    assert!(finished.error(sandbox.path()).contains("hint:"), "{}", finished.report());
    let saved = run.latest_step().unwrap();
    std::fs::remove_file(&ballast).unwrap();

    let mut again = sandbox.dtrain(small("disk/run", &long)).start();
    // Recorded steps are there from before; a new checkpoint is not.
    again.wait_until("it went on", || run.latest_step().is_some_and(|step| step > saved));
    again.signal("TERM");
    again.wait().expect(75);
    let steps: Vec<u64> = run.metrics().iter().map(|line| line.step).collect();
    assert_eq!(steps, (1..=run.latest_step().unwrap()).collect::<Vec<u64>>());
}

/// The portable way: files beyond a size are refused by the kernel.
#[test]
fn a_checkpoint_that_the_kernel_refuses() {
    let sandbox = sandbox();
    sandbox.dtrain(small("whole", &[])).finish().succeeded();
    let whole = sandbox.run("whole");
    let largest = whole.newest("optimizer.safetensors").len().max(whole.newest("model.safetensors").len());
    // The shell counts blocks of 512 bytes; the signal that comes with the refusal is ignored, as some systems do.
    let limit = format!("trap '' XFSZ; ulimit -f {}", largest / 512 - 1);
    let finished = sandbox.dtrain(small("run", &[])).after(&limit).finish();
    assert!(matches!(finished.code, Some(1 | 3)), "{}", finished.report());
    let error = finished.error(sandbox.path());
    assert!(error.contains("safetensors"), "{error}");
    let run = sandbox.run("run");
    assert_eq!(run.latest_step(), None);
    sandbox.dtrain(small("run", &[])).finish().succeeded();
    assert_same_end(&run, &whole);
}
