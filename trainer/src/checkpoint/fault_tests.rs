//! Every way in which a save, a deletion or a disk can go wrong, constructed on disk, and a process killed at random
//! moments: loading always gives a whole checkpoint, or says which file is wrong.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fs_err as fs;

use super::store::LATEST_FILE;
use super::*;
use dtrain_configs::schema::MonitorMode;

fn save(store: &CheckpointStore, step: u64) -> PathBuf {
    save_with(store, step, 0)
}

fn save_with(store: &CheckpointStore, step: u64, salt: u64) -> PathBuf {
    let mut staged = store.begin(step).unwrap();
    for (name, len) in REQUIRED_FILES.iter().zip([5000, 3000, 100]) {
        let content: Vec<u8> = (0..len).map(|i| (i as u64 ^ step ^ salt) as u8).collect();
        staged.write_file(name, |file| Ok(file.write_all(&content)?)).unwrap();
    }
    let metrics = [("val/acc".to_owned(), step as f64)].into();
    staged.commit(ManifestInfo { epoch: step / 10, metrics, metadata: Default::default() }).unwrap()
}

fn run() -> (tempfile::TempDir, CheckpointStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(dir.path().join("checkpoints")).unwrap();
    (dir, store)
}

fn loaded_step(store: &CheckpointStore) -> u64 {
    store.load_latest(Validation::Full).unwrap().unwrap().manifest.step
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_new_run_has_no_checkpoint_and_no_warning() {
    let (dir, store) = run();
    assert_eq!(store.load_latest(Validation::Full).unwrap(), None);
    assert_eq!(
        CheckpointStore::inspect(dir.path().join("nowhere")).load_latest(Validation::Full).unwrap(),
        None
    );
}

#[test]
fn each_damage_to_each_file_is_named_and_the_one_before_is_loaded() {
    let files = REQUIRED_FILES.iter().chain([&MANIFEST_FILE]);
    for (file, damage) in
        files.flat_map(|file| ["delete", "truncate", "empty", "extend", "flip"].map(|d| (file, d)))
    {
        let (_dir, store) = run();
        save(&store, 10);
        let newest = save(&store, 20);
        let path = newest.join(file);
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "delete" => fs::remove_file(&path).unwrap(),
            "truncate" => fs::write(&path, &bytes[..bytes.len() - 1]).unwrap(),
            "empty" => fs::write(&path, b"").unwrap(),
            "extend" => fs::write(&path, [bytes.as_slice(), b"\0"].concat()).unwrap(),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
                fs::write(&path, &bytes).unwrap();
            }
        }
        let loaded = store.load_latest(Validation::Full).unwrap().unwrap();
        assert_eq!(loaded.manifest.step, 10, "{file} {damage}");
        let [warning] = loaded.warnings.as_slice() else { panic!("{file} {damage}: {:?}", loaded.warnings) };
        let words = warning.to_string();
        assert!(words.contains("step-00000020") && words.contains(file), "{file} {damage}: {words}");
        let error = CheckpointStore::open_at(&newest, Validation::Full).unwrap_err();
        assert!(error.to_string().contains(file) && error.hint().is_some(), "{file} {damage}: {error}");
        // Only the checksum tells a flipped bit, and reading verifies it without a full check beforehand.
        if damage == "flip" && *file != MANIFEST_FILE {
            let quick = store.load_latest(Validation::Quick).unwrap().unwrap();
            assert_eq!(quick.manifest.step, 20);
            assert!(matches!(quick.read_file(file), Err(CheckpointError::Damaged { .. })));
        }
        // The run goes on over the damaged folder.
        save(&store, 20);
        assert_eq!(loaded_step(&store), 20, "{file} {damage}");
    }
}

#[test]
fn a_manifest_without_a_part_is_refused_by_the_parts_name() {
    let (_dir, store) = run();
    save(&store, 10);
    let folder = save(&store, 20);
    let mut manifest = Manifest::read(&folder).unwrap();
    manifest.files.remove(OPTIMIZER_FILE);
    fs::write(folder.join(MANIFEST_FILE), manifest.encode().unwrap()).unwrap();
    let error = CheckpointStore::open_at(&folder, Validation::Quick).unwrap_err();
    assert!(error.to_string().ends_with("is damaged: it lacks the part `optimizer.safetensors`"), "{error}");
    assert_eq!(loaded_step(&store), 10);
}

#[test]
fn a_newer_format_is_refused_with_a_hint_and_nothing_older_is_loaded_instead() {
    let (_dir, store) = run();
    save(&store, 10);
    let folder = save(&store, 20);
    let mut manifest = Manifest::read(&folder).unwrap();
    manifest.format_version += 1;
    fs::write(folder.join(MANIFEST_FILE), manifest.encode().unwrap()).unwrap();
    let error = store.load_latest(Validation::Full).unwrap_err();
    assert!(matches!(error, CheckpointError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn latest_may_be_missing_empty_garbage_or_dangling() {
    let cases: [(&str, Option<&[u8]>); 5] = [
        ("is missing", None),
        ("names no checkpoint: ``", Some(b"")),
        ("names no checkpoint", Some(b"\xff\x00\x12")),
        ("names no checkpoint", Some(b"../../etc")),
        ("the folder does not exist", Some(b"step-00000030\n")),
    ];
    for (reason, content) in cases {
        let (_dir, store) = run();
        save(&store, 10);
        save(&store, 20);
        let latest = store.dir().join(LATEST_FILE);
        match content {
            None => fs::remove_file(&latest).unwrap(),
            Some(content) => fs::write(&latest, content).unwrap(),
        }
        let loaded = store.load_latest(Validation::Full).unwrap().unwrap();
        assert_eq!(loaded.manifest.step, 20);
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(warning.to_string().contains(reason), "{warning}");
    }
}

#[test]
fn when_nothing_is_valid_every_fault_is_listed() {
    let (_dir, store) = run();
    for step in [10, 20] {
        fs::remove_file(save(&store, step).join(STATE_FILE)).unwrap();
    }
    let error = store.load_latest(Validation::Quick).unwrap_err();
    let lines = "step-00000020: `state.bin` is missing\n  step-00000010: `state.bin` is missing";
    assert!(error.to_string().ends_with(lines), "{error}");
}

/// What a crash leaves at each stage of a save of step 20 after one of step 10, and what is loaded then.
#[test]
fn each_stage_of_a_save_can_be_the_last() {
    let stages: [(&str, u64); 6] = [
        ("empty staging", 10),
        ("staging without manifest", 10),
        ("staging complete", 10),
        ("renamed", 10),
        ("latest half written", 10),
        ("latest moved", 20),
    ];
    for (stage, expected) in stages {
        let (_dir, store) = run();
        save(&store, 10);
        let folder = save(&store, 20);
        let staging = store.dir().join(".staging-step-00000020");
        if expected == 10 {
            fs::write(store.dir().join(LATEST_FILE), "step-00000010\n").unwrap();
        }
        match stage {
            "empty staging" => {
                fs::remove_dir_all(&folder).unwrap();
                fs::create_dir(&staging).unwrap();
            }
            "staging without manifest" => {
                fs::rename(&folder, &staging).unwrap();
                fs::remove_file(staging.join(MANIFEST_FILE)).unwrap();
            }
            "staging complete" => fs::rename(&folder, &staging).unwrap(),
            "latest half written" => fs::write(store.dir().join(".latest.tmp-1"), "step-000").unwrap(),
            _ => {}
        }
        let store = CheckpointStore::open(store.dir()).unwrap();
        assert_eq!(loaded_step(&store), expected, "{stage}");
        let hidden = fs::read_dir(store.dir())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with('.'));
        assert!(!hidden, "{stage}: leftovers");
        save(&store, 20);
        assert_eq!(loaded_step(&store), 20, "{stage}");
    }
}

#[test]
fn a_folder_that_was_moved_aside_comes_back_unless_its_successor_is_whole() {
    let (_dir, store) = run();
    let folder = save(&store, 10);
    let aside = store.dir().join(".replaced-step-00000010");
    let model = fs::read(folder.join(MODEL_FILE)).unwrap();

    fs::rename(&folder, &aside).unwrap();
    let store = CheckpointStore::open(store.dir()).unwrap();
    assert_eq!(fs::read(folder.join(MODEL_FILE)).unwrap(), model);
    assert_eq!(loaded_step(&store), 10);

    copy(&folder, &aside);
    fs::write(folder.join(MODEL_FILE), b"torn").unwrap();
    let store = CheckpointStore::open(store.dir()).unwrap();
    assert_eq!(loaded_step(&store), 10);
    assert!(!aside.exists());

    copy(&folder, &aside);
    fs::write(aside.join(MODEL_FILE), b"older").unwrap();
    let store = CheckpointStore::open(store.dir()).unwrap();
    assert_eq!(fs::read(folder.join(MODEL_FILE)).unwrap(), model);
    assert!(!aside.exists() && loaded_step(&store) == 10);
}

/// Deletion renames, removes the manifest, then the rest: after a crash at each stage the folder is gone for good.
#[test]
fn each_stage_of_a_deletion_can_be_the_last() {
    for stage in ["renamed", "manifest removed", "half removed"] {
        let (_dir, store) = run();
        let old = save(&store, 10);
        save(&store, 20);
        let trash = store.dir().join(".trash-step-00000010");
        fs::rename(&old, &trash).unwrap();
        if stage != "renamed" {
            fs::remove_file(trash.join(MANIFEST_FILE)).unwrap();
        }
        if stage == "half removed" {
            fs::remove_file(trash.join(MODEL_FILE)).unwrap();
        }
        let steps = |store: &CheckpointStore| {
            store.list(Validation::Full).unwrap().iter().map(|listed| listed.step).collect::<Vec<_>>()
        };
        assert_eq!(steps(&CheckpointStore::inspect(store.dir())), [20], "{stage}");
        let store = CheckpointStore::open(store.dir()).unwrap();
        assert!(!trash.exists(), "{stage}");
        assert_eq!(steps(&store), [20], "{stage}");
    }
}

#[test]
fn retention_keeps_the_last_and_the_best_and_refuses_the_last_good_one() {
    let (_dir, store) = run();
    for step in [10, 20, 30, 40] {
        save(&store, step);
    }
    let policy = RetentionPolicy { keep_last: 1, mode: MonitorMode::Min };
    let actions = store.plan(&policy, Some("val/acc"), &[]).unwrap();
    assert_eq!(actions, [20, 30].map(|step| RetentionAction::Delete { step }));
    store.apply(&actions).unwrap();
    let list = store.list(Validation::Full).unwrap();
    assert_eq!(list.iter().map(|l| (l.step, l.is_latest)).collect::<Vec<_>>(), [(10, false), (40, true)]);
    let refused = store.apply(&[RetentionAction::Delete { step: 40 }]);
    assert!(matches!(refused, Err(CheckpointError::LastGood { step: 40 })));
    assert_eq!(loaded_step(&store), 40);
}

#[test]
fn a_checkpoint_is_found_by_its_folder_its_parent_or_its_run() {
    let (dir, store) = run();
    save(&store, 10);
    let newest = save(&store, 20);
    let copied = dir.path().join("best");
    copy(&store.dir().join("step-00000010"), &copied);
    for (path, step) in [(dir.path(), 20), (store.dir(), 20), (&newest, 20), (&copied, 10)] {
        let loaded = CheckpointStore::open_at(path, Validation::Full).unwrap();
        assert_eq!(loaded.manifest.step, step, "{}", path.display());
        assert_eq!(loaded.read_file(MODEL_FILE).unwrap().len(), 5000);
    }
    for path in [dir.path().join("nowhere"), tempfile::tempdir().unwrap().path().to_owned()] {
        let error = CheckpointStore::open_at(&path, Validation::Full).unwrap_err();
        assert!(matches!(error, CheckpointError::NotACheckpoint { .. }), "{error}");
    }
    let moved = store.dir().join("step-00000030");
    copy(&newest, &moved);
    let error = CheckpointStore::open_at(&moved, Validation::Full).unwrap_err();
    assert!(error.to_string().contains("named after step 30 and its manifest is of step 20"), "{error}");
}

const CHILD_DIR: &str = "DTRAIN_TEST_SAVE_LOOP";

/// Runs only inside the process that [`a_process_killed_at_any_moment_loses_no_reported_checkpoint`] starts.
#[test]
fn save_loop_of_the_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = CheckpointStore::open(PathBuf::from(dir)).unwrap();
    let policy = RetentionPolicy { keep_last: 2, mode: MonitorMode::Max };
    let start = store.load_latest(Validation::Full).unwrap().map_or(0, |loaded| loaded.manifest.step);
    println!("\nstarted");
    for step in start.. {
        // The first one exists already, with other content, and is replaced.
        let salt = if step == start { u64::from(std::process::id()) } else { 0 };
        save_with(&store, step, salt);
        println!("\ndurable {step}");
        store.apply(&store.plan(&policy, Some("val/acc"), &[]).unwrap()).unwrap();
    }
}

#[test]
fn a_process_killed_at_any_moment_loses_no_reported_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable: Option<u64> = None;
    for round in 0..24u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg(format!("{}::save_loop_of_the_child", module_path!().split_once("::").unwrap().1))
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        assert!(lines.any(|line| line == "started"), "round {round}");
        let mut step_of = |line: String| line.strip_prefix("durable ")?.parse().ok();
        // Every third round ends before its first report, the others some time after the first or second.
        for _ in 0..round % 3 {
            durable = durable.max(lines.find_map(&mut step_of));
        }
        std::thread::sleep(Duration::from_micros(round * 7919 % 40_000));
        child.kill().unwrap();
        durable = durable.max(lines.filter_map(&mut step_of).max());
        child.wait().unwrap();

        let store = CheckpointStore::open(dir.path()).unwrap();
        let step = store.load_latest(Validation::Full).unwrap().map(|loaded| {
            // Until `latest` was written for the first time, its absence is said.
            assert!(durable.is_none() || loaded.warnings.is_empty(), "round {round}: {:?}", loaded.warnings);
            loaded.manifest.step
        });
        assert!(step >= durable, "round {round}: {step:?} < {durable:?}");
    }
    assert!(durable >= Some(2), "{durable:?}");
}
