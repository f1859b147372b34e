//! `dtrain` answers by itself whatever needs no tensor, and becomes its worker for the rest.

use std::path::PathBuf;
use std::process::{Command, Output};

use dtrain_tests::{Sandbox, dtrain_binary};

use crate::small_runs::{settings, with_recordings};

/// What a copy of `dtrain` says whose worker was not copied.
struct Alone {
    program: PathBuf,
    sandbox: Sandbox,
}

impl Alone {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let program = sandbox.join("dtrain");
        std::fs::copy(dtrain_binary(), &program).unwrap();
        Self { program, sandbox }
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(&self.program).args(words).current_dir(self.sandbox.path()).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_front_loads_neither_libtorch_nor_mpi() {
    // The dynamic linker then lists what it would load.
    let listed = Command::new(dtrain_binary()).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let listed = text(&listed.stdout);
    assert!(listed.contains("libc.so"), "{listed}");
    for library in ["libtorch", "libc10", "libmpi", "libopen-"] {
        assert!(!listed.contains(library), "{listed}");
    }
}

#[test]
fn what_needs_no_tensor_needs_no_worker() {
    let alone = Alone::new();
    for words in [
        &["--help"][..],
        &["--version"],
        &["launch", "--help"],
        &["ls"],
        &["show", "model/resnet18"],
        &["completions", "bash"],
        &["help"],
        &["help", "schedule.lr_scaling"],
        &["help", "method"],
        &["help", "launch"],
        &["help", "eval"],
        &["--cfg", "seed=3"],
        &["slurm", "train", "experiment=supcon_fsdd", "--print"],
    ] {
        let done = alone.run(words);
        assert_eq!(done.status.code(), Some(0), "{words:?}: {}", text(&done.stderr));
        assert!(!done.stdout.is_empty(), "{words:?}");
    }
    for (words, said) in [
        (&["trainer.batch_sise=64"][..], "did you mean `trainer.batch_size`"),
        (&["help", "optimizer.lr_scaling"], "did you mean `schedule.lr_scaling`"),
        (&["help", "trainer.gradient_clip_val"], "write `trainer.grad_clip=VALUE`"),
        (&["help", "frobnicate"], "the sections are"),
        (&["train", "--no-such-option"], "--no-such-option"),
        (&["launch", "-n", "2", "optimizer.lr=-1"], "optimizer.lr"),
        (&["bench", "step", "seed=x"], "seed"),
        (&["verify", "equivalence", "seed=x"], "seed"),
        (&["resume", "nowhere"], "is not a run directory"),
        (&["stop", "nowhere"], "no run is running"),
    ] {
        let done = alone.run(words);
        assert_eq!(done.status.code(), Some(2), "{words:?}: {}", text(&done.stderr));
        assert!(text(&done.stderr).contains(said), "{words:?}: {}", text(&done.stderr));
    }
    let folder = alone.sandbox.path().display().to_string();
    let done = alone.run(&["--dry-run"]);
    assert_eq!(done.status.code(), Some(3));
    insta::assert_snapshot!(text(&done.stderr).replace(&folder, "[work]"), @r"
    error: `dtrain-worker`, the part of dtrain that trains, is not beside `[work]/dtrain`

    hint: copy `dtrain-worker` of the same build into `[work]`, or build both with `cargo build --release`
    ");
}

#[test]
fn a_configuration_error_on_eight_ranks_is_said_once_and_without_the_worker() {
    let alone = Alone::new();
    let mut mpirun = Command::new("mpirun");
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun.args(["-n", "8", "--oversubscribe"]).arg(&alone.program).arg("trainer.batch_sise=64");
    let done = mpirun.current_dir(alone.sandbox.path()).output().unwrap();
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
}

#[test]
fn the_worker_takes_the_place_of_the_front() {
    let sandbox = with_recordings(4);
    let long = settings("supervised", &["run.dir=run", "trainer.max_epochs=1000", "trainer.batch_size=6"]);
    let mut run = sandbox.dtrain(long).start();
    run.wait_until("the worker trains", || sandbox.join("run/metrics.jsonl").exists());
    let program = std::fs::read_link(format!("/proc/{}/exe", run.pid())).unwrap();
    assert_eq!(program.file_name().unwrap(), "dtrain-worker");
    let words = std::fs::read_to_string(format!("/proc/{}/cmdline", run.pid())).unwrap();
    assert!(words.split('\0').next().unwrap().ends_with("dtrain"), "{words}");
}

#[test]
fn a_worker_of_another_build_is_refused() {
    let worker = dtrain_binary().with_file_name("dtrain-worker");
    let run = |mark: Option<&str>| {
        let mut command = Command::new(&worker);
        command.arg("ls").env_remove("DTRAIN_PROGRAM").env_remove("DTRAIN_BUILD_MARK");
        command.envs(mark.map(|mark| ("DTRAIN_BUILD_MARK", mark)));
        command.output().unwrap()
    };
    let other = run(Some("0123456789abcdef"));
    assert_eq!(other.status.code(), Some(3));
    assert!(text(&other.stderr).contains("are not of the same build"), "{}", text(&other.stderr));
    let by_hand = run(None);
    assert_eq!(by_hand.status.code(), Some(2));
    assert!(text(&by_hand.stderr).contains("write `dtrain` instead"), "{}", text(&by_hand.stderr));
}
