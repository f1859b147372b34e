//! Groups of parameters in whole runs: their rates are measured, a run that is killed while things move ends as the undisturbed
//! one, and what cannot work is refused before anything is written.

use dtrain_tests::Sandbox;

use crate::small_runs::{settings, with_recordings};

const STEPS: u64 = 40;
const GROUPS: &str = "optimizer.groups=[{name: predictor, parameters: [predictor], schedule: constant}, \
                      {name: biases, parameters: [\"*.bias\"], weight_decay: {from: 0.1, to: 0}, freeze_until: 10 steps}]";

fn grouped(run: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir={run}");
    let max_steps = format!("trainer.max_steps={STEPS}");
    let mut all = vec![
        dir.as_str(),
        "trainer.batch_size=8",
        "trainer.max_epochs=null",
        max_steps.as_str(),
        "optimizer=adamw",
        "optimizer.weight_decay={from: 0.04, to: 0.4}",
        GROUPS,
        "checkpoint.every_steps=5",
        "checkpoint.keep_last=100",
    ];
    all.extend(more);
    settings("simsiam", &all)
}

#[test]
fn a_group_has_a_rate_of_its_own_and_a_killed_run_ends_as_the_undisturbed_one() {
    let sandbox = with_recordings(12);
    let finished = sandbox.dtrain(grouped("whole", &[])).ranks(2).finish().succeeded();
    finished.says_once("learning rate without schedule").says_once("frozen for 10 steps");
    let (whole, cut) = (sandbox.run("whole"), sandbox.run("cut"));
    let rates: Vec<f64> = whole.series("opt/lr").into_iter().map(|(_, lr)| lr).collect();
    let of_predictor: Vec<f64> = whole.series("opt/lr/predictor").into_iter().map(|(_, lr)| lr).collect();
    let peak = rates.iter().copied().fold(0.0, f64::max);
    assert_eq!(of_predictor, [peak; STEPS as usize]);
    assert!(rates.last() < Some(&(0.1 * peak)), "{rates:?}");
    assert!(whole.series("opt/lr/biases").is_empty(), "they have the rate of the rest");

    for (at, begin) in [(7, 5), (20, 15)] {
        let mut running = sandbox.dtrain(grouped("cut", &[])).ranks(2).start();
        running.wait_until("steps were trained", || {
            cut.metrics().last().is_some_and(|line| line.step >= at) && cut.latest_step() >= Some(begin)
        });
        running.kill();
    }
    sandbox.dtrain(["resume", "cut"]).ranks(2).finish().succeeded().says("resumed at");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(cut.newest(file) == whole.newest(file), "{file} differs");
    }
}

fn refused(sandbox: &Sandbox, words: Vec<String>) -> String {
    sandbox.dtrain(words).finish().expect(2).error(sandbox.path())
}

#[test]
fn what_cannot_work_is_refused_before_the_first_step() {
    let sandbox = with_recordings(4);
    for (word, expected) in [
        (
            "optimizer.groups=[{name: head, parameters: [predicter]}]",
            "group `head` of `optimizer.groups` names `predicter`, but no parameter's name begins with it",
        ),
        (
            "optimizer.groups=[{name: all, parameters: [\"*\"], freeze_until: 1 step}]",
            "phases and `optimizer.groups` together freeze everything in step 0",
        ),
        (
            "optimizer.weight_decay={from: 0.04, to: 0.4, over: 1000 epochs}",
            "`optimizer.weight_decay.over` = 1000 epochs is",
        ),
    ] {
        let said = refused(&sandbox, grouped("run", &[word]));
        assert!(said.contains(expected), "{word}: {said}");
        assert!(!sandbox.join("run").exists(), "{word}");
    }
}

#[test]
fn a_run_does_not_go_on_with_other_groups() {
    let sandbox = with_recordings(4);
    let short = ["trainer.max_steps=12"];
    sandbox.dtrain(grouped("run", &short)).finish().succeeded();
    let words = ["resume", "run", "~optimizer.groups"].map(str::to_owned).to_vec();
    let said = refused(&sandbox, words);
    assert!(said.contains("holds a run with other settings:\n  `optimizer.groups` was ["), "{said}");
}
