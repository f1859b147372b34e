//! The commands of docs/howto are run as they stand, by a shell, with small data.

use std::path::Path;
use std::process::Command;

use dtrain_tests::{Sandbox, dtrain_binary};

/// Makes `dtrain` train on a twentieth of the generated data for two epochs; verbs are as they stand. TensorBoard would stay.
const SHELL: &str = r#"
set -euo pipefail
dtrain() {
  case "$1" in
    *=* | sweep) "$DTRAIN_BINARY" "$@" data.generate.scale=0.05 trainer.batch_size=16 trainer.max_epochs=2 trainer.threads=1 ;;
    *) "$DTRAIN_BINARY" "$@" ;;
  esac
}
tensorboard() { :; }
"#;

/// The blocks of shell in a page, one after the other.
fn commands(page: &str) -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto").join(page))
            .unwrap();
    let mut blocks = String::new();
    for part in text.split("```sh\n").skip(1) {
        blocks.push_str(part.split("```").next().unwrap());
    }
    assert!(!blocks.is_empty(), "{page} has no commands");
    blocks
}

#[track_caller]
fn run(sandbox: &Sandbox, script: &str) {
    let output = Command::new("bash")
        .args(["-c", &format!("{SHELL}{script}")])
        .env("DTRAIN_BINARY", dtrain_binary())
        .current_dir(sandbox.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
}

#[test]
fn seeds_and_learning_rates_are_compared() {
    let sandbox = Sandbox::new();
    run(&sandbox, &commands("seeds.md"));
    let csv = std::fs::read_to_string(sandbox.join("lr.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.starts_with("run,optimizer.lr,seed,val/acc last,val/acc last sd"), "{csv}");
    assert!(csv.contains("\"2 runs: runs/lr/"), "{csv}");
}

#[test]
fn curves_and_embeddings_are_there() {
    let sandbox = Sandbox::new();
    run(&sandbox, &commands("curves.md"));
    let evaluated: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(sandbox.join("best.json")).unwrap()).unwrap();
    assert!(evaluated["metrics"]["test/knn_top1"].is_number(), "{evaluated}");
    for file in ["test.safetensors", "best.safetensors", "runs/a/metrics.jsonl"] {
        assert!(sandbox.join(file).is_file(), "{file} is missing");
    }
}

#[test]
fn weights_reach_torchvision_and_come_back() {
    let sandbox = Sandbox::new();
    let before = "dtrain experiment=supervised_fsdd model=resnet18 run.dir=runs/a trainer.max_steps=1\n";
    // Files of other programs are not here.
    let foreign = ["last.ckpt", "moco.pth", "imagenet.pth"];
    let page = commands("torchvision.md");
    let own = page.lines().filter(|line| !foreign.iter().any(|file| line.contains(file)));
    let own: Vec<&str> = own.collect();
    run(&sandbox, &format!("{before}{}\n", own.join("\n")));
    for file in ["backbone.safetensors", "best.safetensors", "classifier.safetensors"] {
        assert!(sandbox.join(file).is_file(), "{file} is missing");
    }
}
