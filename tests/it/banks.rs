//! Probe banks: data that are probed beside those that are trained on, and that change nothing about the training.

use std::f64::consts::TAU;
use std::path::Path;

use dtrain_tests::{Sandbox, write_classes, write_wav};
use serde_json::Value;

use crate::small_runs::{first_is_best, with_recordings};

/// Ten recordings of each of two classes that are not those of the run.
fn write_bank(root: &Path) {
    for (class, hz) in [("finch", 450.0), ("heron", 750.0)] {
        std::fs::create_dir_all(root.join(class)).unwrap();
        for clip in 0..10 {
            let tone = |i: usize| 0.3 * (TAU * hz * (i as f64 / 8000.0) + f64::from(clip)).sin();
            let samples: Vec<f64> = (0..2000).map(tone).collect();
            write_wav(&root.join(class).join(format!("clip{clip}.wav")), &samples);
        }
    }
}

fn with_bank() -> Sandbox {
    let sandbox = with_recordings(10);
    write_bank(&sandbox.join("elsewhere"));
    sandbox
}

const BANK: [&str; 2] = ["+eval.banks.birds2.root=elsewhere", "+eval.banks.birds2.split.test_fraction=0.5"];

#[test]
fn a_bank_is_probed_all_along_and_changes_nothing_that_is_trained() {
    let sandbox = with_bank();
    let alone = ["run.dir=alone", "eval.linear.every_epochs=1"];
    sandbox.dtrain(first_is_best("supervised", &alone)).finish().succeeded();
    let more = [
        BANK.as_slice(),
        &["run.dir=run", "eval.linear.every_epochs=1", "checkpoint.monitor=bank_birds2/knn_top1"],
    ];
    sandbox.dtrain(first_is_best("supervised", &more.concat())).finish().succeeded();
    let (run, alone) = (sandbox.run("run"), sandbox.run("alone"));
    assert_eq!(run.weights().distance(&alone.weights()).0, 0.0);
    for name in ["val/knn_top1", "val/linear_top1", "val/loss"] {
        assert_eq!(run.series(name), alone.series(name), "{name}");
    }
    for name in ["bank_birds2/knn_top1", "bank_birds2/linear_top1", "bank_birds2/chance"] {
        let steps: Vec<u64> = run.series(name).into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps.len(), 3, "{name}: after each epoch and at the end, which is an epoch's");
    }
    let result = run.result();
    assert_eq!(result["best"]["monitor"], "bank_birds2/knn_top1");
    let lines: Vec<&Value> = result["evaluation"]["accuracies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["part"] == "bank_birds2")
        .collect();
    let probes: Vec<&str> = lines.iter().map(|line| line["probe"].as_str().unwrap()).collect();
    assert_eq!(probes, ["kNN", "linear"]);
    // Half of each class is asked about, by what the other half says.
    assert!(lines.iter().all(|line| line["samples"] == 10 && line["answers_from"] == "train"), "{lines:?}");

    for ranks in [1, 2, 3] {
        let told = sandbox.dtrain(["eval", "run", "--json"]).ranks(ranks).finish().succeeded().stdout;
        let told: Value = serde_json::from_str(&told).unwrap();
        for name in ["bank_birds2/knn_top1", "bank_birds2/linear_top1", "test/knn_top1"] {
            let (here, at_end) = (&told["metrics"][name], &result["metrics"][name]);
            assert!(
                (here.as_f64().unwrap() - at_end.as_f64().unwrap()).abs() < 1e-9,
                "{name} on {ranks} ranks: {here} and {at_end}"
            );
        }
    }
}

/// Of a bank whose labels are another table's, another label is asked for.
#[test]
fn a_bank_has_labels_and_a_split_of_its_own() {
    let sandbox = with_bank();
    sandbox.dtrain(first_is_best("simclr", &["trainer.max_epochs=1"])).finish().succeeded();
    let mut table = String::from("path,site\n");
    for (number, class) in ["finch", "heron"].iter().enumerate() {
        for clip in 0..10 {
            let site = if (clip + number) % 2 == 0 { "hill" } else { "marsh" };
            table.push_str(&format!("{class}/clip{clip}.wav,{site}\n"));
        }
    }
    std::fs::write(sandbox.join("elsewhere/sites.csv"), table).unwrap();
    let words = [
        ["eval", "run", "--json"].as_slice(),
        &BANK,
        &[
            "+eval.banks.birds2.labels.source=csv",
            "+eval.banks.birds2.labels.csv=sites.csv",
            "+eval.banks.birds2.labels.csv_file_column=path",
            "+eval.banks.birds2.target=site",
        ],
    ];
    let told = sandbox.dtrain(words.concat()).finish().succeeded().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    let labels: Vec<&Value> = told["evaluation"]["accuracies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["part"] == "bank_birds2")
        .map(|line| &line["label"])
        .collect();
    assert_eq!(labels, ["site", "site"]);
}

#[test]
fn what_is_trained_on_is_no_bank() {
    let sandbox = with_bank();
    // The tones of the first class are those of `lark`, under other names.
    write_classes(&sandbox.join("copied"), &["finch"], 10);
    let work = sandbox.path();
    let refused = |ranks: usize, more: &[&str]| {
        let words = first_is_best("supervised", more);
        let error = sandbox.dtrain(words).ranks(ranks).finish().expect(2).error(work);
        assert!(!sandbox.join("run").exists(), "nothing is written");
        error
    };
    let copied = ["+eval.banks.copy.root=copied", "+eval.banks.copy.split.test_fraction=0.5"];
    let here = refused(1, &copied);
    insta::assert_snapshot!(here, @r"
    error: the probe bank `copy` holds 6 of its 10 samples that are trained on: `finch/001.wav` is `lark/001.wav`, `finch/002.wav` is `lark/002.wav`, `finch/003.wav` is `lark/003.wav` and 3 more

    hint: take them out of one of the two, or give other data: `eval.banks.copy.root`
    ");
    assert_eq!(refused(2, &copied), here, "all ranks hear of it");

    // Other sounds of the same name.
    let named = [
        BANK.as_slice(),
        &[
            "data.labels.source=filename",
            r"data.labels.pattern=(?P<class>\w+)/\D*0*(?P<take>\d+)\.wav",
            "data.recording=take",
        ],
    ];
    insta::assert_snapshot!(refused(1, &named.concat()), @r"
    error: the probe bank `birds2` has 6 recordings of the same name as some that are trained on: `2`, `3`, `4` and 3 more

    hint: take them out of one of the two; where they are others of the same name, `+eval.banks.birds2.same_by=[content]`, or give other data: `eval.banks.birds2.root`
    ");
    let by_content = [named.concat().as_slice(), &["+eval.banks.birds2.same_by=[content]"]].concat();
    sandbox.dtrain(first_is_best("supervised", &by_content)).finish().succeeded();
}

#[test]
fn what_cannot_be_probed_is_refused_by_name() {
    let sandbox = with_bank();
    let work = sandbox.path();
    let refused = |more: &[&str]| {
        let words = first_is_best("supervised", &[&["run.dir=never"], more].concat());
        sandbox.dtrain(words).finish().expect(2).error(work)
    };
    insta::assert_snapshot!(refused(&["+eval.banks.birds2.root=nowhere"]), @r"
    error: the probe bank `birds2` cannot be opened: folder `nowhere` does not exist

    hint: what `eval.banks.birds2` does not say is as in `data`; point `eval.banks.birds2.root=` to the folder with the data, or leave it out to use generated data
    ");
    let whole = ["+eval.banks.birds2.root=elsewhere", "+eval.banks.birds2.split.test_fraction=0"];
    insta::assert_snapshot!(refused(&whole), @r"
    error: the probe bank `birds2` has no part to judge probes on

    hint: hold something out, for instance with `+eval.banks.birds2.split.test_fraction=0.5`
    ");
    insta::assert_snapshot!(refused(&["+eval.banks.birds2.target=class"]), @r"
    error: 1 problem in the configuration

    the bank `birds2` has no data: `eval.banks.birds2.root` is `null`
     --> builtin train.yaml:12:9
      |   eval: default
      |         ^^^^^^^
    hint: give the folder with its data: `+eval.banks.NAME.root=PATH`
    ");
    let of_site = [BANK.as_slice(), &["+eval.banks.birds2.target=site"]].concat();
    insta::assert_snapshot!(refused(&of_site), @r"
    error: the probe bank `birds2` cannot be opened: `eval.banks.birds2.target` = `site` is not a label of this data set; it has `class`

    hint: what `eval.banks.birds2` does not say is as in `data`; choose one of these for `eval.banks.birds2.target=`
    ");
    let monitor = [BANK.as_slice(), &["checkpoint.monitor=bank_birds3/knn_top1"]].concat();
    let unmeasured = refused(&monitor);
    assert!(
        unmeasured
            .contains("`checkpoint.monitor` is `bank_birds3/knn_top1`, which this run does not measure")
    );
    assert!(unmeasured.contains("did you mean `bank_birds2/knn_top1`?"), "{unmeasured}");
    let unknown = refused(&["eval.banks.birds2.root=elsewhere"]);
    assert!(unknown.contains("there are none; `+eval.banks.birds2.root=...` adds one"), "{unknown}");
    sandbox.dtrain(["data", "make", "digits", "--out", "images", "--scale", "0.01"]).finish().succeeded();
    insta::assert_snapshot!(refused(&["+eval.banks.digits.root=images"]), @r"
    error: the probe bank `digits` holds images (`images`), and the run learns from recordings

    hint: a bank is seen by the same network: give recordings, `eval.banks.digits.root`
    ");
}

/// A network sees images of one size.
#[test]
fn a_bank_of_images_has_the_size_of_the_run_s() {
    let sandbox = Sandbox::new();
    for (kind, out) in [("digits", "digits"), ("cifar10", "objects")] {
        sandbox.dtrain(["data", "make", kind, "--out", out, "--scale", "0.01"]).finish().succeeded();
    }
    let words = [
        "experiment=cnn_mnist",
        "data.root=digits",
        "trainer.max_steps=2",
        "eval.embeddings=true",
        "+eval.banks.objects.root=objects",
        "+eval.banks.objects.target=class",
    ];
    let error = sandbox.dtrain(words).finish().expect(2).error(sandbox.path());
    insta::assert_snapshot!(error, @r"
    error: views of the probe bank `objects` are 3 x 32 x 32, and the run's are 1 x 28 x 28

    hint: a bank is seen by the same network, so that its samples have to have the same channels and size
    ");
}
