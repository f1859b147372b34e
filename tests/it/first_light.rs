//! What a newcomer types first works: the default run, every shipped experiment, and the verbs around a run.

use std::collections::BTreeMap;

use dtrain_tests::Sandbox;
use safetensors::SafeTensors;

use crate::small_runs::{CLASSES, settings, with_recordings};

/// A twentieth of the generated data, in batches that fit it.
const SHORT: [&str; 2] = ["data.generate.scale=0.05", "trainer.batch_size=16"];

fn short(more: &[&str]) -> Vec<String> {
    SHORT.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_bare_dtrain_makes_its_data_trains_and_leaves_a_run_directory() {
    let sandbox = Sandbox::new();
    sandbox
        .dtrain(short(&["trainer.max_steps=3"]))
        .finish()
        .succeeded()
        .says("next: dtrain eval runs/supcon_birdsong/");
    let runs = sandbox.join("runs/supcon_birdsong");
    let only: Vec<_> = std::fs::read_dir(runs).unwrap().flatten().collect();
    let [only] = only.as_slice() else { panic!("{} run directories", only.len()) };
    let run = sandbox.run(only.path());

    for file in [
        "config.yaml",
        "overrides.txt",
        "history.jsonl",
        "environment.json",
        "metrics.jsonl",
        "result.json",
        "logs/rank_000.log",
        "checkpoints/latest",
        "checkpoints/step-00000003/model.safetensors",
        "checkpoints/step-00000003/optimizer.safetensors",
        "checkpoints/step-00000003/state.bin",
        "checkpoints/step-00000003/manifest.json",
    ] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let events: Vec<_> = std::fs::read_dir(run.join("tb")).unwrap().flatten().collect();
    assert!(
        events.iter().any(|event| event.metadata().unwrap().len() > 100),
        "TensorBoard has nothing to read"
    );
    assert_eq!(
        run.read("overrides.txt"),
        "data.generate.scale=0.05\ntrainer.batch_size=16\ntrainer.max_steps=3\n"
    );
    let config = run.read("config.yaml");
    for key in ["device", "precision", "sync_bn", "tile"] {
        assert!(config.contains(&format!("{key}: ")), "config.yaml lacks {key}:\n{config}");
        assert!(!config.contains(&format!("\n  {key}: auto")), "{key} is not resolved:\n{config}");
    }
    // Of the machine and the ranks that share it, at each start.
    assert!(config.contains("\n  threads: auto") && config.contains("\n    device: auto"), "{config}");
    let environment: serde_json::Value = serde_json::from_str(&run.read("environment.json")).unwrap();
    for key in ["dtrain", "torch", "command", "host", "cpu", "num_cores"] {
        assert!(!environment[key].is_null(), "environment.json lacks {key}");
    }

    let lines = run.metrics();
    for name in [
        "step",
        "epoch",
        "wall_s",
        "train/loss",
        "opt/lr",
        "opt/grad_norm",
        "perf/samples_per_s",
        "perf/reuse",
    ] {
        assert!(lines[0].values.contains_key(name), "metrics.jsonl lacks {name}");
    }
    let result = run.result();
    for key in ["world_size", "stop_reason", "samples_seen", "wall_s", "metrics"] {
        assert!(!result[key].is_null(), "result.json lacks {key}");
    }
    assert_eq!((&result["world_size"], &result["stop_reason"]), (&1.into(), &"finished".into()));
    for name in
        ["train/loss", "val/knn_top1", "test/knn_top1", "test/linear_top1", "test/recording_linear_top1"]
    {
        assert!(result["metrics"][name].is_number(), "result.json lacks {name}");
    }
    assert!(run.weights().names().contains(&"backbone.conv1.weight"));
}

#[test]
fn eight_ranks_on_any_machine() {
    let sandbox = Sandbox::new();
    let finished = sandbox.dtrain(short(&["--fast-dev-run"])).ranks(8).finish().succeeded();
    finished.says_once("fast dev run: 2 steps, world size 8").says_once("world size               8");
    assert!(!sandbox.join("runs").exists());
}

/// The first column of `dtrain ls`.
fn shipped_experiments(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox.dtrain(["ls"]).finish().succeeded().stdout;
    listed.lines().skip(1).filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn every_shipped_experiment_runs() {
    let sandbox = Sandbox::new();
    let experiments = shipped_experiments(&sandbox);
    assert!(experiments.len() >= 6, "{experiments:?}");
    for (number, experiment) in experiments.iter().enumerate() {
        let choice = format!("experiment={experiment}");
        let ranks = if number == 1 { 2 } else { 1 };
        let mut words = short(&[&choice, "--fast-dev-run=2"]);
        // A ViT-S on views of 224 pixels takes a minute for 16 of them.
        if experiment == "dino_imagefolder" {
            let few =
                ["trainer.batch_size=2", "trainer.limit_train_samples=8", "trainer.limit_eval_samples=4"];
            words.extend(few.map(Into::into));
        }
        let finished = sandbox.dtrain(words).ranks(ranks).finish().succeeded();
        finished
            .says_once(&format!("fast dev run: 2 steps, world size {ranks}"))
            .says("step 2/2 loss")
            .does_not_say("NaN");
    }
}

#[test]
fn the_speaker_split_of_spoken_digits_runs() {
    let sandbox = Sandbox::new();
    let more = ["experiment=supervised_fsdd", "data.split=speaker", "--fast-dev-run=1"];
    sandbox.dtrain(short(&more)).finish().succeeded().says("split `speaker`");
}

#[test]
fn cfg_prints_the_settings_with_their_origins_and_nothing_else() {
    let sandbox = Sandbox::new();
    let finished = sandbox.dtrain(["--cfg", "optimizer.lr=0.5"]).finish().succeeded();
    assert_eq!(finished.stderr, "");
    let line = |key: &str| {
        let found = finished.stdout.lines().find(|line| line.trim_start().starts_with(key));
        found
            .unwrap_or_else(|| panic!("no `{key}`\n{}", finished.report()))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("lr:"), "lr: 0.5 # override 1: optimizer.lr=0.5");
    assert_eq!(line("seed:"), "seed: 0 # default");
    assert!(
        line("batch_size:").contains("# builtin experiment/supcon_birdsong.yaml:"),
        "{}",
        line("batch_size:")
    );
    assert_eq!(sandbox.listing().len(), 0);
    let twice = sandbox.dtrain(["--cfg", "optimizer.lr=0.5"]).ranks(2).finish().succeeded();
    assert_eq!(twice.stdout, finished.stdout);
}

#[test]
fn a_dry_run_checks_everything_and_writes_nothing() {
    let sandbox = with_recordings(4);
    let before = sandbox.listing();
    let args = |more: &str| {
        settings("supcon", &["trainer.batch_size=6", "trainer.max_steps=2", "run.dir=run", "--dry-run", more])
    };
    let finished = sandbox.dtrain(args("seed=1")).finish().succeeded();
    finished
        .says("steps                    2")
        .says("dry run: settings, data and model fit; no run directory was made");
    sandbox.dtrain(args("seed=1")).ranks(2).finish().succeeded().says_once("dry run:");
    sandbox.dtrain(args("trainer.batch_size=13")).finish().expect(2);
    assert_eq!(sandbox.listing(), before);
}

#[test]
fn a_checkpoint_is_evaluated_as_its_run_was() {
    let sandbox = with_recordings(10);
    let more = [
        "run.dir=run",
        "trainer.batch_size=6",
        "trainer.max_steps=4",
        "eval.every_epochs=1",
        "data.splits.default.test_fraction=0.3",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    let run = sandbox.run("run");
    let trained = &run.result()["metrics"];
    for (ranks, checkpoint) in [(1, "run"), (2, "run"), (1, "run/checkpoints/step-00000004")] {
        let finished = sandbox.dtrain(["eval", checkpoint, "--json"]).ranks(ranks).finish().succeeded();
        let document: serde_json::Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}", finished.report()));
        assert_eq!(document["step"], 4);
        for name in ["test/knn_top1", "test/acc", "test/chance"] {
            let (now, then) = (document["metrics"][name].as_f64().unwrap(), trained[name].as_f64().unwrap());
            assert!((now - then).abs() < 1e-12, "{name}: {now}, and {then} in training");
        }
    }
    let changed =
        sandbox.dtrain(["eval", "run", "eval.knn.k=1", "eval.linear.iterations=3"]).finish().succeeded();
    changed.says("kNN").says("linear").says("classifier");
}

#[test]
fn embeddings_are_written_with_ids_and_labels() {
    let sandbox = with_recordings(5);
    let more = [
        "run.dir=run",
        "trainer.batch_size=6",
        "trainer.max_steps=2",
        "data.splits.default.test_fraction=0.4",
    ];
    sandbox.dtrain(settings("simclr", &more)).finish().succeeded();
    let mut by_ranks = BTreeMap::new();
    for (ranks, part, count) in [(1, "all", 15), (2, "all", 15), (1, "test", 6)] {
        let out = format!("{part}{ranks}.safetensors");
        let args = ["embed", "run", "--part", part, "--out", &out];
        sandbox
            .dtrain(args)
            .ranks(ranks)
            .finish()
            .succeeded()
            .says_once(&format!("{count} embeddings written to {out}"));
        let bytes = std::fs::read(sandbox.join(&out)).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let notes = metadata.metadata().clone().unwrap();
        let classes: Vec<String> = serde_json::from_str(&notes["classes.class"]).unwrap();
        let files: Vec<String> = serde_json::from_str(&notes["files"]).unwrap();
        assert_eq!((classes.as_slice(), notes["step"].as_str()), (&CLASSES.map(str::to_owned)[..], "2"));

        let file = SafeTensors::deserialize(&bytes).unwrap();
        let integers = |name: &str| -> Vec<i64> {
            file.tensor(name).unwrap().data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
        };
        let (ids, labels) = (integers("ids"), integers("label.class"));
        assert_eq!((ids.len(), labels.len(), files.len()), (count, count, count));
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for (label, file) in labels.iter().zip(&files) {
            assert!(
                file.starts_with(&format!("{}/", CLASSES[*label as usize])),
                "{file} is labelled {label}"
            );
        }
        let embeddings = file.tensor("embeddings").unwrap();
        assert_eq!((embeddings.shape()[0], embeddings.dtype()), (count, safetensors::Dtype::F32));
        let values: Vec<f32> =
            embeddings.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert!(values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value != 0.0));
        if part == "all" {
            by_ranks.insert(ranks, values);
        }
    }
    let furthest = by_ranks[&1].iter().zip(&by_ranks[&2]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-4, "one and two ranks embed {furthest} apart");
}

#[test]
fn files_of_experiments_and_groups_are_shown() {
    let sandbox = Sandbox::new();
    for name in shipped_experiments(&sandbox) {
        let shown = sandbox.dtrain(["show", &name]).finish().succeeded().stdout;
        assert!(shown.starts_with(&format!("# dtrain experiment={name}\n")), "{shown}");
    }
    let group = sandbox.dtrain(["show", "model/resnet18"]).finish().succeeded().stdout;
    assert!(group.contains("name: resnet18"), "{group}");
    let wrong = sandbox.dtrain(["show", "supcon_fsd"]).finish().expect(2);
    wrong.says("did you mean `supcon_fsdd`?");
}

#[test]
fn completions_name_the_verbs() {
    let script = Sandbox::new().dtrain(["completions", "bash"]).finish().succeeded().stdout;
    for verb in ["train", "resume", "eval", "embed", "completions"] {
        assert!(script.contains(verb), "{verb} is not completed");
    }
}

#[test]
fn help_goes_to_stdout_and_mistakes_to_stderr() {
    let sandbox = Sandbox::new();
    for args in [vec!["--help"], vec!["train", "--help"], vec!["eval", "--help"], vec!["--version"]] {
        let finished = sandbox.dtrain(&args).finish().succeeded();
        assert!(!finished.stdout.is_empty() && finished.stderr.is_empty(), "{}", finished.report());
    }
    let finished = sandbox.dtrain(["resume"]).finish().expect(2);
    assert!(finished.stdout.is_empty(), "{}", finished.report());
    finished.says("Usage: dtrain resume <RUN>");
    sandbox
        .dtrain(["--no-such-flag"])
        .ranks(2)
        .finish()
        .expect(2)
        .says_once("error: `--no-such-flag` is not an option of `dtrain train`");
}
