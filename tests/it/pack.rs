//! What is carried to a GPU machine works: the pack starts ranks from any folder without this machine's Open MPI, and the
//! check of the GPU path runs through on a CPU, tells what failed, kills what hangs and keeps what it saw.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dtrain_tests::{Sandbox, dtrain_binary, is_long, workspace_root};
use serde_json::Value;

/// Programs that any machine has; a pack needs no others but Python.
const TOOLS: [&str; 3] = ["bash", "sh", "dirname"];

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"))
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A pack of the program under test, moved away from where it was made.
fn pack(sandbox: &Sandbox) -> PathBuf {
    let made = sandbox.join("made");
    let script = workspace_root().join("scripts/pack.sh");
    let done = run(Command::new(script).args(["--no-tests", "--binary"]).arg(dtrain_binary()).arg(&made));
    assert!(done.status.success(), "{}", text(&done));
    assert!(sandbox.join("made.tar.gz").is_file());
    let moved = sandbox.join("elsewhere");
    std::fs::rename(&made, &moved).unwrap();
    moved
}

/// Runs the check of `root` with nothing but [`TOOLS`] and Python on the path, and reads its result.
fn check(root: &Path, sandbox: &Sandbox, parts: &[&str]) -> (Output, Value) {
    let tools = sandbox.join("tools");
    std::fs::create_dir(&tools).unwrap();
    let path = std::env::var_os("PATH").expect("a path");
    for tool in TOOLS {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file());
        symlink(found.unwrap_or_else(|| panic!("no `{tool}`")), tools.join(tool)).unwrap();
    }
    // Not a version manager's shim, which needs more programs.
    let python = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
    symlink(String::from_utf8_lossy(&python.stdout).trim(), tools.join("python3")).unwrap();
    let libtorch =
        std::env::var_os("LIBTORCH").map_or_else(|| workspace_root().join(".deps/torch"), PathBuf::from);
    let file = sandbox.join("result.json");
    let mut command = Command::new(root.join("scripts/gpu_check.sh"));
    command.arg("--cpu").arg("--out").arg(&file).args(parts.iter().flat_map(|part| ["--part", part]));
    command.env_clear().env("PATH", &tools).env("LIBTORCH", libtorch).current_dir(sandbox.path());
    let done = run(&mut command);
    let written = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no result\n{}", text(&done)));
    (done, serde_json::from_str(&written).unwrap())
}

/// Part and status of each check.
fn statuses(result: &Value) -> Vec<(&str, &str)> {
    let checks = result["checks"].as_array().expect("a list of checks").iter();
    checks.map(|check| (check["part"].as_str().unwrap(), check["status"].as_str().unwrap())).collect()
}

#[test]
fn a_pack_proves_its_ranks_from_any_folder() {
    let sandbox = Sandbox::new();
    let root = pack(&sandbox);
    // Every network of the list on a CPU takes a minute or more.
    let is_long = is_long();
    let parts: &[&str] = if is_long { &["parity", "nccl"] } else { &["nccl"] };
    let (done, result) = check(&root, &sandbox, parts);
    assert!(done.status.success(), "{}\n{result:#}", text(&done));
    let ran: Vec<_> = statuses(&result).into_iter().filter(|check| check.1 != "not run").collect();
    let parity = if is_long { &[("parity", "ok"); 2][..] } else { &[] };
    assert_eq!(ran, [parity, &[("nccl", "ok"); 3]].concat());
    // What a CPU cannot show, and what was not asked for, is part of the result.
    assert!(statuses(&result).contains(&("throughput", "not run")));
    assert_eq!(result["code"]["packed"], true);
    // Figures are kept, not only verdicts.
    let weights = &result["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["check"] == "2 ranks equal one")
        .unwrap()["figures"];
    assert!(weights["weights"].as_f64().is_some_and(|error| error < 1e-10), "{weights}");
}

/// A pack whose program does what `script` says.
fn fake_pack(sandbox: &Sandbox, script: &str) -> PathBuf {
    let root = sandbox.join("fake");
    for folder in ["bin", "scripts", "openmpi/bin", "data/birdsong"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    symlink(workspace_root().join("bench"), root.join("bench")).unwrap();
    std::fs::copy(workspace_root().join("scripts/gpu_check.sh"), root.join("scripts/gpu_check.sh")).unwrap();
    std::fs::write(root.join("pack.json"), r#"{"commit": "none"}"#).unwrap();
    let program = root.join("bin/dtrain");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    root
}

#[test]
fn what_fails_is_told_with_its_message() {
    let sandbox = Sandbox::new();
    let says = r#"[ "$1" = --version ] && exit 0; echo "error: the sky is falling" >&2; exit 1"#;
    let (done, result) = check(&fake_pack(&sandbox, says), &sandbox, &["parity", "errors"]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done));
    let failed: Vec<_> = statuses(&result).into_iter().filter(|check| check.1 == "failed").collect();
    assert_eq!(
        failed,
        [("parity", "failed"), ("parity", "failed"), ("errors", "failed"), ("errors", "failed")]
    );
    assert!(text(&done).contains("the sky is falling"), "{}", text(&done));
}

/// Limits, processes that outlive their launcher, and the comparison of weights, against programs made for it.
#[test]
fn the_parts_of_the_check_do_what_they_say() {
    let mut tests = Command::new("python3");
    tests.args([
        "-m",
        "unittest",
        "discover",
        "--quiet",
        "--start-directory",
        "gpu/tests",
        "--top-level-directory",
        ".",
    ]);
    let done = run(tests.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(workspace_root().join("bench")));
    assert!(done.status.success(), "{}", text(&done));
}
