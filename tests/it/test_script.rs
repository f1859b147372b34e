//! What `scripts/test.sh` says at its end: tests that a machine cannot run are named, and so are the slowest.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use dtrain_tests::{Sandbox, rust_files, workspace_root};

fn script(name: &str) -> Command {
    Command::new(workspace_root().join("scripts/test").join(name))
}

fn printed(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_summary_names_what_was_skipped_and_the_slowest() {
    let sandbox = Sandbox::new();
    let write = |name: &str, text: String| std::fs::write(sandbox.join(name), text).unwrap();
    let times = (1..=21).map(|number| format!("{number}.25\tdtrain-comm\tworld::test_{number}\n"));
    write("times", times.chain(["0.004\tdtrain\tquick\n".to_owned()]).collect());
    write("skipped", "needs root\tdtrain-tests\tdisk::a\nno `mpirun`\tdtrain-comm\tx\nneeds root\tdtrain-tests\tdisk::b\nneeds root\tdtrain-tests\tdisk::a\n".into());
    write("long", "DTRAIN_TEST_LONG=1 runs it\tdtrain-tests\tkills\n".into());
    let text = printed(&script("summary.sh").arg(sandbox.path()).output().unwrap());
    assert_eq!(text.lines().filter(|line| line.contains(" s  dtrain-comm world::test_")).count(), 20);
    assert!(!text.contains("quick") && !text.contains("test_1\n"), "{text}");
    let beginning: Vec<&str> = text.lines().take(13).collect();
    insta::assert_snapshot!(beginning.join("\n"), @r"

    Skipped on this machine, so not proved:
      needs root
        dtrain-tests disk::a
        dtrain-tests disk::b
      no `mpirun`
        dtrain-comm x

    Heavier proofs, which scripts/test.sh --long runs too:
        dtrain-tests kills

    The slowest of 22 tests:
         21.2 s  dtrain-comm world::test_21
    ");
    // More than fits into a pipe at once.
    let many =
        (1..=10_000).map(|number| format!("{number}.5\tdtrain-comm\tworld::of_a_long_name_{number}\n"));
    write("times", many.collect());
    let output = script("summary.sh").arg(sandbox.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(printed(&output).contains("The slowest of 10000 tests:\n  10000.5 s  dtrain-comm"));
    let nothing = printed(&script("summary.sh").arg(sandbox.join("nothing")).output().unwrap());
    assert!(nothing.contains("No times"), "{nothing}");
}

/// Runs a program that prints `lines` as a test program of `dtrain-x`, and returns what was shown and recorded.
fn recorded(sandbox: &Sandbox, lines: &str, code: i32, verbose: &str) -> (Output, String) {
    let program = sandbox.join("program");
    std::fs::write(&program, format!("#!/bin/sh\ncat <<'END'\n{lines}END\nexit {code}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let folder = sandbox.join("record");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let mut command = script("record.sh");
    command.arg(&program).env("CARGO_PKG_NAME", "dtrain-x").env("DTRAIN_TEST_RECORD", &folder);
    let output = command.env("DTRAIN_TEST_VERBOSE", verbose).output().unwrap();
    (output, std::fs::read_to_string(folder.join("times")).unwrap_or_default())
}

#[test]
fn times_are_taken_from_what_the_harness_prints() {
    let sandbox = Sandbox::new();
    let lines = "\nrunning 4 tests\ntest a::b ... ok <0.300s>\ntest c - should panic ... ok <61.002s>\ntest d ... ignored\n\
                 test e ... FAILED <1.000s>\n\ntest result: FAILED. 2 passed\n";
    let (output, times) = recorded(&sandbox, lines, 101, "0");
    assert_eq!(output.status.code(), Some(101), "the exit code is the program's");
    assert_eq!(times, "0.300\tdtrain-x\ta::b\n61.002\tdtrain-x\tc\n1.000\tdtrain-x\te\n");
    let shown = printed(&output);
    assert!(
        shown.contains("test e ... FAILED") && shown.contains("test result") && shown.contains("ignored")
    );
    assert!(!shown.contains("a::b"), "{shown}");
    let (output, _) = recorded(&sandbox, lines, 0, "1");
    assert!(printed(&output).contains("test a::b ... ok"));
    assert!(output.status.success());
}

/// The harness of this compiler does give times, to this very program.
#[test]
fn this_compiler_gives_times() {
    let sandbox = Sandbox::new();
    let mut command = script("record.sh");
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "imports::paths_are_read_from_sources"]);
    command.env("CARGO_PKG_NAME", "dtrain-x").env("DTRAIN_TEST_RECORD", sandbox.path());
    assert!(command.output().unwrap().status.success());
    let times = std::fs::read_to_string(sandbox.join("times")).unwrap();
    assert!(times.ends_with("\tdtrain-x\timports::paths_are_read_from_sources\n"), "{times}");
}

/// A build takes minutes; cargo tells how far it is, on a terminal and in plain lines elsewhere.
#[test]
fn no_script_builds_in_silence() {
    let scripts = std::fs::read_dir(workspace_root().join("scripts")).unwrap().flatten();
    let mut num_builds = 0;
    for path in scripts.map(|entry| entry.path()).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.contains("cargo") && line.contains("build --release")) {
            num_builds += 1;
            assert!(!line.contains("--quiet") && !line.contains("2>/dev/null"), "{}: {line}", path.display());
        }
    }
    assert!(num_builds >= 5, "only {num_builds} builds were found");
}

/// A line that a test prints by itself is captured or lost among others.
#[test]
fn skips_are_said_in_one_way() {
    let own = ["skip/src/lib.rs", "it/test_script.rs"].map(|file| workspace_root().join("tests").join(file));
    let folders = ["configs", "comm", "trainer", "launcher", "tests"];
    let sources: Vec<_> =
        folders.iter().flat_map(|folder| rust_files(&workspace_root().join(folder))).collect();
    assert!(sources.len() > 300, "only {} sources were found", sources.len());
    for file in sources {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = text.lines().find(|line| line.to_lowercase().contains("\"skipped: "));
        assert!(own.contains(&file) || found.is_none(), "{}: {found:?}", file.display());
    }
}
