//! Stages of a run: what is frozen keeps every bit, a run that goes on finds itself in its phase, and names that do not
//! exist are refused before anything is written.

use dtrain_tests::{RunFiles, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// Steps of each of the two phases.
const PROBE: u64 = 30;
const STEPS: u64 = 60;

fn staged(run: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir={run}");
    let max_steps = format!("trainer.max_steps={STEPS}");
    let mut all = vec![
        dir.as_str(),
        "trainer.batch_size=8",
        "trainer.max_epochs=null",
        max_steps.as_str(),
        "phases.enabled=true",
        "phases.fracs=[0.5, 0.5]",
        "phases.list=[{name: probe, freeze: [backbone]}, {name: finetune, lr_scale: 0.5, schedule: restart}]",
        "checkpoint.every_steps=5",
        "checkpoint.keep_last=100",
    ];
    all.extend(more);
    settings("supervised", &all)
}

fn weights_at(run: &RunFiles, step: u64) -> dtrain_tests::Weights {
    dtrain_tests::Weights::parse(&std::fs::read(run.checkpoint(step).join("model.safetensors")).unwrap())
}

fn trained_before(sandbox: &Sandbox, ranks: usize) {
    let before = ["run.dir=before", "trainer.batch_size=8", "trainer.max_steps=4"];
    sandbox.dtrain(settings("simclr", &before)).ranks(ranks).finish().succeeded();
}

#[test]
fn a_probe_leaves_the_backbone_as_it_was_and_fine_tuning_moves_it() {
    let sandbox = with_recordings(12);
    trained_before(&sandbox, 2);
    let finished = sandbox.dtrain(staged("run", &["init_from=before"])).ranks(2).finish().succeeded();
    finished
        .says_once("probe: steps 0 to 29")
        .says_once("50 % of the run, frozen: backbone")
        .says_once("finetune: steps 30 to 59")
        .does_not_say("random weights");
    let (before, run) = (sandbox.run("before").weights(), sandbox.run("run"));
    // Running statistics are among them.
    let backbone = before.below("backbone");
    assert!(backbone.names().iter().any(|name| name.ends_with("running_var")));
    assert!(weights_at(&run, 5).below("backbone") == backbone);
    assert!(weights_at(&run, PROBE).below("backbone") == backbone);
    assert!(weights_at(&run, 5).below("classifier") != weights_at(&run, PROBE).below("classifier"));
    let free = weights_at(&run, PROBE + 5).below("backbone");
    let unmoved = free.names().into_iter().filter(|name| free.tensor(name) == backbone.tensor(name));
    assert_eq!(unmoved.collect::<Vec<_>>(), [""; 0]);

    let phases: Vec<f64> = run.series("train/phase").into_iter().map(|(_, phase)| phase).collect();
    let expected: Vec<f64> = (0..STEPS).map(|step| if step < PROBE { 1.0 } else { 2.0 }).collect();
    assert_eq!(phases, expected);
    // The second phase begins with a warm-up of its own, five steps to half of the peak, and ends near zero; the first one
    // ends in the middle of the run's cosine.
    let rates = run.series("opt/lr");
    let rate = |step: u64| rates[step as usize].1;
    for step in 0..5 {
        assert_eq!(rate(PROBE + step), 0.5 * rate(step), "step {step}");
    }
    assert!(rate(PROBE - 1) > 0.4 * rate(4) && rate(STEPS - 1) < 0.01 * rate(4), "{rates:?}");
}

#[test]
fn a_run_killed_in_each_phase_ends_as_the_undisturbed_one() {
    let sandbox = with_recordings(12);
    trained_before(&sandbox, 1);
    let init = ["init_from=before"];
    sandbox.dtrain(staged("whole", &init)).ranks(2).finish().succeeded();
    let (whole, cut) = (sandbox.run("whole"), sandbox.run("cut"));
    for (at, range) in [(8, 5..PROBE), (PROBE + 8, PROBE + 5..STEPS)] {
        let mut running = sandbox.dtrain(staged("cut", &init)).ranks(2).start();
        running.wait_until("the phase has begun", || {
            cut.metrics().last().is_some_and(|line| line.step >= at) && cut.latest_step() >= Some(range.start)
        });
        running.kill();
        let saved = cut.latest_step().unwrap();
        assert!(range.contains(&saved), "killed after step {saved}");
    }
    sandbox.dtrain(["resume", "cut"]).ranks(2).finish().succeeded().says("resumed at");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(cut.newest(file) == whole.newest(file), "{file} differs");
    }
    for name in ["train/loss", "train/phase", "opt/lr"] {
        assert_eq!(cut.series(name), whole.series(name), "{name}");
    }
}

#[test]
fn without_phases_nothing_is_said_of_them() {
    let sandbox = with_recordings(4);
    let plain = staged("run", &["phases.enabled=false", "trainer.max_steps=2"]);
    sandbox.dtrain(plain).finish().succeeded().does_not_say("phase");
    assert!(sandbox.run("run").series("train/phase").is_empty());
}

#[test]
fn a_frozen_part_without_trained_weights_is_worth_a_warning() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(staged("run", &["trainer.max_steps=2"])).finish().succeeded().says_once("random weights");
}

#[test]
fn names_that_do_not_exist_are_refused_by_all_ranks_and_nothing_is_written() {
    let sandbox = with_recordings(4);
    for (list, expected) in [
        (
            "[{name: a, freeze: [backbne]}]",
            "error: phase `a` freezes `backbne`, but no parameter's name begins with it\n\nhint: did you mean `backbone`? \
             there are `backbone` and `classifier`",
        ),
        (
            "[{name: a, losses: {crossentropy: 2}}]",
            "error: phase `a` weighs a loss `crossentropy`, which the method does not have\n\nhint: did you mean \
             `cross_entropy`? there are `cross_entropy`",
        ),
        (
            "[{name: a, steps: 100}]",
            "error: the phases' `steps` add up to 100, but the run has 60\n\nhint: shorten a phase, or train for longer \
             with `trainer.max_steps` or `trainer.max_epochs`",
        ),
    ] {
        let list = format!("phases.list={list}");
        let refused = sandbox.dtrain(staged("run", &[&list, "phases.fracs=[1]"])).ranks(2).finish().expect(2);
        assert_eq!(refused.error(sandbox.path()), expected);
        assert!(!sandbox.join("run").exists());
    }
}
