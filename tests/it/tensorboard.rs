//! TensorBoard's own reader finds in the event files what `metrics.jsonl` has, and the pictures.

use std::process::Command;

use dtrain_tests::python_with;
use serde_json::Value;

use crate::small_runs::{settings, with_recordings};

/// Prints what TensorBoard reads in a folder. Its reader checks the checksum of each record.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0})
events.Reload()
tags = events.Tags()
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {
        tag: [[i.step, i.width, i.height, i.encoded_image_string[:8].hex()] for i in events.Images(tag)]
        for tag in tags["images"]
    },
    "tensors": tags["tensors"],
}))
"#;

#[test]
fn tensorboard_reads_what_the_run_has_measured() {
    let Some(python) = python_with("tensorboard") else { return };
    let sandbox = with_recordings(6);
    let more = [
        "run.dir=run",
        "track.tensorboard=true",
        "data.splits.default.val_fraction=0.34",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=2",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    let run = sandbox.run("run");
    let output = Command::new(python).args(["-c", READER]).arg(run.join("tb")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();

    let scalars = read["scalars"].as_object().unwrap();
    for name in ["train/loss", "opt/lr", "val/acc", "val/knn_top1"] {
        let values: Vec<(u64, f64)> = scalars[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap()))
            .collect();
        // Events hold values of 32 bits.
        let mut expected: Vec<(u64, f64)> =
            run.series(name).into_iter().map(|(step, value)| (step, f64::from(value as f32))).collect();
        // An event per step; of two lines of a step the later one stands for both.
        expected.reverse();
        expected.dedup_by_key(|(step, _)| *step);
        expected.reverse();
        assert!(!values.is_empty() && values == expected, "{name}: {values:?}, not {expected:?}");
    }
    let picture = &read["images"]["first_batch/views"][0];
    assert!(picture[1].as_u64() > Some(0) && picture[2].as_u64() > Some(0), "{picture}");
    assert_eq!(picture[3], "89504e470d0a1a0a", "the first bytes of a PNG file");
    let tensors = read["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|tag| tag == "_hparams_/session_end_info"), "{tensors:?}");
}
