//! Checkpoints from outside: with the thread and without it, on two tiers, listed, verified, pruned, and refused by name.

use std::path::Path;

use dtrain_tests::{RunFiles, Sandbox, SmallDisk};
use serde_json::Value;

use crate::small_runs::{settings, with_recordings};

/// 12 recordings of each class in batches of 8: five steps an epoch, the last one of 4.
const STEPS: u64 = 22;

fn run_of(run: &str, more: &[&str]) -> Vec<String> {
    run_of_steps(run, STEPS, more)
}

fn run_of_steps(run: &str, steps: u64, more: &[&str]) -> Vec<String> {
    let (dir, steps) = (format!("run.dir={run}"), format!("trainer.max_steps={steps}"));
    let mut all = vec![dir.as_str(), "trainer.batch_size=8", steps.as_str()];
    all.extend(more);
    settings("simclr", &all)
}

#[track_caller]
fn assert_same_tensors(a: &RunFiles, b: &RunFiles) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(a.newest(file) == b.newest(file), "{file} differs");
    }
}

/// Starts a run and kills it once `ready` holds.
fn killed(sandbox: &Sandbox, ranks: usize, args: Vec<String>, ready: impl FnMut() -> bool) {
    let mut running = sandbox.dtrain(args).ranks(ranks).start();
    running.wait_until("it was to be killed", ready);
    running.kill();
}

#[test]
fn the_thread_and_the_loop_write_the_same_bytes() {
    let sandbox = with_recordings(12);
    for (run, way) in [("thread", "true"), ("loop", "false")] {
        let way = format!("checkpoint.async={way}");
        let more = [way.as_str(), "checkpoint.every_steps=4", "checkpoint.keep_last=3"];
        sandbox.dtrain(run_of(run, &more)).ranks(2).finish().succeeded();
    }
    let (thread, alone) = (sandbox.run("thread"), sandbox.run("loop"));
    assert_same_tensors(&thread, &alone);
    for run in [&thread, &alone] {
        assert_eq!(run.checkpoint_steps(), [16, 20, 22]);
        assert_eq!(run.latest_step(), Some(22));
        // A pause is told with the step after it, and nothing else makes a line.
        let pauses: Vec<u64> = run.series("perf/save_pause_s").iter().map(|(step, _)| *step).collect();
        assert_eq!(pauses, [5, 9, 13, 17, 21]);
        assert_eq!(run.series("perf/save_wait_s").len(), 5);
        assert_eq!(run.metrics().len() as u64, STEPS);
    }
}

#[test]
fn a_kill_while_the_loop_writes_loses_nothing() {
    let sandbox = with_recordings(12);
    let more = ["checkpoint.async=false", "checkpoint.every_steps=3"];
    sandbox.dtrain(run_of("whole", &more)).finish().succeeded();
    let cut = sandbox.run("cut");
    killed(&sandbox, 1, run_of("cut", &more), || cut.metrics().len() >= 8);
    let saved = cut.latest_step().unwrap();
    assert!(saved >= 6, "{saved}: training had waited for the checkpoint of step 6");
    sandbox
        .dtrain(["resume", "cut"])
        .finish()
        .succeeded()
        .says(&format!("step {saved}  (durable checkpoint"));
    assert_same_tensors(&cut, &sandbox.run("whole"));
}

/// Checkpoints of a run on the fast tier.
fn local_steps(folder: &Path) -> Vec<u64> {
    let runs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let all = runs.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten().flatten());
    let names = all.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("step-").and_then(|step| step.parse().ok())).collect()
}

/// The step that `latest` of the run on the fast tier names: a folder is there a moment before it counts.
fn newest_local_step(folder: &Path) -> Option<u64> {
    let runs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let latest = runs.filter_map(|run| {
        let name = std::fs::read_to_string(run.path().join("latest")).ok()?;
        run.path().join(name.trim()).is_dir().then(|| name.trim().strip_prefix("step-")?.parse().ok())?
    });
    latest.max()
}

/// So many steps between durable checkpoints that a kill past the first comes before the second, on fast machines too.
fn run_on_tiers(run: &str) -> Vec<String> {
    let tiers = ["checkpoint.every_steps=40", "checkpoint.local_every_steps=2", "checkpoint.local_dir=fast"];
    run_of_steps(run, 100, &tiers)
}

/// Kills a run on tiers between its durable checkpoints; the step of its newest local one.
fn killed_on_tiers(sandbox: &Sandbox, ranks: usize, run: &str) -> u64 {
    let fast = sandbox.join("fast");
    killed(sandbox, ranks, run_on_tiers(run), || newest_local_step(&fast).is_some_and(|step| step >= 44));
    let newest = newest_local_step(&fast).unwrap();
    assert!(newest < 80, "the kill came at step {newest}, too late for this test");
    newest
}

#[test]
fn a_run_goes_on_from_the_newest_of_both_tiers() {
    let sandbox = with_recordings(12);
    for ranks in [1, 2] {
        let (whole, cut) = (format!("whole{ranks}"), format!("cut{ranks}"));
        sandbox.dtrain(run_on_tiers(&whole)).ranks(ranks).finish().succeeded();
        let fast = sandbox.join("fast");
        assert_eq!(local_steps(&fast), [0; 0], "the end of a run leaves nothing there");
        assert_eq!(sandbox.run(&whole).checkpoint_steps(), [80, 100]);
        let newest = killed_on_tiers(&sandbox, ranks, &cut);
        let resumed = sandbox.dtrain(run_on_tiers(&cut)).ranks(ranks).finish().succeeded();
        resumed.says(&format!("step {newest}  (local checkpoint fast/"));
        assert_same_tensors(&sandbox.run(&cut), &sandbox.run(&whole));
        assert_eq!(local_steps(&fast), [0; 0]);
    }
}

#[test]
fn a_damaged_local_checkpoint_is_passed_over_and_another_runs_is_refused() {
    let sandbox = with_recordings(12);
    sandbox.dtrain(run_on_tiers("whole")).finish().succeeded();
    let (fast, cut) = (sandbox.join("fast"), sandbox.run("cut"));
    let newest = killed_on_tiers(&sandbox, 1, "cut");
    let own = fast.join(cut.read("run_id").trim());

    let id = sandbox.run("whole").read("run_id");
    std::fs::write(cut.join("run_id"), &id).unwrap();
    std::fs::rename(&own, fast.join(id.trim())).unwrap();
    let refused = sandbox.dtrain(["resume", "cut"]).finish().expect(2);
    refused.says(&format!("step-{newest:08}` belongs to another run")).says("hint: move it away");
    std::fs::rename(fast.join(id.trim()), &own).unwrap();
    std::fs::write(cut.join("run_id"), own.file_name().unwrap().as_encoded_bytes()).unwrap();

    // The kill may have come before the one before the newest was removed.
    for step in local_steps(&fast) {
        std::fs::write(own.join(format!("step-{step:08}/model.safetensors")), "torn").unwrap();
    }
    let resumed = sandbox.dtrain(["resume", "cut"]).finish().succeeded();
    resumed.says("the local tier is passed over").says("step 40  (durable checkpoint");
    assert_same_tensors(&cut, &sandbox.run("whole"));
}

#[test]
fn a_fast_tier_that_cannot_be_written_is_found_before_the_first_step() {
    let sandbox = with_recordings(4);
    std::fs::write(sandbox.join("file"), "").unwrap();
    let more = ["checkpoint.local_dir=file/fast", "checkpoint.local_every_steps=2"];
    let refused = sandbox.dtrain(run_of("run", &more)).ranks(2).finish().expect(3);
    refused.says_once("error: failed to create directory `file/fast/").does_not_say("step 1/");
    let alone = ["checkpoint.local_every_steps=2", "checkpoint.every_steps=0"];
    let refused = sandbox.dtrain(run_of("run", &alone)).finish().expect(2);
    refused
        .says("`checkpoint.local_dir` and `checkpoint.local_every_steps` are set together or not at all")
        .says("`checkpoint.every_steps` is 0, which saves nothing");
}

/// Root may write everywhere but to a file system that is mounted read-only.
#[test]
fn a_checkpoint_folder_without_write_permission_is_found_before_the_first_step() {
    let sandbox = with_recordings(4);
    let checkpoints = sandbox.join("run/checkpoints");
    let Some(disk) = SmallDisk::mount_read_only(&checkpoints) else { return };
    let finished = sandbox.dtrain(run_of("run", &[])).ranks(2).finish();
    drop(disk);
    finished
        .expect(3)
        .says_once("error: failed to create file `run/checkpoints/.probe-")
        .says("hint: change the permissions or choose a folder that you may write to")
        .does_not_say("step 1/");
    assert!(!sandbox.join("run/config.yaml").exists());
}

/// The manifest of a later program, with its checksum as docs/checkpoints.md has it.
fn make_newer(manifest: &Path) {
    let text =
        std::fs::read_to_string(manifest).unwrap().replace("\"format_version\": 1", "\"format_version\": 7");
    let (body, _) = text.rsplit_once(",\n  \"xxh3_128\": \"").unwrap();
    let checksum = xxhash_rust::xxh3::xxh3_128(body.as_bytes());
    std::fs::write(manifest, format!("{body},\n  \"xxh3_128\": \"{checksum:032x}\"\n}}\n")).unwrap();
}

#[test]
fn a_newer_format_is_refused_with_its_version_and_nothing_is_overwritten() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(run_of("run", &["trainer.max_steps=4", "checkpoint.every_steps=2"])).finish().succeeded();
    let run = sandbox.run("run");
    make_newer(&run.checkpoint(4).join("manifest.json"));
    let before = sandbox.listing();
    for (args, ranks) in [(["resume", "run"], 1), (["resume", "run"], 2), (["eval", "run"], 1)] {
        let refused = sandbox.dtrain(args).ranks(ranks).finish().expect(2);
        refused
            .says_once("checkpoint `run/checkpoints/step-00000004` has format 7, this program reads up to 1")
            .says("hint: use the version of dtrain that wrote it, or a newer one");
    }
    assert_eq!(sandbox.listing(), before);
    let verified = sandbox.dtrain(["checkpoint", "verify", "run"]).finish().expect(2);
    assert!(verified.stdout.contains("step-00000002: valid"), "{}", verified.stdout);
    assert!(verified.stdout.contains("step-00000004: it has format 7"), "{}", verified.stdout);
}

fn json(sandbox: &Sandbox, args: &[&str], code: i32) -> Value {
    let finished = sandbox.dtrain([args, &["--json"]].concat()).finish().expect(code);
    serde_json::from_str(&finished.stdout).unwrap()
}

fn steps(entries: &Value) -> Vec<u64> {
    entries.as_array().unwrap().iter().map(|entry| entry["step"].as_u64().unwrap()).collect()
}

#[test]
fn checkpoints_are_listed_verified_and_pruned() {
    let sandbox = with_recordings(10);
    let more = [
        "run.dir=run",
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_steps=12",
        "checkpoint.every_steps=2",
        "checkpoint.keep_last=100",
        "checkpoint.monitor=val/knn_top1",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    let run = sandbox.run("run");
    let all = json(&sandbox, &["checkpoint", "ls", "run"], 0);
    assert_eq!(steps(&all), [2, 4, 6, 8, 10, 12]);
    let marked = |mark: &str| -> Vec<u64> {
        let entries = all.as_array().unwrap().iter().filter(|entry| entry[mark] == true);
        entries.map(|entry| entry["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(marked("latest"), [12]);
    let best = marked("best");
    let measured = run.series("val/knn_top1");
    let top = measured.iter().fold((0, f64::MIN), |best, now| if now.1 > best.1 { *now } else { best });
    assert_eq!(best, [top.0], "{measured:?}");
    let table = sandbox.dtrain(["checkpoint", "ls", "run"]).finish().succeeded();
    assert_eq!(table.stdout.lines().count(), 7);
    assert!(table.stdout.lines().last().unwrap().contains("durable"), "{}", table.stdout);

    assert!(json(&sandbox, &["checkpoint", "verify", "run"], 0)[5]["valid"] == true);
    let before = sandbox.listing();
    let planned = json(&sandbox, &["checkpoint", "prune", "run", "--keep-last", "1", "--dry-run"], 0);
    assert_eq!(sandbox.listing(), before, "a dry run deletes nothing");

    // The newest is damaged in a way that only its checksum tells: it does not count as one that stays.
    let model = run.checkpoint(12).join("model.safetensors");
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let verified = sandbox.dtrain(["checkpoint", "verify", "run"]).finish().expect(1);
    assert!(
        verified.stdout.contains("step-00000012: `model.safetensors` has checksum"),
        "{}",
        verified.stdout
    );
    sandbox.dtrain(["checkpoint", "verify", "run/checkpoints/step-00000010"]).finish().succeeded();
    sandbox.dtrain(["checkpoint", "verify", "run/checkpoints/step-00000012"]).finish().expect(1);
    let pruned = json(&sandbox, &["checkpoint", "prune", "run", "--keep-last", "1"], 0);
    assert!(steps(&pruned["kept"]).contains(&10), "{pruned}");
    let gone: Vec<u64> = [2, 4, 6, 8].into_iter().filter(|step| Some(step) != best.first()).collect();
    assert_eq!(steps(&pruned["deleted"]), gone);
    assert!(steps(&planned["deleted"]).contains(&2) || best == [2]);
    assert_eq!(run.checkpoint_steps(), steps(&pruned["kept"]));
    sandbox.dtrain(["resume", "run"]).finish().succeeded().says("step 10  (durable checkpoint");
}

#[test]
fn a_run_that_is_being_trained_is_not_pruned_and_a_folder_that_is_no_run_is_refused() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(run_of("run", &["trainer.max_steps=2"])).finish().succeeded();
    let lock = std::fs::File::create(sandbox.join("run/.lock")).unwrap();
    lock.lock().unwrap();
    let prune = ["checkpoint", "prune", "run", "--keep-last", "1"];
    sandbox.dtrain(prune).finish().expect(2).says("`run` is being trained");
    drop(lock);
    sandbox.dtrain(prune).finish().succeeded().says("0 deleted");
    for verb in ["ls", "verify"] {
        sandbox.dtrain(["checkpoint", verb, "sounds"]).finish().expect(2).says("error: `sounds` is not a");
    }
    sandbox.dtrain(["checkpoint", "prune", "run", "--keep-last", "0"]).finish().expect(2);
}
