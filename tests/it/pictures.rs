//! Pictures of embeddings and the tables of TensorBoard's projector: written where they are asked for, the same on any number of
//! ranks, and read by TensorBoard itself.

use std::path::Path;
use std::process::Command;

use dtrain_tests::python_with;
use serde_json::Value;

use crate::small_runs::{first_is_best, with_recordings};

/// Prints what TensorBoard's projector finds below a folder without any run.
const READER: &str = r#"
import json, os, sys
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector import projector_plugin

folder = os.path.abspath(sys.argv[1])
plugin = projector_plugin.ProjectorPlugin(TBContext(logdir=folder))
configs, paths = plugin._read_latest_config_files([(".", folder)])
embedding = configs["."].embeddings[0]
path = lambda name: projector_plugin._rel_to_abs_asset_path(name, paths["."])
tensor = projector_plugin._read_tensor_tsv_file(path(embedding.tensor_path))
with open(path(embedding.metadata_path)) as f:
    metadata = [line.rstrip("\n").split("\t") for line in f]
print(json.dumps({"name": embedding.tensor_name, "shape": tensor.shape, "metadata": metadata}))
"#;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn numbers(table: &str) -> Vec<Vec<f64>> {
    table.lines().map(|line| line.split('\t').map(|cell| cell.parse().unwrap()).collect()).collect()
}

#[test]
fn pictures_and_tables_are_those_of_one_rank_on_any_number() {
    let sandbox = with_recordings(10);
    let more = [
        "trainer.max_epochs=1",
        "trainer.precision=fp64",
        "data.splits.default.test_fraction=0.5",
        "data.splits.default.val_fraction=0.1",
        "eval.pictures.enabled=true",
    ];
    sandbox.dtrain(first_is_best("supervised", &more)).finish().succeeded();
    let run = sandbox.run("run");
    let reports = run.join("reports");
    let pictures = ["embedding_test_pca.png", "embedding_test_tsne.png", "projector"];
    assert!(
        pictures.iter().all(|name| names(&reports).contains(&(*name).to_owned())),
        "{:?}",
        names(&reports)
    );
    let metadata = run.read("reports/projector/metadata.tsv");
    let at_end = numbers(&run.read("reports/projector/tensors.tsv"));
    // Half of thirty, and a header.
    assert_eq!((metadata.lines().count(), at_end.len()), (16, 15));
    assert_eq!(metadata.lines().next(), Some("file\tclass"));
    for ranks in [1, 2, 3] {
        let told = sandbox.dtrain(["eval", "run", "--pictures"]).ranks(ranks).finish().succeeded();
        told.says("embedding_test_pca.png");
        let folder = format!("eval/step-{:08}/projector", run.result_count("step"));
        assert_eq!(run.read(&format!("{folder}/metadata.tsv")), metadata, "{ranks} ranks");
        let found = numbers(&run.read(&format!("{folder}/tensors.tsv")));
        for (row, expected) in found.iter().zip(&at_end) {
            assert_eq!((row.len(), found.len()), (expected.len(), at_end.len()));
            assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{ranks} ranks");
        }
    }

    let Some(python) = python_with("tensorboard") else { return };
    let output = Command::new(python).args(["-c", READER]).arg(reports.join("projector")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&read["name"], &read["shape"][0]), (&"test".into(), &15.into()));
    assert_eq!(read["shape"][1].as_u64(), Some(at_end[0].len() as u64));
    let rows: Vec<String> = read["metadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            row.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap()).collect::<Vec<_>>().join("\t")
        })
        .collect();
    assert_eq!(rows, metadata.lines().collect::<Vec<_>>());
}

#[test]
fn some_of_many_samples_are_shown() {
    let sandbox = with_recordings(10);
    let more = [
        "trainer.max_epochs=1",
        "data.splits.default.test_fraction=0.5",
        "data.splits.default.val_fraction=0.1",
    ];
    sandbox.dtrain(first_is_best("supervised", &more)).finish().succeeded();
    let words = ["eval", "run", "--pictures", "eval.pictures.max_points=6", "eval.pictures.tsne=false"];
    sandbox.dtrain(words).finish().succeeded();
    let run = sandbox.run("run");
    let folder = run.join(format!("eval/step-{:08}", run.result_count("step")));
    assert!(!names(&folder).iter().any(|name| name.contains("tsne")));
    let metadata = std::fs::read_to_string(folder.join("projector/metadata.tsv")).unwrap();
    let mut classes: Vec<&str> =
        metadata.lines().skip(1).filter_map(|line| line.split('\t').nth(1)).collect();
    classes.sort_unstable();
    assert_eq!(classes, ["lark", "lark", "rook", "rook", "wren", "wren"], "drawn by class");
}
