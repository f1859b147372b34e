//! Checkpoints that rot on disk: the newest valid one is taken, the reason is said, and the end is the same.

use std::path::Path;

use dtrain_tests::{RunFiles, Sandbox};

use super::{assert_same_end, sandbox, small};

/// A run that was stopped in its middle, with at least two checkpoints, and one that was not.
fn stopped(sandbox: &Sandbox) -> RunFiles {
    sandbox.dtrain(small("whole", &[])).finish().succeeded();
    let mut running = sandbox.dtrain(small("cut", &[])).start();
    let run = sandbox.run("cut");
    running.wait_until("half of the steps were done", || run.metrics().len() >= 12);
    running.signal("TERM");
    running.wait().expect(75);
    assert!(run.checkpoint_steps().len() >= 2);
    run
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn flip_a_bit(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

#[test]
fn each_damage_is_named_and_survived() {
    let sandbox = sandbox();
    let run = stopped(&sandbox);
    let newest = run.checkpoint(run.latest_step().unwrap());
    let name = newest.file_name().unwrap().to_str().unwrap().to_owned();
    type Damage = fn(&Path);
    let damages: [(&str, &str, Damage); 7] = [
        ("truncated", "model.safetensors", |folder| {
            change(&folder.join("model.safetensors"), |bytes| bytes.truncate(bytes.len() / 2));
        }),
        ("flipped", "optimizer.safetensors", |folder| {
            change(&folder.join("optimizer.safetensors"), |bytes| flip_a_bit(bytes))
        }),
        ("flipped_state", "state.bin", |folder| change(&folder.join("state.bin"), |bytes| flip_a_bit(bytes))),
        ("no_manifest", "manifest.json", |folder| {
            std::fs::remove_file(folder.join("manifest.json")).unwrap()
        }),
        ("flipped_manifest", "manifest.json", |folder| {
            change(&folder.join("manifest.json"), |bytes| flip_a_bit(bytes))
        }),
        ("half_deleted", "model.safetensors", |folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            std::fs::remove_file(folder.join("state.bin")).unwrap();
        }),
        ("latest_damaged", "latest", |folder| {
            std::fs::write(folder.with_file_name("latest"), b"\0st").unwrap()
        }),
    ];
    for (label, file, damage) in damages {
        copy(run.path(), &sandbox.join(label));
        damage(&sandbox.run(label).join("checkpoints").join(&name));
        let finished = sandbox.dtrain(["resume", label]).finish().succeeded().says(file);
        if label != "latest_damaged" {
            finished.says(&name).says("passed over");
        }
        assert_same_end(&sandbox.run(label), &sandbox.run("whole"));
    }
}

#[test]
fn when_no_checkpoint_is_whole_nothing_is_overwritten() {
    let sandbox = sandbox();
    let run = stopped(&sandbox);
    for step in run.checkpoint_steps() {
        change(&run.checkpoint(step).join("model.safetensors"), |bytes| flip_a_bit(bytes));
    }
    let before = sandbox.listing();
    let finished = sandbox.dtrain(["resume", "cut"]).finish();
    assert!(matches!(finished.code, Some(1..=3)), "{}", finished.report());
    let error = finished.error(sandbox.path());
    assert!(error.contains("model.safetensors") && error.contains("hint:"), "{error}");
    for step in run.checkpoint_steps() {
        let path =
            run.checkpoint(step).join("model.safetensors").strip_prefix(sandbox.path()).unwrap().to_owned();
        let kept = |listing: &std::collections::BTreeSet<String>| {
            listing
                .iter()
                .filter(|line| line.starts_with(path.to_str().unwrap()))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&sandbox.listing()), kept(&before));
    }
}
