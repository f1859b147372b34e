//! Sweeps of real trials: a grid, a kill of everything, stages, mistakes, and workers as tasks of a real SLURM.

use std::path::Path;

use dtrain_tests::{Finished, Sandbox, SlurmLab};
use serde_json::Value;

use crate::small_runs::{settings, with_recordings};

/// Trials of two epochs, evaluated.
fn words(more: &[&str]) -> Vec<String> {
    let fixed = [
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=2",
        "trainer.device=cpu",
        "optimized_metric=val/acc",
    ];
    settings("supervised", &fixed.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

fn sweep(more: &[&str]) -> Vec<String> {
    std::iter::once("sweep".to_owned()).chain(words(more)).collect()
}

fn status(sandbox: &Sandbox, dir: &str) -> Value {
    let said = sandbox.dtrain(["sweep", "status", dir, "--json"]).finish().succeeded().stdout;
    serde_json::from_str(&said).unwrap()
}

fn states(sandbox: &Sandbox, dir: &str) -> Vec<String> {
    let trials = status(sandbox, dir)["trials"].as_array().unwrap().clone();
    trials.iter().map(|trial| trial["state"].as_str().unwrap().to_owned()).collect()
}

fn num_starts(sandbox: &Sandbox, dir: &str, trial: &str) -> usize {
    let path = sandbox.join(dir).join("trials").join(trial).join("history.jsonl");
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_grid_is_run_side_by_side_and_reported() {
    let sandbox = with_recordings(10);
    let typed = sweep(&["optimizer.lr=0.01,0.001", "seed=range(2)", "--dir", "s", "--at-once", "2"]);
    let ended = sandbox.dtrain(typed.clone()).finish().succeeded();
    ended.says("4 trials in s, compared by val/acc (more is better)").says("4 trials: 4 done");
    let report = sandbox.dtrain(["report", "s"]).finish().succeeded().stdout;
    assert!(report.contains("best settings, by val/acc") && report.contains('±'), "{report}");
    assert!(report.contains("what each setting changes in val/acc"), "{report}");
    let csv = sandbox.dtrain(["report", "s", "--csv"]).finish().succeeded().stdout;
    assert_eq!(csv, std::fs::read_to_string(sandbox.join("s/table.csv")).unwrap());
    assert_eq!(csv.lines().count(), 5);
    // The same command again goes on, with nothing.
    sandbox.dtrain(typed).finish().succeeded().says("going on with the sweep in s");
    assert_eq!(num_starts(&sandbox, "s", "0001"), 1);
    // Only what is new is added.
    let more = ["sweep", "add", "s", "optimizer.lr=0.01,0.1", "seed=0"];
    sandbox.dtrain(more).finish().succeeded().says("1 trial(s) added, 5 in all");
    // A folder that was deleted by hand.
    std::fs::remove_dir_all(sandbox.join("s/trials/0002")).unwrap();
    assert_eq!(states(&sandbox, "s"), ["done", "lost", "done", "done", "done"]);
    sandbox.dtrain(["sweep", "retry", "s"]).finish().succeeded().says("1 trial(s) are run once more");
    assert_eq!(states(&sandbox, "s"), ["done"; 5]);
}

/// All processes die at once while trials are under way; whoever goes on ends with the weights of undisturbed runs, bit for bit.
#[test]
fn a_sweep_that_is_killed_goes_on_from_checkpoints() {
    let sandbox = with_recordings(10);
    let more = ["trainer.max_epochs=30", "checkpoint.every_steps=4", "eval.every_epochs=10", "seed=1,2"];
    let typed: Vec<&str> =
        more.into_iter().chain(["--dir", "s", "--at-once", "2", "--cores-per-trial", "1"]).collect();
    let mut running = sandbox.dtrain(sweep(&typed)).start();
    let latest = |trial: &str| sandbox.run(format!("s/trials/{trial}")).latest_step().unwrap_or(0);
    running.wait_until("both trials have saved", || latest("0001") > 4 && latest("0002") > 4);
    running.kill();
    assert!(states(&sandbox, "s").iter().all(|state| state == "running"));
    let ended = sandbox.dtrain(["sweep", "resume", "s", "--at-once", "2"]).finish().succeeded();
    ended.says("its worker is gone, taken over").says("2 trials: 2 done");
    for (trial, seed) in [("0001", "seed=1"), ("0002", "seed=2")] {
        assert_eq!(num_starts(&sandbox, "s", trial), 2);
        let alone: Vec<String> = words(&[&more[..3], &[seed, "run.dir=alone"]].concat());
        sandbox.dtrain(alone).finish().succeeded();
        let weights = |run: &str| sandbox.run(run).newest("model.safetensors");
        assert!(weights(&format!("s/trials/{trial}")) == weights("alone"), "{trial}");
        std::fs::remove_dir_all(sandbox.join("alone")).unwrap();
    }
}

/// In stages: the second takes what the first has found.
fn two_stages(sandbox: &Sandbox) {
    let common: Vec<String> =
        words(&[]).iter().map(|word| format!("  - \"{}\"\n", word.replace('"', "\\\""))).collect();
    let text = format!(
        "settings:\n{}optimize: val/acc\ndirection: max\nstages:\n  - name: lr\n    grid: {{optimizer.lr: [0.01, 0.000001]}}\n    \
         trial_name: lr{{optimizer.lr}}\n  - name: rest\n    take: {{optimizer.lr: lr}}\n    seeds: 2\n",
        common.concat()
    );
    std::fs::write(sandbox.join("study.yaml"), text).unwrap();
}

/// Trials with what came of them, whoever ran them.
fn table(dir: &Path) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(dir.join("table.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let headings = lines.next().unwrap();
    let at = |name: &str| headings.iter().position(|heading| *heading == name).unwrap();
    let (name, state, value) = (at("name"), at("state"), at("val/acc"));
    lines.map(|cells| (cells[name].to_owned(), cells[state].to_owned(), cells[value].to_owned())).collect()
}

#[test]
fn a_study_in_stages_hands_on_what_it_has_found() {
    let sandbox = with_recordings(10);
    two_stages(&sandbox);
    let ended = sandbox.dtrain(["sweep", "study.yaml", "--dir", "s"]).finish().succeeded();
    ended.says("stage `lr` gives optimizer.lr=");
    assert_eq!(table(&sandbox.join("s")).len(), 4);
    let chosen: Value =
        serde_json::from_str(&std::fs::read_to_string(sandbox.join("s/chosen/lr.json")).unwrap()).unwrap();
    let best = chosen["values"][0][1].as_str().unwrap();
    let config = std::fs::read_to_string(sandbox.join("s/trials/rest-0001/overrides.txt")).unwrap();
    assert!(config.contains(&format!("optimizer.lr={best}")), "{config}");
}

fn refused(sandbox: &Sandbox, typed: &[&str]) -> Finished {
    let typed: Vec<String> = sweep(typed);
    sandbox.dtrain(typed).finish().expect(2)
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let sandbox = with_recordings(10);
    let before = sandbox.listing();
    refused(&sandbox, &["seed=range(0)"]).says("`range(0)` is empty");
    refused(&sandbox, &["optimizer.lr=0.1,fast"]).says("1 of 2 trials cannot be run; nothing was started");
    refused(&sandbox, &["seed=1,2", "seed=3,4"]).says("`seed` varies twice");
    refused(&sandbox, &["run.dir=a,b"]).says("gives each trial a folder of its own");
    refused(&sandbox, &["seed=1,2", "--trial-name", "x"]).says("two trials are called `x`");
    sandbox.dtrain(["sweep", "study=learning_rat"]).finish().expect(2).says("did you mean `learning_rate`");
    sandbox.dtrain(["sweep", "status", "sounds"]).finish().expect(2).says("holds no sweep");
    sandbox.dtrain(["report", "sounds"]).finish().expect(2).says("`dtrain compare sounds`");
    let planned = sandbox.dtrain(sweep(&["seed=1,2", "--dry-run"])).finish().succeeded();
    assert!(planned.stdout.contains("0002 (seed=2)"), "{}", planned.stdout);
    assert_eq!(sandbox.listing(), before);

    let metric = ["seed=1,2", "--dir", "s", "--optimize", "val/accuracy", "--direction", "max"];
    sandbox
        .dtrain(sweep(&metric))
        .finish()
        .expect(1)
        .says("no trial has measured `val/accuracy`")
        .says("val/acc");
    refused(&sandbox, &["seed=5,6", "--dir", "s", "--optimize", "val/accuracy"]).says("holds another sweep");
    let plan = sandbox.join("s/plan.jsonl");
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, text.replace("seed=2", "seed=3")).unwrap();
    sandbox.dtrain(["sweep", "resume", "s"]).finish().expect(2).says("changed by hand");
}

/// A plan of 10,000 trials is written and read; how long it takes is measured elsewhere.
#[test]
fn a_plan_of_ten_thousand_trials_is_written_and_read() {
    let sandbox = with_recordings(4);
    let typed = sweep(&["seed=range(2500)", "optimizer.lr=0.1,0.2,0.3,0.4", "--dir", "s", "--no-run"]);
    sandbox.dtrain(typed).finish().succeeded().says("10000 trials in s");
    let said = sandbox.dtrain(["sweep", "status", "s"]).finish().succeeded().stdout;
    assert!(said.starts_with("10000 trials: 10000 waiting"), "{said}");
}

/// On a cluster: an array of workers for each stage, of which one task is killed and one is taken off its node; the table is that of the
/// local sweep.
#[test]
fn arrays_of_workers_find_what_the_local_sweep_finds() {
    let Some(lab) = SlurmLab::start(2, 0) else { return };
    let sandbox = with_recordings(10);
    two_stages(&sandbox);
    sandbox.dtrain(["sweep", "study.yaml", "--dir", "local"]).finish().succeeded();
    let output = lab
        .command(dtrain_tests::dtrain_binary())
        .args(["sweep", "study.yaml", "--dir", "s", "--slurm", "--workers", "2", "--cpus-per-task", "1"])
        .args(["--tasks-per-node", "1", "--job-name", "night", "--lease-secs", "2"])
        .current_dir(sandbox.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let jobs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(jobs.len(), 2, "{said}");
    let task = format!("{}_1", jobs[0]);
    lab.wait_until("a worker runs", |lab| {
        lab.job(&task).state() == "RUNNING" || lab.job(&task).state() == "COMPLETED"
    });
    // Both may come too late on a fast machine, which changes nothing about the table.
    let _ = lab.command("scancel").args(["--signal=KILL", "--full", &task]).output();
    let _ = lab.command("scontrol").args(["requeue", &format!("{}_2", jobs[0])]).output();
    for job in jobs.iter().flat_map(|job| [format!("{job}_1"), format!("{job}_2")]) {
        lab.wait_for_end(&job);
    }
    assert_eq!(states(&sandbox, "s"), ["done"; 4], "{said}");
    let rows = |dir: &str| {
        sandbox.dtrain(["report", dir, "--csv"]).finish().succeeded();
        table(&sandbox.join(dir))
    };
    assert_eq!(rows("s"), rows("local"));
    // More workers than an array may have.
    let refused = lab
        .command(dtrain_tests::dtrain_binary())
        .args(["sweep", "study.yaml", "--dir", "x", "--slurm", "--workers", "100000", "--cpus-per-task", "1"])
        .current_dir(sandbox.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("MaxArraySize"), "{said}");
    assert!(!sandbox.join("x").exists());
}
