//! The best weights of a run: chosen by what its method is judged by or by a metric that is named, kept, shown beside the
//! last ones, and within reach of every verb that takes weights.

use std::collections::BTreeMap;

use dtrain_tests::{RunFiles, Weights};
use serde_json::Value;

use crate::small_runs::{first_is_best, settings, with_recordings};

/// A supervised run whose first epoch is the best.
fn falling(more: &[&str]) -> Vec<String> {
    first_is_best("supervised", more)
}

fn numbers(value: &Value) -> BTreeMap<String, f64> {
    let of = |(name, value): (&String, &Value)| (name.clone(), value.as_f64().unwrap_or(f64::NAN));
    value.as_object().expect("metrics").iter().map(of).collect()
}

fn tensors(path: &std::path::Path) -> Weights {
    Weights::parse(&std::fs::read(path).unwrap())
}

fn best_step(run: &RunFiles) -> u64 {
    run.result()["best"]["step"].as_u64().expect("there is a best checkpoint")
}

#[test]
fn the_best_weights_stand_beside_the_last_and_every_verb_takes_them() {
    let sandbox = with_recordings(10);
    let finished = sandbox.dtrain(falling(&[])).finish().succeeded();
    let run = sandbox.run("run");
    let result = run.result();
    let (last, best) = (result["step"].as_u64().unwrap(), best_step(&run));
    assert_eq!(best * 3, last, "{result}");
    assert_eq!(run.checkpoint_steps(), [best, last], "the best is kept besides the newest");
    finished
        .says("best weights             opt/lr  (more is better)")
        .says_once(&format!("last weights: step {last}\n"))
        .says_once(&format!("best weights: step {best}, epoch 1, by opt/lr"))
        .says("val/loss");
    let (of_last, of_best) = (numbers(&result["metrics"]), numbers(&result["best"]["metrics"]));
    assert_ne!(of_last["val/loss"], of_best["val/loss"]);
    assert_eq!(result["best"]["monitor"], "opt/lr");
    assert!(
        of_best.contains_key("test/linear_top1"),
        "the best weights are evaluated as thoroughly: {of_best:?}"
    );
    // What was measured on the way is what the best weights reach at the end.
    let on_the_way = run.series("val/loss")[0];
    assert_eq!(on_the_way.0, best);
    assert!((on_the_way.1 - of_best["val/loss"]).abs() < 1e-6);

    for (words, weights, expected) in [
        (vec!["eval", "run", "--best", "--json"], format!("best weights: step {best}, opt/lr"), &of_best),
        (vec!["eval", "run", "--json"], format!("last weights: step {last}"), &of_last),
    ] {
        let evaluated = sandbox.dtrain(words).finish().succeeded().says(&weights);
        let document: Value = serde_json::from_str(&evaluated.stdout).unwrap();
        for (name, value) in numbers(&document["metrics"]) {
            assert!((value - expected[&name]).abs() < 1e-6, "{name} is {value}, not {}", expected[&name]);
        }
    }
    for (more, step) in [(&["--best"][..], best), (&[], last)] {
        let out = |verb: &str| format!("{verb}-{step}.safetensors");
        for verb in ["embed", "export"] {
            let words = [verb, "run", "--out", &out(verb)].map(str::to_owned);
            let more = more.iter().map(|word| (*word).to_owned());
            sandbox.dtrain(words.into_iter().chain(more)).finish().succeeded();
        }
        let exported = tensors(&sandbox.join(out("export")));
        let checkpoint = tensors(&run.checkpoint(step).join("model.safetensors"));
        assert_eq!(exported.tensor("conv1.weight"), checkpoint.tensor("backbone.conv1.weight"));
        assert!(
            exported
                .names()
                .iter()
                .all(|name| !name.starts_with("backbone.") && !name.starts_with("classifier"))
        );
    }
    let embedded = |step| std::fs::read(sandbox.join(format!("embed-{step}.safetensors"))).unwrap();
    assert_ne!(embedded(best), embedded(last));

    // A run that goes on with nothing to do says what it said.
    let before = run.result();
    sandbox.dtrain(["resume", "run"]).finish().succeeded().says(&format!("best weights: step {best}"));
    assert_eq!(run.result(), before);
}

#[test]
fn a_classifier_is_exported_as_torchvisions_last_layer() {
    let sandbox = with_recordings(4);
    let model = ["model=resnet18", "trainer.max_steps=1", "trainer.batch_size=4", "run.dir=run"];
    sandbox.dtrain(settings("supervised", &model)).finish().succeeded();
    let words = ["export", "run", "--part", "all", "--out", "all.safetensors"];
    let said = sandbox.dtrain(words).finish().succeeded().stderr;
    let exported = tensors(&sandbox.join("all.safetensors"));
    assert_eq!(exported.tensor("fc.bias").len(), 3);
    assert_eq!(exported.names().len(), 122, "torchvision's resnet18 has as many");
    insta::assert_snapshot!(said.trim_end(), @r#"
    last weights: step 1; 122 tensors written to all.safetensors, what they are to all.safetensors.md
    in Python:
      import safetensors.torch, torch, torchvision
      model = torchvision.models.resnet18(num_classes=3)
      model.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
      model.load_state_dict(safetensors.torch.load_file("all.safetensors"))
    "#);
}

#[test]
fn what_has_no_best_weights_says_why() {
    let sandbox = with_recordings(10);
    sandbox.dtrain(falling(&["checkpoint.monitor=null", "trainer.max_epochs=1"])).finish().succeeded();
    let run = sandbox.run("run");
    assert!(run.result()["best"].is_null());
    let work = sandbox.path();
    let refused = |words: &[&str]| sandbox.dtrain(words).finish().expect(2).error(work);
    insta::assert_snapshot!(refused(&["eval", "run", "--best"]), @r"
    error: `run` has no best checkpoint: no metric names it (`checkpoint.monitor`)

    hint: name one that was measured, such as `checkpoint.monitor=val/acc` behind `--best`; there are val/acc, val/acc_best, val/alignment, val/chance, val/effective_rank, val/embedding_std, val/knn_top1, val/linear_top1, val/loss, val/macro_f1, val/macro_precision, val/macro_recall, val/majority, val/uniformity, val/worst_recall
    ");
    insta::assert_snapshot!(refused(&["eval", "run", "--best", "checkpoint.monitor=val/f1"]), @r"
    error: `run` has no best checkpoint: none of its checkpoints knows `val/f1`

    hint: name one that was measured, such as `checkpoint.monitor=val/acc` behind `--best`; there are val/acc, val/acc_best, val/alignment, val/chance, val/effective_rank, val/embedding_std, val/knn_top1, val/linear_top1, val/loss, val/macro_f1, val/macro_precision, val/macro_recall, val/majority, val/uniformity, val/worst_recall
    ");
    let folder = format!("run/checkpoints/step-{:08}", run.latest_step().unwrap());
    insta::assert_snapshot!(refused(&["eval", &folder, "--best"]), @r"
    error: `--best` chooses among the checkpoints of a run, and `run/checkpoints/step-00000003` is one of them

    hint: give the run directory, or leave `--best` out
    ");
    // Any metric that was measured chooses.
    let chosen = ["eval", "run", "--best", "checkpoint.monitor=val/loss"];
    sandbox.dtrain(chosen).finish().succeeded().says("val/loss").says("(less is better)");
}

/// Each method is judged by something of its own, and has losses on data that it does not learn from; they do not depend on
/// the number of ranks.
#[test]
fn every_method_has_a_monitor_and_validation_losses() {
    let sandbox = with_recordings(12);
    for (method, monitor) in [
        ("simclr", "val/knn_top1"),
        ("supcon", "val/knn_top1"),
        ("byol", "val/knn_top1"),
        ("simsiam", "val/knn_top1"),
        ("dino", "val/knn_top1"),
        ("supervised", "val/acc"),
        ("multihead", "val/acc"),
    ] {
        let run = format!("run.dir={method}");
        let more = [
            run.as_str(),
            "data.splits.default.val_fraction=0.3",
            "data.splits.default.test_fraction=0.2",
            "eval.every_epochs=1",
            "eval.batch_size=7",
            "trainer.batch_size=6",
            "trainer.max_epochs=2",
            "trainer.precision=fp64",
        ];
        sandbox.dtrain(settings(method, &more)).finish().succeeded();
        let config = sandbox.run(method).read("config.yaml");
        assert!(config.contains(&format!("monitor: {monitor}")) && config.contains("mode: max"), "{config}");
        let losses = sandbox.run(method).series("val/loss");
        assert_eq!(losses.len(), 2, "{method}");
        let eval = |ranks: usize| {
            let words = ["eval", method, "--json"];
            let told = sandbox.dtrain(words).ranks(ranks).finish().succeeded().stdout;
            numbers(&serde_json::from_str::<Value>(&told).unwrap()["metrics"])
        };
        let (one, three) = (eval(1), eval(3));
        for name in ["val/loss", "test/loss"] {
            assert!(
                (one[name] - three[name]).abs() < 1e-9 * one[name].abs(),
                "{method} {name}: {} {}",
                one[name],
                three[name]
            );
        }
        assert!((one["val/loss"] - losses[1].1).abs() < 1e-9, "{method}");
    }
}

/// The direction follows from the metric's name, and an explicit one wins.
#[test]
fn less_of_a_loss_is_better() {
    let sandbox = with_recordings(10);
    for (words, said) in [
        (&["checkpoint.monitor=val/loss"][..], "best weights             val/loss  (less is better)"),
        (&["checkpoint.monitor=val/loss", "checkpoint.mode=max"], "val/loss  (more is better)"),
        (
            &["stop.monitor=val/loss"],
            "early stopping           val/loss  (less is better, ends after 10 evaluations",
        ),
        (&["stop.monitor=val/knn_top1"], "early stopping           val/knn_top1  (more is better"),
    ] {
        let more = [words, &["--dry-run"]].concat();
        sandbox.dtrain(falling(&more)).finish().succeeded().says(said);
    }
}

#[test]
fn a_sum_of_metrics_names_the_best_and_is_recorded() {
    let sandbox = with_recordings(10);
    let text = "0.5*val/acc - 2*val/loss";
    let monitor = format!("checkpoint.monitor={text}");
    let optimized = format!("optimized_metric={text}");
    let finished = sandbox.dtrain(falling(&[&monitor, &optimized])).finish().succeeded();
    finished.says(&format!("{text}  (more is better)"));
    let run = sandbox.run("run");
    let sums = run.series(text);
    let (accuracies, losses) = (run.series("val/acc"), run.series("val/loss"));
    let best = sums.iter().map(|(_, sum)| *sum).fold(f64::NEG_INFINITY, f64::max);
    for ((step, sum), ((_, accuracy), (_, loss))) in sums.iter().zip(accuracies.iter().zip(&losses)) {
        assert!((sum - (0.5 * accuracy - 2.0 * loss)).abs() < 1e-12, "step {step}: {sum}");
    }
    assert!(sums.len() >= 3, "{sums:?}");
    let result = run.result();
    assert_eq!(result["best"]["monitor"], text);
    assert!((result["best"]["value"].as_f64().unwrap() - best).abs() < 1e-9, "{result}");
    assert!(result["optimized"]["value"].as_f64().is_some(), "{result}");

    let refused = sandbox.dtrain(falling(&["checkpoint.monitor=val/acc + val/loss"])).finish().expect(2);
    refused.says("more of one part is better and less of another").says("`checkpoint.mode=max` or `min`");
    let refused = sandbox.dtrain(falling(&["checkpoint.monitor=val/acc + val/pitch_acc"])).finish().expect(2);
    refused.says("`checkpoint.monitor` is `val/pitch_acc`, which this run does not measure");
    let refused = sandbox.dtrain(falling(&["stop.monitor=val/acc * 2"])).finish().expect(2);
    refused.says("`stop.monitor` is `val/acc * 2`, which is no metric and no sum of metrics");
}
