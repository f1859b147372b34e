//! Several heads on images: the document's metric names, tasks added in the configuration alone, weights, what is refused,
//! and that ranks and kills change nothing.

use std::collections::BTreeMap;

use dtrain_tests::Sandbox;
use serde_json::Value;

/// A twentieth of the drawn digits, two epochs.
fn digits(more: &[&str]) -> Vec<String> {
    let all = [
        "experiment=multihead_cnn_digits",
        "data.generate.scale=0.05",
        "trainer.batch_size=50",
        "trainer.max_epochs=2",
        "trainer.threads=1",
        "run.dir=run",
    ];
    all.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn metrics(result: &Value) -> BTreeMap<String, f64> {
    serde_json::from_value(result["metrics"].clone()).unwrap()
}

#[test]
fn metrics_have_the_names_of_heads_and_a_search_finds_its_own() {
    let sandbox = Sandbox::new();
    let finished = sandbox.dtrain(digits(&[])).finish().succeeded();
    finished.says_once("head digit               weight 1  (10 classes, cross_entropy)").says("thickness");
    let result = sandbox.run("run").result();
    let metrics = metrics(&result);
    for head in ["digit", "thickness", "smoothness"] {
        for part in ["train", "val", "test"] {
            for kind in ["acc", "loss"] {
                let name = format!("{part}/{head}_{kind}");
                assert!(metrics.contains_key(&name), "{name} is missing: {metrics:?}");
            }
        }
    }
    let weighted = (metrics["test/digit_acc"]
        + 0.5 * metrics["test/thickness_acc"]
        + 0.5 * metrics["test/smoothness_acc"])
        / 2.0;
    assert!((metrics["test/acc"] - weighted).abs() < 1e-9);
    let loss = metrics["test/digit_loss"]
        + 0.5 * metrics["test/thickness_loss"]
        + 0.5 * metrics["test/smoothness_loss"];
    assert!((metrics["test/loss"] - loss).abs() < 1e-9);
    assert!(metrics["val/acc_best"] >= metrics["val/acc"]);
    assert_eq!(result["optimized"]["name"], "val/digit_acc");
    assert_eq!(result["optimized"]["value"], metrics["val/digit_acc"]);
}

#[test]
fn a_task_is_added_in_the_configuration_alone() {
    let sandbox = Sandbox::new();
    let orientation = "+data.label_maps.orientation={of: digit, classes: [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]}";
    let more = [orientation, "+method.heads.orientation.weight=0.5"];
    let finished = sandbox.dtrain(digits(&more)).finish().succeeded();
    finished.says_once("head orientation         weight 0.5  (4 classes, cross_entropy)");
    assert!(metrics(&sandbox.run("run").result()).contains_key("test/orientation_acc"));
}

#[test]
fn a_map_in_the_place_of_a_label_is_named_and_one_that_does_not_fit_is_refused() {
    let sandbox = Sandbox::new();
    let even_odd =
        "+data.label_maps.thickness={of: digit, classes: [0, 4, 0, 4, 0, 4, 0, 4, 0, 4], num_classes: 5}";
    let finished = sandbox.dtrain(digits(&[even_odd, "--dry-run"])).finish().succeeded();
    finished.says("`data.label_maps.thickness` takes the place of the data's own `thickness`");

    let short = "+data.label_maps.odd={of: digit, classes: [0, 1]}";
    let refused = sandbox.dtrain(digits(&[short])).finish().expect(2);
    refused.says("`data.label_maps.odd.classes` has 2 entries, but `digit` has 10 classes");
    assert!(!sandbox.join("run").exists());
}

#[test]
fn heads_that_the_data_lack_and_heads_without_any_weight_are_refused() {
    let sandbox = Sandbox::new();
    let refused = sandbox.dtrain(digits(&["+method.heads.digits.weight=2"])).finish().expect(2);
    refused.says("has no label `digits`").says("did you mean `digit`?");
    let zero = ["digit", "thickness", "smoothness"].map(|head| format!("method.heads.{head}.weight=0"));
    let zero: Vec<&str> = zero.iter().map(String::as_str).collect();
    sandbox.dtrain(digits(&zero)).finish().expect(2).says("every head has weight 0");
    let views = sandbox.dtrain(digits(&["method=simclr", "eval.embeddings=true"])).finish().expect(2);
    views.says("`method.name` = simclr");
}

#[test]
fn two_ranks_report_what_one_does() {
    let sandbox = Sandbox::new();
    let settings = ["trainer=proof", "trainer.batch_size=50", "trainer.max_steps=8", "trainer.threads=1"];
    let of = |ranks: usize, dir: &str| {
        let run = format!("run.dir={dir}");
        let more: Vec<&str> = settings.iter().copied().chain([run.as_str()]).collect();
        sandbox.dtrain(digits(&more)).ranks(ranks).finish().succeeded();
        metrics(&sandbox.run(dir).result())
    };
    let (one, two) = (of(1, "one"), of(2, "two"));
    for (name, value) in one.iter().filter(|(name, _)| !name.starts_with("perf/")) {
        let other = two[name];
        assert!((value - other).abs() <= 1e-9 * value.abs().max(1.0), "{name}: {value} and {other}");
    }
}

#[test]
fn a_few_samples_are_learned_by_heart() {
    let sandbox = Sandbox::new();
    let more = [
        "trainer=overfit",
        "trainer.limit_train_samples=40",
        "trainer.batch_size=20",
        "trainer.max_epochs=40",
        "trainer.threads=1",
        "stop.monitor=null",
        "schedule=constant",
    ];
    sandbox.dtrain(digits(&more)).finish().succeeded().says("40 train, 40 val, 40 test");
    let metrics = metrics(&sandbox.run("run").result());
    assert!(metrics["val/digit_acc"] > 0.95, "{metrics:?}");
}

#[test]
fn evaluation_of_a_checkpoint_gives_every_head_with_its_confusion() {
    let sandbox = Sandbox::new();
    sandbox.dtrain(digits(&[])).finish().succeeded();
    let finished = sandbox.dtrain(["eval", "run", "--json"]).finish().succeeded();
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    let trained = metrics(&sandbox.run("run").result());
    let evaluated: BTreeMap<String, f64> = serde_json::from_value(document["metrics"].clone()).unwrap();
    for name in ["test/acc", "test/loss", "val/thickness_acc"] {
        assert!((trained[name] - evaluated[name]).abs() < 1e-6, "{name}");
    }
    let head = &document["heads"]["test"][0];
    assert_eq!((head["name"].as_str(), head["total"].as_u64()), (Some("digit"), Some(100)));
    let confusion: Vec<u64> = serde_json::from_value(head["confusion"].clone()).unwrap();
    assert_eq!((confusion.len(), confusion.iter().sum::<u64>()), (100, 100));
    let right: u64 = confusion.iter().step_by(11).sum();
    assert!((right as f64 / 100.0 - evaluated["test/digit_acc"]).abs() < 1e-9);
}
