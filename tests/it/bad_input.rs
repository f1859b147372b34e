//! What bad input gets: a message that names the file or key and the next step, once, the right exit code, and nothing
//! lost. Each message is read here as a user reads it, from one process and from two.

use std::path::{Path, PathBuf};
use std::process::Command;

use dtrain_tests::{Sandbox, SmallDisk, skipped, write_float_wav, write_wav};
use regex::Regex;

use crate::small_runs::{settings, with_recordings};

/// Settings of a run of three steps in batches of 6, into the folder `run`.
fn three_steps(more: &[&str]) -> Vec<String> {
    let mut all = vec!["run.dir=run", "trainer.batch_size=6", "trainer.max_steps=3"];
    all.extend(more);
    settings("supervised", &all)
}

/// The one message with which the program refuses `args`, alone and in a world of two.
#[track_caller]
fn refusal(sandbox: &Sandbox, args: &[String], code: i32) -> String {
    let alone = sandbox.dtrain(args).finish().expect(code).error(sandbox.path());
    let both = sandbox.dtrain(args).ranks(2).finish().expect(code).error(sandbox.path());
    assert_eq!(alone, both);
    alone
}

/// `text` with numbers that differ from machine to machine left out.
fn masked(pattern: &str, mask: &str, text: &str) -> String {
    Regex::new(pattern).unwrap().replace_all(text, mask).into_owned()
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[test]
fn a_missing_data_folder() {
    let sandbox = with_recordings(4);
    let before = sandbox.listing();
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["data.root=nowhere"]), 2), @r"
    error: folder `nowhere` does not exist

    hint: point `data.root=` to the folder with the data, or leave it out to use generated data
    ");
    assert_eq!(sandbox.listing(), before, "a run that cannot begin leaves nothing");
}

#[test]
fn an_empty_class() {
    let sandbox = with_recordings(4);
    std::fs::create_dir(sandbox.join("sounds/crow")).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&[]), 2), @r"
    error: class `crow` of `class` is empty: it has no readable recording

    hint: remove the class or restore its recordings
    ");
}

#[test]
fn a_folder_without_recordings() {
    let sandbox = with_recordings(4);
    std::fs::create_dir(sandbox.join("empty")).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["data.root=empty"]), 2), @r"
    error: no recordings found in `[work]/empty`; looked for `.wav`, `.wave`, `.flac`, `.ogg`, `.oga`, `.mp3`, `.m4a`, `.aif`, `.aiff` and `.caf`

    hint: check `data.root=`; folders that begin with a dot are skipped
    ");
}

/// One file cut off, one that is no sound, one without samples.
fn damage_three(sandbox: &Sandbox) {
    let cut = sandbox.join("sounds/lark/001.wav");
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..1000]).unwrap();
    std::fs::write(sandbox.join("sounds/rook/002.wav"), "not a sound\n").unwrap();
    write_wav(&sandbox.join("sounds/wren/003.wav"), &[]);
}

#[test]
fn unreadable_recordings_are_skipped_with_a_warning() {
    let sandbox = with_recordings(6);
    damage_three(&sandbox);
    let finished = sandbox.dtrain(three_steps(&[])).ranks(2).finish().succeeded();
    let warning: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("warning:")).collect();
    insta::assert_snapshot!(warning.join("\n"), @r"warning: unreadable recordings are skipped (3): `lark/001.wav` (truncated: the audio at byte 44 should have 4000 bytes, the file has 956), `rook/002.wav` (not a recording that can be read: it is text that begins with `not a sound\n`), `wren/003.wav` (the recording has no samples); restore from the source, or remove from the data set; `data.max_bad_files=0` refuses to start instead");
    finished.says("15 samples: 15 train");
}

#[test]
fn too_many_unreadable_recordings() {
    let sandbox = with_recordings(6);
    damage_three(&sandbox);
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["data.max_bad_files=2"]), 2), @r"
    error: 3 of 18 recordings cannot be read: `lark/001.wav` (truncated: the audio at byte 44 should have 4000 bytes, the file has 956), `rook/002.wav` (not a recording that can be read: it is text that begins with `not a sound\n`), `wren/003.wav` (the recording has no samples)

    hint: restore from the source, or remove from the data set; or raise `data.max_bad_files=` (now 2)
    ");
}

/// A recording with a fine header whose samples are no numbers: only decoding finds it.
fn spoil(sandbox: &Sandbox, relative: &str) {
    let mut samples = vec![0.1f32; 2000];
    samples[700] = f32::NAN;
    write_float_wav(&sandbox.join(relative), &samples);
}

#[test]
fn a_recording_with_nan_drops_out_and_the_run_goes_on() {
    let sandbox = with_recordings(4);
    spoil(&sandbox, "sounds/lark/001.wav");
    // Two epochs of 12 samples, of which one is missing each time.
    for ranks in [1, 2] {
        let dir = format!("run.dir=ranks{ranks}");
        let args = three_steps(&[&dir, "trainer.max_steps=4"]);
        let finished = sandbox.dtrain(args).ranks(ranks).finish().succeeded();
        let warnings = finished.stderr.lines().filter_map(|line| Some(line.split_once("WARN ")?.1));
        let warnings: Vec<&str> =
            warnings.filter_map(|line| Some(&line[line.find("sample left")?..])).collect();
        let warning = warnings.join("\n").replace(&sandbox.path().display().to_string(), "[work]");
        insta::allow_duplicates! {
            insta::assert_snapshot!(masked("step [0-9]", "step [N]", &warning), @r"sample left out from step [N] on, 1 of at most `data.max_bad_files` = 10: `[work]/sounds/lark/001.wav`: sample NaN in frame 700, channel 0: expected a number of magnitude up to 2^31");
        }
        let run = sandbox.run(format!("ranks{ranks}"));
        assert_eq!(run.result_count("samples_seen"), 22);
        assert!(run.series("train/loss").iter().all(|(_, loss)| loss.is_finite()));
        assert!(run.weights().names().len() > 4);
    }
}

/// It is recorded in the checkpoint: the resumed run leaves it out without asking the file again.
#[test]
fn a_recording_that_dropped_out_stays_out_after_a_resume() {
    let sandbox = with_recordings(4);
    spoil(&sandbox, "sounds/lark/001.wav");
    let args = |dir: &str| {
        three_steps(&[dir, "trainer.max_steps=8", "checkpoint.every_steps=1", "checkpoint.keep_last=20"])
    };
    sandbox.dtrain(args("run.dir=whole")).finish().succeeded();
    let (whole, cut) = (sandbox.run("whole"), sandbox.run("cut"));
    copy_folder(whole.path(), cut.path());
    for step in whole.checkpoint_steps().into_iter().filter(|step| *step > 5) {
        std::fs::remove_dir_all(cut.checkpoint(step)).unwrap();
    }
    std::fs::write(cut.join("checkpoints/latest"), "step-00000005\n").unwrap();
    sandbox
        .dtrain(["resume", "cut"])
        .finish()
        .succeeded()
        .says("resumed at               step 5")
        .does_not_say("left out");
    assert!(whole.newest("model.safetensors") == cut.newest("model.safetensors"));
    assert_eq!(whole.result_count("samples_seen"), cut.result_count("samples_seen"));
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
}

#[test]
fn too_many_recordings_with_nan() {
    let sandbox = with_recordings(4);
    spoil(&sandbox, "sounds/lark/001.wav");
    let text = refusal(&sandbox, &three_steps(&["data.max_bad_files=0"]), 2);
    insta::assert_snapshot!(text, @r"
    error: samples that could not be read during training: 1, the last one `[work]/sounds/lark/001.wav`: sample NaN in frame 700, channel 0: expected a number of magnitude up to 2^31

    hint: restore or remove them, or raise `data.max_bad_files=` (now 0)
    ");
}

#[test]
fn a_test_recording_with_nan_is_named_and_not_counted() {
    let sandbox = with_recordings(6);
    for class in ["lark", "rook", "wren"] {
        spoil(&sandbox, &format!("sounds/{class}/001.wav"));
    }
    let more = [
        "eval.every_epochs=1",
        "data.splits.default.by=class",
        "data.splits.default.test=[lark]",
        "data.target=class",
    ];
    let finished = sandbox.dtrain(three_steps(&more)).ranks(2).finish().succeeded();
    finished.says_once("lark/001.wav`: sample NaN in frame 700, channel 0");
    sandbox
        .dtrain(["eval", "run"])
        .ranks(2)
        .finish()
        .succeeded()
        .says("lark/001.wav`: sample NaN in frame 700");
}

#[test]
fn unknown_keys_wrong_types_and_conflicts_all_at_once() {
    let sandbox = with_recordings(4);
    let wrong =
        words(&["trainer.batch_sise=3", "trainer.max_steps=soon", "optimizer.lr=-1", "modell=resnet18"]);
    insta::assert_snapshot!(refusal(&sandbox, &wrong, 2), @r"
    error: 4 problems in the configuration

    `trainer.batch_sise` is not a setting
     --> override 1
      | trainer.batch_sise=3
      | ^^^^^^^^^^^^^^^^^^
    hint: did you mean `trainer.batch_size` (default 128)?

    `trainer.max_steps` must be a whole number of at least 0, not `soon`
     --> override 2
      | trainer.max_steps=soon
      |                   ^^^^

    `optimizer.lr` must be above 0 and finite, not -1
     --> override 3
      | optimizer.lr=-1
      |              ^^

    `modell` is not a setting
     --> override 4
      | modell=resnet18
      | ^^^^^^
    hint: did you mean `model`?
    ");
    assert!(!sandbox.join("data").exists(), "nothing is made before the settings are right");
}

#[test]
fn a_batch_larger_than_the_data() {
    let sandbox = with_recordings(4);
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["trainer.batch_size=13"]), 2), @r"
    error: `trainer.batch_size` = 13 is larger than the 12 samples of the train part

    hint: set `trainer.batch_size=12` or less
    ");
}

#[test]
fn three_ranks_share_a_batch_of_64() {
    let sandbox = with_recordings(24);
    let finished = sandbox.dtrain(three_steps(&["trainer.batch_size=64"])).ranks(3).finish().succeeded();
    finished.says("at most 22 samples per rank, over 3 ranks").does_not_say("warning");
    assert_eq!(sandbox.run("run").result_count("samples_seen"), 64 + 8 + 64);
}

#[test]
fn a_run_directory_that_exists() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(three_steps(&["trainer.precision=fp32"])).finish().succeeded();
    let run = sandbox.run("run");
    let (weights, metrics) = (run.newest("model.safetensors"), run.read("metrics.jsonl"));
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["run.resume=never", "trainer.precision=fp32"]), 2), @r"
    error: `run.dir=run` already holds a run

    hint: choose another `run.dir`, or `run.resume=auto` to go on with it
    ");
    let other = three_steps(&["optimizer.lr=0.5", "trainer.precision=fp64", "trainer.threads=2"]);
    insta::assert_snapshot!(refusal(&sandbox, &other, 2), @r#"
    error: `run.dir=run` holds a run with other settings:
      `optimizer.lr` was 0.001 and is now 0.5
      `trainer.precision` was "fp32" and is now "fp64"
      `trainer.threads` was 1 and is now 2

    hint: without them `dtrain resume run` goes on as it was; `init_from=run` and another `run.dir` start a new run from its weights
    "#);
    assert!(run.newest("model.safetensors") == weights && run.read("metrics.jsonl") == metrics);
}

#[test]
fn a_run_directory_that_cannot_be_made() {
    let sandbox = with_recordings(4);
    std::fs::write(sandbox.join("file"), "").unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["run.dir=file/run"]), 3), @r"
    error: the run directory cannot be made: failed to create directory `file/run/logs`: Not a directory (os error 20)

    hint: choose another `run.dir` or `run.root`
    ");
}

#[test]
fn data_that_changed_since_the_run_began() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(three_steps(&[])).finish().succeeded();
    std::fs::remove_file(sandbox.join("sounds/lark/001.wav")).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &words(&["resume", "run"]), 2), @r"
    error: the data in `[work]/sounds` are not those that the run began with

    hint: restore the files, name the folder that holds them with `data.root=FOLDER`, or start a new run with `init_from`
    ");
}

#[test]
fn a_checkpoint_of_another_model() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(three_steps(&["data.splits.default.test_fraction=0.25"])).finish().succeeded();
    insta::assert_snapshot!(refusal(&sandbox, &words(&["eval", "run", "model=resnet18"]), 2), @r"
    error: the checkpoint's `backbone.conv1.weight` is F32 [32, 1, 3, 3], this run's is F32 [64, 1, 7, 7]

    hint: use the model, method and precision of the run that wrote it
    ");
    let other = three_steps(&["run.dir=other", "init_from=run", "model=resnet18"]);
    insta::assert_snapshot!(refusal(&sandbox, &other, 2), @r"
    error: `init_from=run`: `backbone.conv1.weight` is [32, 1, 3, 3] there and [64, 1, 7, 7] here

    hint: choose the `model` and `data` that the weights were trained with
    ");
    let method = words(&["eval", "run", "method=simclr"]);
    insta::assert_snapshot!(refusal(&sandbox, &method, 2), @r"
    error: the checkpoint's `model.safetensors` lacks `projector.0.weight`, which this run needs

    hint: use the model, method and optimizer of the run that wrote it, or `init_from` to take what fits
    ");
    // An edited config.yaml is caught as well.
    let config = sandbox.run("run").read("config.yaml").replace("name: cnn_small", "name: resnet18");
    std::fs::write(sandbox.join("run/config.yaml"), config).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &words(&["resume", "run"]), 2), @r"
    error: the checkpoint's `backbone.conv1.weight` is F32 [32, 1, 3, 3], this run's is F32 [64, 1, 7, 7]

    hint: use the model, method and precision of the run that wrote it
    ");
}

#[test]
fn weights_that_are_not_there() {
    let sandbox = with_recordings(4);
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["init_from=nowhere"]), 2), @r"
    error: `init_from=nowhere` does not exist

    hint: give a run directory, a checkpoint folder, a safetensors file or a file of `torch.save`
    ");
    std::fs::write(sandbox.join("weights.safetensors"), "not weights").unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &three_steps(&["init_from=weights.safetensors"]), 2), @r"
    error: `init_from=weights.safetensors` cannot be read: safetensors header: 7451598620781211502 bytes are announced in a file of 11

    hint: give a run directory, a checkpoint folder, a safetensors file or a file of `torch.save`
    ");
    insta::assert_snapshot!(refusal(&sandbox, &words(&["eval", "nowhere"]), 2), @r"
    error: `nowhere` is neither a run directory nor a checkpoint in one

    hint: give `runs/<experiment>/<date_time>` or `.../checkpoints/step-...`
    ");
    insta::assert_snapshot!(refusal(&sandbox, &words(&["resume", "nowhere"]), 2), @r"
    error: `nowhere` is not a run directory: it has no config.yaml

    hint: give the folder that the run printed, such as `runs/<experiment>/<date_time>`
    ");
}

#[test]
fn nothing_to_evaluate_or_to_embed() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(three_steps(&[])).finish().succeeded();
    insta::assert_snapshot!(refusal(&sandbox, &words(&["eval", "run"]), 2), @r"
    error: there is nothing to evaluate on: `data.split` = default has neither a val nor a test part

    hint: hold something out, for instance with `data.splits.default.test_fraction=0.2`
    ");
    let out = ["embed", "run", "--out", "x.safetensors", "--part", "test"];
    insta::assert_snapshot!(refusal(&sandbox, &words(&out), 2), @r"
    error: the test part of `data.split` = default is empty

    hint: choose another `--part`; those with samples are train
    ");
    insta::assert_snapshot!(refusal(&sandbox, &words(&["embed", "run", "--out", "no/x.safetensors"]), 2), @r"
    error: `--out no/x.safetensors`: there is no folder `no`

    hint: make the folder first
    ");
}

fn cut_off(file: PathBuf) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(100).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let sandbox = with_recordings(4);
    let every = three_steps(&["checkpoint.every_steps=1", "checkpoint.keep_last=5"]);
    sandbox.dtrain(&every).finish().succeeded();
    let run = sandbox.run("run");
    let weights = run.newest("model.safetensors");
    for ranks in [1, 2] {
        cut_off(run.checkpoint(3).join("model.safetensors"));
        let resumed = sandbox.dtrain(["resume", "run"]).ranks(ranks).finish().succeeded();
        resumed.says_once("checkpoint `run/checkpoints/step-00000003` is passed over: `model.safetensors` has 100 bytes instead of");
        assert_eq!(run.latest_step(), Some(3));
        if ranks == 1 {
            assert!(run.newest("model.safetensors") == weights);
        }
    }
    // One flipped bit is damage, too.
    let optimizer = run.checkpoint(3).join("optimizer.safetensors");
    let mut bytes = std::fs::read(&optimizer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&optimizer, bytes).unwrap();
    let resumed = sandbox.dtrain(["resume", "run"]).finish().succeeded();
    resumed
        .says_once("step-00000003` is passed over: `optimizer.safetensors`")
        .says("resumed at               step 2");

    cut_off(run.checkpoint(2).join("state.bin"));
    let evaluated =
        words(&["eval", "run/checkpoints/step-00000002", "data.splits.default.test_fraction=0.25"]);
    insta::assert_snapshot!(masked(r"instead of \d+", "instead of [N]", &refusal(&sandbox, &evaluated, 2)), @r"
    error: checkpoint `run/checkpoints/step-00000002` is damaged: `state.bin` has 100 bytes instead of [N]

    hint: `dtrain resume` on the run directory falls back to the newest valid checkpoint
    ");
    for step in [1, 3] {
        cut_off(run.checkpoint(step).join("model.safetensors"));
    }
    insta::assert_snapshot!(masked(r"instead of \d+", "instead of [N]", &refusal(&sandbox, &words(&["resume", "run"]), 2)), @r"
    error: none of the 3 checkpoints in `run/checkpoints` is valid
      step-00000003: `model.safetensors` has 100 bytes instead of [N]
      step-00000002: `state.bin` has 100 bytes instead of [N]
      step-00000001: `model.safetensors` has 100 bytes instead of [N]

    hint: restore one from a backup, or start again in a new `run.dir`
    ");
    assert_eq!(run.checkpoint_steps(), [1, 2, 3], "what is damaged is left for the user to look at");
}

#[test]
fn a_disk_too_small_for_a_checkpoint_is_found_before_the_first_step() {
    let sandbox = with_recordings(4);
    let Some(_disk) = SmallDisk::mount(&sandbox.join("disk"), 400 << 10) else { return };
    let finished = sandbox.dtrain(three_steps(&["run.dir=disk/run"])).ranks(2).finish().expect(3);
    finished.clone().does_not_say("step 1/3");
    insta::assert_snapshot!(masked(r"[\d.]+ [kM]B", "[N]", &finished.error(sandbox.path())), @r"
    error: not enough space in `disk/run`: [N] needed, [N] free

    hint: free space or quota there, or put the run elsewhere with `run.dir`; earlier checkpoints are untouched and `dtrain resume` goes on from them
    ");
}

#[test]
fn a_disk_that_is_full_at_the_second_checkpoint() {
    let sandbox = with_recordings(4);
    let args = |dir: &str| {
        three_steps(&[dir, "trainer.max_steps=6", "checkpoint.every_steps=2", "checkpoint.keep_last=1"])
    };
    sandbox.dtrain(args("run.dir=whole")).finish().succeeded();
    let whole = sandbox.run("whole");
    let checkpoint = std::fs::read_dir(whole.checkpoint(6)).unwrap().flatten();
    let num_bytes: u64 = checkpoint.map(|entry| entry.metadata().unwrap().len()).sum();
    let Some(disk) = SmallDisk::mount(&sandbox.join("disk"), num_bytes * 8 / 5) else { return };
    let finished = sandbox.dtrain(args("run.dir=disk/run")).finish().expect(3);
    insta::assert_snapshot!(masked(r"[\d.]+ [kM]B", "[N]", &finished.error(sandbox.path())), @r"
    error: not enough space in `disk/run/checkpoints`: [N] needed, [N] free

    hint: free space or quota there, or put the run elsewhere with `run.dir`; earlier checkpoints are untouched and `dtrain resume` goes on from them
    ");
    let run = sandbox.run("disk/run");
    assert_eq!((run.latest_step(), run.checkpoint_steps()), (Some(2), vec![2]));
    disk.resize(64 << 20);
    sandbox.dtrain(["resume", "disk/run"]).finish().succeeded().says("resumed at               step 2");
    assert!(run.newest("model.safetensors") == whole.newest("model.safetensors"));
}

/// Only rank 0 writes metrics; the other one must not wait for it for ever.
#[test]
fn a_disk_that_fills_up_under_the_metrics() {
    let sandbox = with_recordings(4);
    let Some(disk) = SmallDisk::mount(&sandbox.join("disk"), 32 << 20) else { return };
    let long = ["trainer.max_epochs=null", "trainer.max_steps=100000", "checkpoint.every_steps=50000"];
    let args = three_steps(&[&["run.dir=disk/run"], &long[..]].concat());
    let mut running = sandbox.dtrain(args).ranks(2).start();
    let run = sandbox.run("disk/run");
    running.wait_until("some steps were done", || run.metrics().len() >= 3);
    disk.fill();
    let finished = running.wait().expect(3);
    insta::assert_snapshot!(finished.error(sandbox.path()), @r"
    error: failed to write to file `disk/run/metrics.jsonl`: No space left on device (os error 28)

    hint: free some space or choose a folder on another disk
    ");
    let steps: Vec<u64> = run.metrics().iter().map(|line| line.step).collect();
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<u64>>(), "whole lines only");
}

#[test]
fn more_ranks_than_cores() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores > 8 {
        skipped(&format!("{cores} cores are too many for a rank more"));
        return;
    }
    let sandbox = with_recordings(6);
    let ranks = cores + 1;
    let auto = three_steps(&["trainer.threads=auto", "trainer.loader_threads=auto"]);
    let finished = sandbox.dtrain(auto).ranks(ranks).finish().succeeded();
    let warning: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("warning:")).collect();
    insta::assert_snapshot!(masked(r"\d+", "[N]", &warning.join("\n")), @r"warning: [N] local ranks take turns on [N] cores (at most [N] ranks per machine would be faster; `trainer.threads=[N]` silences this)");
    assert_eq!(sandbox.run("run").result_count("world_size"), ranks as u64);
}
