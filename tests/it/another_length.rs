//! Runs that go on with another length although their schedule or their phases end with them: what was said about it holds
//! for every later start, is a function of the step alone, and does not depend on the ranks.

use dtrain_tests::{Finished, RunFiles, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// A run of four steps along a cosine, without a warm-up, that ends at a quarter of its rate.
fn four_steps(run: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir={run}");
    let mut all = vec![
        dir.as_str(),
        "schedule=cosine",
        "schedule.warmup_epochs=0",
        "schedule.final_lr_fraction=0.25",
        "optimizer.lr=0.001",
        "trainer.batch_size=6",
        "trainer.max_epochs=null",
        "trainer.max_steps=4",
        "checkpoint.every_steps=1",
        "checkpoint.keep_last=99",
    ];
    all.extend(more);
    settings("supervised", &all)
}

/// The rate of a step of a cosine over `total` steps.
fn cosine(step: u64, total: u64) -> f64 {
    let progress = (step as f64 / total as f64).min(1.0);
    0.001 * (0.25 + 0.75 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

#[track_caller]
fn assert_rates(run: &RunFiles, expected: impl Fn(u64) -> f64, steps: u64) {
    let rates = run.series("opt/lr");
    assert_eq!(rates.len() as u64, steps, "{rates:?}");
    for (index, (_, rate)) in rates.iter().enumerate() {
        let expected = expected(index as u64);
        assert!((rate - expected).abs() < 1e-9, "step {index}: {rate} instead of {expected}");
    }
}

/// Takes the checkpoints after `step` away, as if the run had been killed before them.
fn forget_after(run: &RunFiles, step: u64) {
    for later in run.checkpoint_steps().into_iter().filter(|later| *later > step) {
        std::fs::remove_dir_all(run.checkpoint(later)).unwrap();
    }
    std::fs::write(run.join("checkpoints/latest"), format!("step-{step:08}\n")).unwrap();
}

fn resume(sandbox: &Sandbox, words: &[&str]) -> Finished {
    sandbox.dtrain([&["resume", "run"], words].concat()).finish().succeeded()
}

fn weights(sandbox: &Sandbox) -> Vec<u8> {
    sandbox.run("run").newest("model.safetensors")
}

#[test]
fn a_schedule_that_is_kept_stays_at_its_last_rate() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps("run", &[])).finish().succeeded();
    resume(&sandbox, &["trainer.max_steps=8", "schedule.length=keep"])
        .says_once("was 4; the schedule stays as it is, by `schedule.length=keep`")
        .says_once("made for 4 steps  (the learning rate stays at 2.500e-4 from step 4 on)")
        .does_not_say("warning");
    let run = sandbox.run("run");
    assert_rates(&run, |step| cosine(step, 4), 8);
    // Later starts go on so without the word, longer ones too.
    let whole = weights(&sandbox);
    forget_after(&run, 5);
    resume(&sandbox, &[]).says_once("made for 4 steps").does_not_say("changed");
    assert!(weights(&sandbox) == whole);
    resume(&sandbox, &["trainer.max_steps=10", "schedule.length=keep"]);
    assert_rates(&run, |step| cosine(step, 4), 10);
}

#[test]
fn a_schedule_that_is_computed_anew_jumps_and_every_later_start_finds_it() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps("run", &[])).finish().succeeded();
    let longer = ["trainer.max_steps=8", "schedule.length=new"];
    let (from, to) = (cosine(3, 4), cosine(4, 8));
    resume(&sandbox, &longer)
        .says_once("was 4; the schedule is computed anew, by `schedule.length=new`")
        .says_once(&format!(
            "made for 8 steps from step 4 on  (the learning rate goes from {from:.3e} to {to:.3e} at step 4)"
        ));
    let run = sandbox.run("run");
    let expected = |step: u64| if step < 4 { cosine(step, 4) } else { cosine(step, 8) };
    assert_rates(&run, expected, 8);
    let whole = weights(&sandbox);
    // Killed after the step of the decision and before it; without words and with the same words again.
    for (step, words) in [(6, &[][..]), (2, &[]), (6, &longer), (2, &longer)] {
        forget_after(&run, step);
        resume(&sandbox, words).does_not_say("changed").says_once("made for 8 steps from step 4 on");
        assert!(weights(&sandbox) == whole, "from step {step} with {words:?}");
        assert_rates(&run, expected, 8);
    }
    let history: Vec<serde_json::Value> =
        run.read("history.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(history.len(), 6);
    let changes = history[1]["changes"].as_array().unwrap();
    let keys: Vec<&str> = changes.iter().map(|change| change["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["schedule.made_for", "trainer.max_steps"]);
    assert_eq!(changes[0]["now"][1]["from_step"], 4);
    assert!(history[2..].iter().all(|start| start["changes"] == serde_json::json!([])), "{history:?}");
}

/// In 64 bits two ranks make the same weights as one, beyond rounding, also across the jump.
#[test]
fn another_length_means_the_same_on_any_number_of_ranks() {
    let sandbox = with_recordings(4);
    for (run, ranks) in [("one", 1), ("two", 2)] {
        let words = four_steps(run, &["trainer.precision=fp64"]);
        sandbox.dtrain(words).ranks(ranks).finish().succeeded();
        let longer = ["resume", run, "trainer.max_steps=8", "schedule.length=new"];
        sandbox.dtrain(longer).ranks(ranks).finish().succeeded();
    }
    let (one, two) = (sandbox.run("one"), sandbox.run("two"));
    assert_eq!(one.series("opt/lr"), two.series("opt/lr"));
    let (total, worst) = one.weights().distance(&two.weights());
    assert!(total < 1e-9, "{total}, {worst:?}");
}

#[test]
fn a_rate_of_zero_is_warned_of_and_the_remedy_works() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps("run", &["schedule.final_lr_fraction=0"])).finish().succeeded();
    resume(&sandbox, &["trainer.max_steps=6", "schedule.length=keep"]).says_once(
        "the learning rate is 0 from step 4 on, and nothing is learned from there: `schedule.length=new`",
    );
    forget_after(&sandbox.run("run"), 5);
    resume(&sandbox, &["schedule.length=new"])
        .says_once("made for 6 steps from step 5 on")
        .does_not_say("nothing is learned");
    let last = sandbox.run("run").series("opt/lr").last().copied().unwrap();
    assert!(last.1 > 0.0, "{last:?}");
}

/// Four steps in two phases at a constant rate.
fn in_phases(more: &[&str]) -> Vec<String> {
    let phases = [
        "schedule=constant",
        "phases.enabled=true",
        "phases.fracs=[0.5, 0.5]",
        "phases.list=[{name: probe, freeze: [backbone]}, {name: finetune}]",
    ];
    four_steps("run", &[&phases[..], more].concat())
}

fn phases(sandbox: &Sandbox) -> Vec<f64> {
    sandbox.run("run").series("train/phase").into_iter().map(|(_, phase)| phase).collect()
}

#[test]
fn phases_are_kept_or_shared_out_anew() {
    let longer = ["trainer.max_steps=8"];
    let sandbox = with_recordings(4);
    sandbox.dtrain(in_phases(&[])).finish().succeeded();
    let refused = sandbox.dtrain([&["resume", "run"], &longer[..]].concat()).finish().expect(2);
    refused.says("since its phases share the steps of the run");
    resume(&sandbox, &["trainer.max_steps=8", "schedule.length=keep"]).says_once("finetune: steps 2 to 7");
    assert_eq!(phases(&sandbox), [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);

    let sandbox = with_recordings(4);
    sandbox.dtrain(in_phases(&[])).finish().succeeded();
    forget_after(&sandbox.run("run"), 3);
    resume(&sandbox, &["trainer.max_steps=8", "schedule.length=new"])
        .says_once("probe: steps 0 to 3")
        .says_once("finetune: steps 4 to 7")
        .says_once("the run goes back from phase `finetune` to phase `probe`");
    assert_eq!(phases(&sandbox), [1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
}

#[test]
fn phases_of_fixed_steps_can_only_be_kept() {
    let sandbox = with_recordings(4);
    let list = "phases.list=[{name: probe, steps: 1, freeze: [backbone]}, {name: finetune, steps: 3}]";
    sandbox.dtrain(in_phases(&[list])).finish().succeeded();
    let refused = |word: &str| {
        let words = ["resume", "run", "trainer.max_steps=8", word];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        sandbox.dtrain(words).finish().expect(2).error(sandbox.path())
    };
    assert!(refused("").contains("since the steps of its phases add up to those of the run"));
    insta::assert_snapshot!(refused("schedule.length=new"), @r"
    error: the phases' `steps` add up to 4, and 4 steps of the run are in no phase

    hint: `schedule.length=keep` keeps the phases that the run has, and the last one goes on
    ");
    resume(&sandbox, &["trainer.max_steps=8", "schedule.length=keep"]);
    assert_eq!(phases(&sandbox), [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
}

/// What a finished run says can be typed.
#[test]
fn a_run_with_nothing_left_says_how_it_trains_longer() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps("run", &[])).finish().succeeded();
    let done = resume(&sandbox, &[])
        .says_once("nothing is left")
        .says_once("`dtrain resume run trainer.max_steps=8 schedule.length=new` trains longer");
    assert!(done.stderr.contains("finished after 4 steps"), "{}", done.stderr);
    resume(&sandbox, &["trainer.max_steps=8", "schedule.length=new"]).says("finished after 8 steps");
}

/// The settings of a run begin another one, with the same weights at its end.
#[test]
fn a_run_is_repeated_from_its_settings() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps("run", &["tags=[first]"])).finish().succeeded();
    let settings = "experiment=run/config.yaml";
    sandbox.dtrain([settings, "run.dir=again"]).finish().succeeded().does_not_say("resumed");
    assert!(weights(&sandbox) == sandbox.run("again").newest("model.safetensors"));
    // Without a folder of its own it is a new one below `runs`, and never that of the first run.
    let before = sandbox.run("run").read("history.jsonl");
    sandbox.dtrain([settings, "method.label_smoothing=0.1"]).finish().succeeded();
    assert_eq!(sandbox.run("run").read("history.jsonl"), before);
    assert_eq!(std::fs::read_dir(sandbox.join("runs/supervised")).unwrap().count(), 1);
}
