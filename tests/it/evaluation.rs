//! What an evaluation says, and of which weights and parts.

use dtrain_tests::Sandbox;
use serde_json::Value;

use crate::small_runs::{first_is_best, with_recordings};

fn json(sandbox: &Sandbox, words: &[&str]) -> Value {
    let told = sandbox.dtrain(words.iter().copied()).finish().succeeded().stdout;
    serde_json::from_str(&told).unwrap()
}

fn accuracies(evaluation: &Value) -> Vec<(String, String, Option<f64>)> {
    let of = |accuracy: &Value| {
        let text = |key: &str| accuracy[key].as_str().unwrap().to_owned();
        (text("part"), text("probe"), accuracy["accuracy"].as_f64())
    };
    evaluation["accuracies"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn the_best_weights_are_evaluated_in_full_where_the_settings_say_so() {
    let sandbox = with_recordings(10);
    let finished = sandbox.dtrain(first_is_best("supervised", &["eval.weights=best"])).finish().succeeded();
    let result = sandbox.run("run").result();
    let best = result["best"]["step"].as_u64().unwrap();
    assert_ne!(Some(best), result["step"].as_u64());
    finished.says_once(&format!("\nbest weights: step {best}\n")).does_not_say("last weights: step");
    assert_eq!(result["evaluation"]["weights"], "best");
    assert_eq!(result["evaluation"]["step"], best);
    assert!(result["best"]["metrics"]["test/linear_top1"].is_number(), "{result}");
    // The last weights were evaluated as on the way.
    assert!(result["metrics"]["val/acc"].is_number() && result["metrics"]["test/acc"].is_null(), "{result}");

    let of_best = json(&sandbox, &["eval", "run", "--json"]);
    assert_eq!(of_best["evaluation"]["weights"], "best");
    for (name, value) in of_best["metrics"].as_object().unwrap() {
        let at_end = result["best"]["metrics"][name].as_f64().unwrap();
        assert!((value.as_f64().unwrap() - at_end).abs() < 1e-6, "{name}: {value} is not {at_end}");
    }
    assert_eq!(accuracies(&of_best["evaluation"]), accuracies(&result["evaluation"]));
    let of_last = json(&sandbox, &["eval", "run", "eval.weights=last", "--json"]);
    assert_eq!((&of_last["evaluation"]["weights"], &of_last["step"]), (&"last".into(), &result["step"]));
}

/// A weight that falls over the run is that of the step whose weights are evaluated.
#[test]
fn losses_of_the_best_weights_are_weighed_as_they_were_trained() {
    let sandbox = with_recordings(10);
    let more = ["method.temperature={from: 1.0, to: 0.1, kind: linear}"];
    sandbox.dtrain(first_is_best("simclr", &more)).finish().succeeded();
    let run = sandbox.run("run");
    let at_end = run.result()["best"]["metrics"]["val/loss"].as_f64().unwrap();
    let of_best = json(&sandbox, &["eval", "run", "--best", "--json"]);
    let alone = of_best["metrics"]["val/loss"].as_f64().unwrap();
    assert!((at_end - alone).abs() < 1e-6, "{at_end} at the end of the run, {alone} by `dtrain eval`");
    let (step, on_the_way) = run.series("val/loss")[0];
    assert_eq!(Some(step), run.result()["best"]["step"].as_u64());
    assert!((at_end - on_the_way).abs() < 1e-6, "{at_end} is not {on_the_way}");
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    let sandbox = with_recordings(10);
    sandbox.dtrain(first_is_best("supervised", &["checkpoint.monitor=null"])).finish().succeeded();
    let work = sandbox.path();
    let refused = |words: &[&str]| sandbox.dtrain(words.iter().copied()).finish().expect(2).error(work);
    let unnamed = refused(&["eval", "run", "eval.weights=best"]);
    let what = "`eval.weights` is best, but no metric names the best weights: `checkpoint.monitor` is null";
    assert!(unnamed.contains(what) && unnamed.contains("hint: name one, such as"), "{unnamed}");
    insta::assert_snapshot!(refused(&["eval", "run", "eval.weights=best", "checkpoint.monitor=auto"]), @r"
    error: `run` has no best checkpoint: no metric names it (`checkpoint.monitor`)

    hint: name one that was measured, such as `checkpoint.monitor=val/acc` behind `eval.weights=best`; there are val/acc, val/acc_best, val/alignment, val/chance, val/effective_rank, val/embedding_std, val/knn_top1, val/linear_top1, val/loss, val/macro_f1, val/macro_precision, val/macro_recall, val/majority, val/uniformity, val/worst_recall
    ");
    insta::assert_snapshot!(refused(&["eval", "run", "--part", "tset"]), @r"
    error: `eval.parts` is `tset`, which is not a part of `audio_folder`

    hint: did you mean `test`? there are `train`, `val` and `test`
    ");
    insta::assert_snapshot!(refused(&["embed", "run", "--part", "noisy", "--out", "e.safetensors"]), @r"
    error: `--part` is `noisy`, which is not a part of `audio_folder`

    hint: there are `train`, `val` and `test`
    ");
    insta::assert_snapshot!(refused(&["eval", "run", "eval.knn.k=100"]), @r"
    error: `eval.knn.k` has 100 neighbours vote, but the train part has 18 samples with `class`
     --> override 1
      | eval.knn.k=100
      |            ^^^

    hint: give at most 18
    ");
    insta::assert_snapshot!(refused(&["eval", "run", "eval.knn.k=[]"]), @r"
    error: 1 problem in the configuration

    `eval.knn.k` is an empty list
     --> override 1
      | eval.knn.k=[]
      |            ^
    hint: give one value or more
    ");
    let without_val = ["eval", "run", "data.splits.default.val_fraction=0", "--part", "val"];
    insta::assert_snapshot!(refused(&without_val), @r"
    error: the val part of `data.split` = default is empty

    hint: choose another `eval.parts`; those with samples are train, test
    ");
}

#[test]
fn parts_are_chosen_and_probes_stand_beside_each_other() {
    let sandbox = with_recordings(10);
    sandbox.dtrain(first_is_best("supervised", &["trainer.max_epochs=1"])).finish().succeeded();
    let of_test = json(&sandbox, &["eval", "run", "--part", "test", "--json"]);
    let parts: Vec<String> = accuracies(&of_test["evaluation"]).into_iter().map(|(part, ..)| part).collect();
    assert!(!parts.is_empty() && parts.iter().all(|part| part == "test"), "{parts:?}");

    let several = [
        "eval",
        "run",
        "--part",
        "test",
        "eval.knn.k=[3,1]",
        "eval.knn.temperature=[0.07,1]",
        "eval.linear.weight_decay=[0.1,0.001]",
        "eval.linear.lightly=true",
        "--json",
    ];
    let told = json(&sandbox, &several);
    let probes: Vec<String> =
        accuracies(&told["evaluation"]).into_iter().map(|(_, probe, _)| probe).collect();
    let [neighbours @ .., linear, lightly, classifier] = probes.as_slice() else { panic!("{probes:?}") };
    assert_eq!(
        neighbours,
        [
            "kNN, k 3, temperature 0.07",
            "kNN, k 1, temperature 0.07",
            "kNN, k 3, temperature 1",
            "kNN, k 1, temperature 1"
        ]
    );
    assert!(linear.starts_with("linear, weight decay 0."), "{linear}");
    assert_eq!([lightly.as_str(), classifier], ["linear (lightly)", "classifier"]);
    for name in ["knn_top1", "knn_k1_t0.07_top1", "knn_k1_t1_top1", "linear_top1", "linear_lightly_top1"] {
        assert!(told["metrics"][format!("test/{name}")].is_number(), "{name} of {}", told["metrics"]);
    }
    for class in told["evaluation"]["per_class"].as_array().unwrap() {
        assert_eq!(class["accuracies"].as_object().unwrap().len(), probes.len(), "{class}");
    }
}

#[test]
fn accuracies_have_an_interval_and_a_test_part_that_stands_in_is_named() {
    let sandbox = with_recordings(10);
    let more = ["data.splits.default.val_fraction=0", "trainer.max_epochs=1"];
    let finished = sandbox.dtrain(first_is_best("supervised", &more)).finish().succeeded();
    finished
        .says_once("validation               test in place of val")
        .says("test in place of val: the data have no validation part")
        .says("95 % interval");
    let evaluation = &sandbox.run("run").result()["evaluation"];
    assert_eq!(evaluation["validation_part"], "test");
    let accuracies = evaluation["accuracies"].as_array().unwrap();
    for accuracy in accuracies {
        let number = |value: &Value| value.as_f64().unwrap();
        let [low, high] = [&accuracy["interval"][0], &accuracy["interval"][1]].map(number);
        let share = number(&accuracy["accuracy"]);
        assert!(low <= share && share <= high && low < high, "{accuracy}");
    }
    assert_eq!(accuracies.len(), 3, "{evaluation}");
    let on_the_way = ["data.splits.default.val_fraction=0", "run.dir=longer", "trainer.max_epochs=2"];
    let finished = sandbox.dtrain(first_is_best("simclr", &on_the_way)).finish().succeeded();
    finished.says(" test in place of val: class kNN ");
}

/// Of three epochs of 18 samples and 6 to evaluate on, in the words of a line.
fn looked_at(more: &[&str], ranks: usize) -> (Sandbox, String) {
    let sandbox = with_recordings(10);
    let shared = ["trainer.max_epochs=2", "trainer.precision=fp64", "checkpoint.monitor=null"];
    let words = first_is_best("simclr", &[&shared[..], more].concat());
    let said = sandbox.dtrain(words).ranks(ranks).finish().succeeded().stderr;
    (sandbox, said)
}

#[test]
fn evaluations_during_training_keep_to_their_budget_and_the_last_is_whole() {
    // No evaluation is fast enough for a millionth of the time, so that each looks at the fewest.
    let tight = ["eval.min_samples=3", "eval.budget=0.000001"];
    let (whole, said) = looked_at(&[], 1);
    assert!(!said.contains(" samples, from "), "{said}");
    let (few, said) = looked_at(&tight, 1);
    let line = "step 3 val (3 of 6 samples, from 3 of 18): class kNN ";
    assert!(said.contains(line), "{said}");
    assert_eq!(said.matches(" of 18)").count(), 1, "the last one is whole: {said}");
    let model = |sandbox: &Sandbox| sandbox.run("run").newest("model.safetensors");
    assert_eq!(model(&whole), model(&few), "weights do not depend on it");
    let evaluation = |sandbox: &Sandbox| sandbox.run("run").result()["evaluation"].clone();
    assert_eq!(evaluation(&whole), evaluation(&few));

    let (capped, said) = looked_at(&["eval.max_samples=5", "eval.budget=0"], 1);
    assert!(said.contains("(5 of 6 samples, from 5 of 18)"), "{said}");
    assert_eq!(evaluation(&whole), evaluation(&capped));
    // Which samples, and what they say, does not depend on the ranks.
    let (on_two, said) = looked_at(&tight, 2);
    assert!(said.contains(line), "{said}");
    let (one, two) = (few.run("run").series("val/loss"), on_two.run("run").series("val/loss"));
    assert!((one[0].1 - two[0].1).abs() < 1e-9, "{one:?} {two:?}");
}

/// A run that goes on keeps to what its first start has decided.
#[test]
fn what_fits_is_decided_once_in_a_run() {
    let (sandbox, _) = looked_at(&["eval.min_samples=3", "eval.budget=0.000001"], 1);
    // With time without end everything would fit, if it were asked again.
    let longer = ["resume", "run", "trainer.max_epochs=4", "schedule.length=new", "eval.budget=1"];
    let said = sandbox.dtrain(longer).finish().succeeded().stderr;
    assert!(said.contains("step 9 val (3 of 6 samples, from 3 of 18)"), "{said}");
}

#[test]
fn the_untrained_network_and_the_inputs_stand_beside_the_trained_one() {
    let sandbox = with_recordings(10);
    // Steps that move nothing; batch norm's statistics are measured for both.
    let more = [
        "optimizer.lr=1e-30",
        "model.bn_statistics=precise",
        "eval.baseline=[untrained,inputs]",
        "checkpoint.monitor=null",
    ];
    sandbox.dtrain(first_is_best("simclr", &more)).finish().succeeded().says("untrained");
    let result = sandbox.run("run").result();
    for name in ["val/knn_top1", "val/linear_top1", "test/knn_top1", "test/linear_top1"] {
        let beside = name.replace('/', "/untrained_");
        assert_eq!(result["metrics"][name], result["metrics"][&beside], "{name}");
    }
    for accuracy in result["evaluation"]["accuracies"].as_array().unwrap() {
        assert_eq!(accuracy["untrained"], accuracy["accuracy"], "{accuracy}");
        assert!(accuracy["inputs"].is_f64(), "{accuracy}");
    }
    // No network has a part in them.
    let others = [
        "eval",
        "run",
        "eval.baseline=inputs",
        "eval.encoder=online",
        "model.bn_statistics=running",
        "--json",
    ];
    let inputs = &json(&sandbox, &others)["metrics"]["test/inputs_linear_top1"];
    assert_eq!(inputs, &result["metrics"]["test/inputs_linear_top1"]);
    assert!(inputs.is_f64());
    let told = json(&sandbox, &["eval", "run", "--json"]);
    assert_eq!(told["metrics"]["test/untrained_knn_top1"], result["metrics"]["test/untrained_knn_top1"]);
    let without = json(&sandbox, &["eval", "run", "eval.baseline=null", "--json"]);
    assert!(without["metrics"]["test/untrained_knn_top1"].is_null());
}

#[test]
fn held_out_classes_are_told_apart_by_few_shots() {
    let sandbox = with_recordings(10);
    let held_out = ["data.held_out_classes=[rook,wren]", "eval.few_shot.episodes=40"];
    let more = [&held_out[..], &["trainer.max_epochs=1", "trainer.batch_size=3", "checkpoint.monitor=null"]]
        .concat();
    let finished = sandbox.dtrain(first_is_best("simclr", &more)).finish().succeeded();
    finished.says("held-out classes").says("2 classes, 5 shot");
    let result = sandbox.run("run").result();
    let [one, five] = ["held_out/fewshot_2way_1shot", "held_out/fewshot_2way_5shot"].map(|name| {
        let share = result["metrics"][name].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share), "{name}: {share}");
        share
    });
    let few_shot = result["evaluation"]["few_shot"].as_array().unwrap();
    assert_eq!(few_shot.len(), 2, "{result}");
    assert_eq!((few_shot[0]["accuracy"].as_f64(), few_shot[1]["accuracy"].as_f64()), (Some(one), Some(five)));
    let on_two = sandbox.dtrain(["eval", "run", "--json"]).ranks(2).finish().succeeded().stdout;
    let on_two: Value = serde_json::from_str(&on_two).unwrap();
    assert_eq!(on_two["evaluation"]["few_shot"], result["evaluation"]["few_shot"]);
    sandbox
        .dtrain(["embed", "run", "--part", "held_out", "--out", "e.safetensors"])
        .finish()
        .succeeded()
        .says("; 20 embeddings");

    let refused = |more: &[&str]| {
        let words = first_is_best("simclr", &[&["run.dir=other"], more].concat());
        sandbox.dtrain(words).finish().expect(2).error(sandbox.path())
    };
    insta::assert_snapshot!(refused(&["data.held_out_classes=[rook,wren]", "eval.few_shot.shots=10"]), @r"
    error: `eval.few_shot.shots` is 10, but the held-out class `rook` has 10 samples, of which one at least is asked about

    hint: `eval.few_shot.shots=9` at most, or hold out other classes
    ");
    insta::assert_snapshot!(refused(&["data.held_out_classes=[rook,robin]"]), @r"
    error: `data.held_out_classes` names `robin`, which is not a class of `class`

    hint: there are `lark`, `rook` and `wren`
    ");
}
