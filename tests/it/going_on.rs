//! What may change when a run goes on, what may not, and that no hint leads in a circle.

use dtrain_tests::{Sandbox, write_classes};

use crate::small_runs::{CLASSES, settings, with_recordings};

/// A run of four steps in batches of 6 at a constant rate, into the folder `run`, with a checkpoint after every step.
fn four_steps(more: &[&str]) -> Vec<String> {
    let mut all = vec![
        "run.dir=run",
        "schedule=constant",
        "trainer.batch_size=6",
        "trainer.max_epochs=null",
        "trainer.max_steps=4",
        "checkpoint.every_steps=1",
    ];
    all.extend(more);
    settings("supervised", &all)
}

fn refusal(sandbox: &Sandbox, args: impl IntoIterator<Item = impl Into<String>>) -> String {
    let args: Vec<String> = args.into_iter().map(Into::into).collect();
    sandbox.dtrain(args).finish().expect(2).error(sandbox.path())
}

fn history(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(sandbox.join("run/history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn rename(sandbox: &Sandbox, from: &str, to: &str) {
    std::fs::rename(sandbox.join(from), sandbox.join(to)).unwrap();
}

#[test]
fn data_that_were_moved_are_named_once_and_the_run_goes_on() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps(&[])).finish().succeeded();
    let config = std::fs::read_to_string(sandbox.join("run/config.yaml")).unwrap();
    let root = format!("root: {}", sandbox.join("sounds").display());
    assert!(config.contains(&root), "a place means the same from any folder\n{config}");

    rename(&sandbox, "sounds", "moved");
    insta::assert_snapshot!(refusal(&sandbox, ["resume", "run"]), @r"
    error: `data.root=[work]/sounds`, where the data of this run were, does not exist

    hint: if they were moved: `dtrain resume run data.root=FOLDER`; they are compared with those that the run began with
    ");
    write_classes(&sandbox.join("others"), &CLASSES, 5);
    insta::assert_snapshot!(refusal(&sandbox, ["resume", "run", "data.root=others"]), @r"
    error: the data in `[work]/others` are not those that the run began with

    hint: restore the files, name the folder that holds them with `data.root=FOLDER`, or start a new run with `init_from`
    ");
    // What the hint says works, and holds from then on.
    let finished = sandbox.dtrain(["resume", "run", "data.root=moved"]).finish().succeeded();
    finished.says("changed").says("data.root = ").says("what lies there is compared, not where");
    let nothing_left = "all 4 steps are done  (`dtrain resume run trainer.max_steps=8` trains longer)";
    sandbox.dtrain(["resume", "run"]).finish().succeeded().does_not_say("changed").says_once(nothing_left);
    // The command that began the run may say where they are now, too.
    rename(&sandbox, "moved", "again");
    sandbox.dtrain(four_steps(&["data.root=again"])).finish().succeeded().says("data.root = ");

    let starts = history(&sandbox);
    let changed = |index: usize| starts[index]["changes"][0]["key"].as_str();
    assert_eq!(starts.len(), 4, "one line for each start that began: {starts:?}");
    assert_eq!(
        [changed(0), changed(1), changed(2), changed(3)],
        [None, Some("data.root"), None, Some("data.root")]
    );
    assert_eq!(starts[1]["overrides"], serde_json::json!(["data.root=moved"]));
}

/// The same weights as a run that was that long from the beginning.
#[test]
fn a_run_at_a_constant_rate_becomes_longer_bit_for_bit() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps(&["run.dir=whole", "trainer.max_steps=8"])).finish().succeeded();
    sandbox.dtrain(four_steps(&[])).finish().succeeded();
    let longer =
        sandbox.dtrain(["resume", "run", "trainer.max_steps=8", "stop.patience=5"]).finish().succeeded();
    longer
        .says("trainer.max_steps = 8")
        .says("was 4; what was done does not depend on the length")
        .says("stop.patience = 5")
        .says("finished after 8 steps");
    assert!(
        sandbox.run("run").newest("model.safetensors") == sandbox.run("whole").newest("model.safetensors")
    );
    assert_eq!(sandbox.run("run").series("train/loss"), sandbox.run("whole").series("train/loss"));
}

#[test]
fn a_change_that_makes_another_run_is_named_with_the_way_round() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps(&["schedule=cosine"])).finish().succeeded();
    let before = sandbox.run("run").newest("model.safetensors");
    insta::assert_snapshot!(refusal(&sandbox, ["resume", "run", "trainer.max_steps=8"]), @r"
    error: the run in `run` cannot become longer or shorter without a word about its schedule, since its learning rate falls along a cosine that ends with the run:
      `trainer.max_steps` was 4 and is now 8

    hint: `schedule.length=keep` goes on with the schedule as it is, to its old end, and stays at its last learning rate from there on, in its last phase; `schedule.length=new` goes on as a run which had the new length from the beginning, so that the learning rate jumps
    ");
    insta::assert_snapshot!(refusal(&sandbox, ["resume", "run", "optimizer.lr=0.5", "eval.knn.k=3"]), @r"
    error: `run.dir=run` holds a run with other settings:
      `optimizer.lr` was 0.001 and is now 0.5

    hint: without them `dtrain resume run` goes on as it was; `init_from=run` and another `run.dir` start a new run from its weights
    ");
    assert!(sandbox.run("run").newest("model.safetensors") == before);
    assert_eq!(history(&sandbox).len(), 1, "a start that is refused leaves nothing");
    // The way round.
    let words = ["schedule=cosine", "run.dir=next", "init_from=run", "trainer.max_steps=8"];
    sandbox.dtrain(four_steps(&words)).finish().succeeded().says("starts from").says("tensors match");
}

#[test]
fn a_run_without_a_checkpoint_says_that_it_begins_again() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(four_steps(&[])).finish().succeeded();
    std::fs::remove_dir_all(sandbox.join("run/checkpoints")).unwrap();
    let again = sandbox.dtrain(["resume", "run"]).finish().succeeded();
    again.says_once("this run had been at step 4 and has no checkpoint: it begins again");
}

/// 30 recordings, 6 of them held out.
fn evaluated(more: &[&str]) -> Vec<String> {
    let held_out = ["data.splits.default.val_fraction=0.2", "eval.every_epochs=1"];
    four_steps(&[&held_out[..], more].concat())
}

#[test]
fn a_metric_that_nothing_measures_is_refused_at_second_0() {
    let sandbox = with_recordings(10);
    let refused = |word: &str| {
        let text = refusal(&sandbox, evaluated(&[word, "--dry-run"]));
        let hint = text.split("hint: ").nth(1).unwrap_or_default().to_owned();
        (text.lines().next().unwrap_or_default().to_owned(), hint)
    };
    for (word, guess) in [
        ("checkpoint.monitor=val_acc", "did you mean `val/acc`?"),
        ("stop.monitor=val/knn_top", "did you mean `val/knn_top1`?"),
        ("optimized_metric=val/accuracy", "did you mean `val/acc`?"),
        ("optimized_metric=train_loss", "did you mean `train/loss`?"),
        ("stop.monitor=val/linear_top1", "`eval.linear.every_epochs=1` measures it after every epoch"),
    ] {
        let (message, hint) = refused(word);
        assert!(message.contains(word.split('=').next().unwrap()), "{message}");
        assert!(hint.starts_with(guess), "{word}: {hint}");
    }
    insta::assert_snapshot!(refusal(&sandbox, evaluated(&["checkpoint.monitor=val_acc"])), @r"
    error: `checkpoint.monitor` is `val_acc`, which this run does not measure
     --> override 25
      | checkpoint.monitor=val_acc
      |                    ^^^^^^^

    hint: did you mean `val/acc`?
    ");
    assert!(!sandbox.join("run").exists());
    for word in
        ["stop.monitor=train/loss", "checkpoint.monitor=val/acc_best", "optimized_metric=val/linear_top1"]
    {
        sandbox.dtrain(evaluated(&[word, "--dry-run"])).finish().succeeded().does_not_say("warning");
    }
}

fn data_of_my_own(sandbox: &Sandbox, words: &[&str]) -> dtrain_tests::Finished {
    let small = ["trainer.batch_size=6", "trainer.max_epochs=null", "trainer.max_steps=2", "run.dir=mine"];
    let root = format!("data.root={}", sandbox.join("sounds").display());
    let words = words.iter().chain(&["data=audio_folder"]).chain(&small).map(|word| (*word).to_owned());
    sandbox.dtrain(words.chain([root, "trainer.threads=1".into()])).finish()
}

/// The first thing a newcomer does: the line that `dtrain show data/audio_folder` gives.
#[test]
fn recordings_of_ones_own_train_with_any_experiment() {
    let mut tried = 0;
    for experiment in ["experiment=supcon_birdsong", "experiment=supcon_fsdd", "experiment=supervised_fsdd"] {
        let sandbox = with_recordings(10);
        let finished = data_of_my_own(&sandbox, &[experiment]).succeeded();
        let label = if experiment.ends_with("birdsong") { "recording" } else { "speaker" };
        finished.says_once(&format!(
            "`eval.probes` names `{label}`, which is not a label of `audio_folder`: it is left out; its labels are class"
        ));
        assert!(sandbox.run("mine").result()["metrics"].get("val/knn_top1").is_some());
        sandbox.dtrain(["eval", "mine"]).finish().succeeded();
        tried += 1;
    }
    assert_eq!(tried, 3);
}

#[test]
fn a_probe_that_was_asked_for_has_to_be_a_label() {
    let sandbox = with_recordings(10);
    let text = data_of_my_own(&sandbox, &["eval.probes=[recording]"]).expect(2).error(sandbox.path());
    let message =
        "error: `eval.probes` names `recording`, which is not a label of `audio_folder`\n --> override 1\n";
    assert!(text.starts_with(message), "{text}");
    assert!(text.ends_with("hint: its labels are class"), "{text}");
}
