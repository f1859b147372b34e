//! Runs side by side: what differs, mean and spread over seeds, and which runs cannot be compared.

use dtrain_tests::Sandbox;

use crate::small_runs::{settings, with_recordings};

/// A run of one epoch, evaluated.
fn run(name: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir=runs/{name}");
    let fixed = [
        dir.as_str(),
        "data.splits.default.val_fraction=0.2",
        "data.splits.default.test_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=2",
    ];
    settings("supervised", &fixed.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

fn three_runs() -> Sandbox {
    let sandbox = with_recordings(10);
    for (name, more) in [
        ("a", ["seed=1", "optimizer.lr=0.01"]),
        ("b", ["seed=2", "optimizer.lr=0.01"]),
        ("c", ["seed=1", "optimizer.lr=0.1"]),
    ] {
        sandbox.dtrain(run(name, &more)).finish().succeeded();
    }
    sandbox
}

#[test]
fn seeds_become_mean_and_spread_and_what_differs_is_a_column() {
    let sandbox = three_runs();
    let table = sandbox.dtrain(["compare", "runs"]).finish().succeeded().stdout;
    assert!(table.contains("2 runs: runs/a, ...") && table.contains("optimizer.lr"), "{table}");
    assert!(
        table.contains("val/acc last") && table.contains("val/acc best") && table.contains('±'),
        "{table}"
    );
    let csv = sandbox.dtrain(["compare", "runs/a", "runs/b", "runs/c", "--metric", "val/loss", "--csv"]);
    let csv = csv.finish().succeeded().stdout;
    let mut reader = csv.lines();
    assert_eq!(
        reader.next(),
        Some("run,optimizer.lr,seed,val/loss last,val/loss last sd,val/loss best,val/loss best sd")
    );
    let cells: Vec<&str> = reader.next().unwrap().rsplit(',').collect();
    let of =
        |name: &str| sandbox.run(format!("runs/{name}")).result()["metrics"]["val/loss"].as_f64().unwrap();
    let (a, b) = (of("a"), of("b"));
    let (mean, deviation) = ((a + b) / 2.0, (a - b).abs() / 2.0_f64.sqrt());
    assert!((cells[3].parse::<f64>().unwrap() - mean).abs() < 1e-12, "{csv}");
    assert!((cells[2].parse::<f64>().unwrap() - deviation).abs() < 1e-12, "{csv}");
    assert!(csv.lines().nth(2).unwrap().starts_with("runs/c,0.1,1,"), "{csv}");
    let markdown = sandbox.dtrain(["compare", "runs", "--md"]).finish().succeeded().stdout;
    assert!(
        markdown.starts_with("| run | optimizer.lr | seed | val/acc last | val/acc best |"),
        "{markdown}"
    );
}

#[test]
fn runs_that_cannot_be_compared_are_named_with_the_reason() {
    let sandbox = three_runs();
    let work = sandbox.path();
    let refused = |words: &[&str]| sandbox.dtrain(words).finish().expect(2).error(work);
    insta::assert_snapshot!(refused(&["compare", "sounds"]), @r"
    error: `sounds` is not a run directory and holds none: there is no config.yaml

    hint: give folders that runs printed, such as `runs/<experiment>/<date_time>`, or `runs/<experiment>` for all of them
    ");
    insta::assert_snapshot!(refused(&["compare", "runs/a", "runs/b", "--metric", "val/accuracy"]), @r"
    error: no run has measured `val/accuracy`

    hint: there are `test/acc`, `test/alignment`, `test/chance`, `test/effective_rank`, `test/embedding_std`, `test/knn_top1`, `test/linear_top1`, `test/loss`, `test/macro_f1`, `test/macro_precision`, `test/macro_recall`, `test/majority`, `test/uniformity`, `test/worst_recall`, `train/acc`, `train/eval_acc`, `train/knn_top1`, `train/linear_top1`, `train/loss`, `val/acc`, `val/acc_best`, `val/alignment`, `val/chance`, `val/effective_rank`, `val/embedding_std`, `val/knn_top1`, `val/linear_top1`, `val/loss`, `val/macro_f1`, `val/macro_precision`, `val/macro_recall`, `val/majority`, `val/uniformity` and `val/worst_recall`
    ");

    // Stopped by hand, not yet ended, other data.
    let result = sandbox.join("runs/b/result.json");
    let text = std::fs::read_to_string(&result).unwrap();
    std::fs::write(&result, text.replace("\"finished\"", "\"interrupted\"")).unwrap();
    std::fs::remove_file(sandbox.join("runs/c/result.json")).unwrap();
    sandbox.dtrain(run("d", &[])).finish().succeeded();
    let result = sandbox.join("runs/d/result.json");
    let text = std::fs::read_to_string(&result).unwrap();
    let fingerprint = sandbox.run("runs/d").result()["data_fingerprint"].as_str().unwrap().to_owned();
    std::fs::write(&result, text.replace(&fingerprint, "0123456789abcdef")).unwrap();
    let finished = sandbox.dtrain(["compare", "runs"]).finish().succeeded();
    insta::assert_snapshot!(finished.stderr.trim_end(), @r"
    warning: `runs/b` cannot be compared: it stopped after 6 steps to go on later (interrupted); `dtrain resume runs/b` goes on with it; it is left out
    warning: `runs/c` cannot be compared: it has not ended; `dtrain resume runs/c` goes on with it; it is left out
    warning: `runs/d` cannot be compared: it has seen other data than `runs/a`: files or labels differ; it is left out
    ");
    assert_eq!(finished.stdout.matches("runs/").count(), 1, "{}", finished.stdout);
    insta::assert_snapshot!(refused(&["compare", "runs/b", "runs/c"]), @r"
    error: none of 2 runs can be compared:
      `runs/b` cannot be compared: it stopped after 6 steps to go on later (interrupted); `dtrain resume runs/b` goes on with it
      `runs/c` cannot be compared: it has not ended; `dtrain resume runs/c` goes on with it

    hint: runs are compared once they have ended
    ");

    // Nothing in common.
    let rewrite = |name: &str, metrics: &str| {
        let path = sandbox.join(format!("runs/{name}/result.json"));
        let mut result: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        result["metrics"] = serde_json::from_str(metrics).unwrap();
        result["best"] = serde_json::Value::Null;
        result["stop_reason"] = "finished".into();
        std::fs::write(&path, result.to_string()).unwrap();
    };
    rewrite("a", r#"{"val/acc": 0.5}"#);
    rewrite("b", r#"{"val/knn_top1": 0.5}"#);
    insta::assert_snapshot!(refused(&["compare", "runs/a", "runs/b"]), @r"
    error: the 2 runs have no metric in common

    hint: `--metric NAME` shows one that some of them have; a dash stands for the others
    ");
}
