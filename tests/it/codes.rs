//! A VQ-VAE on generated machine sounds: anomalies are told machine by machine, phases freeze the codebook, and settings under
//! which it fails are named before the first step.

use std::collections::BTreeMap;

use dtrain_tests::Sandbox;
use serde_json::Value;

/// Eight healthy clips of each of four machines and four with faults, two epochs.
fn machines(more: &[&str]) -> Vec<String> {
    let all = [
        "experiment=vqvae_synthetic",
        "data.generate.scale=0.001",
        "trainer.batch_size=8",
        "trainer.max_epochs=2",
        "trainer.threads=1",
        "schedule.warmup_epochs=0",
        "run.dir=run",
    ];
    all.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// Those that are numbers: on as few clips no two need be of one machine.
fn metrics(result: &Value) -> BTreeMap<String, f64> {
    let all = result["metrics"].as_object().expect("metrics");
    all.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

#[test]
fn a_run_measures_codes_anomalies_and_both_heads() {
    let sandbox = Sandbox::new();
    let finished = sandbox.dtrain(machines(&[])).finish().succeeded();
    finished
        .says("frozen: codebook")
        .says("the validation part has")
        .says("no training sample has machine_id = 1, 3, 5");
    let metrics = metrics(&sandbox.run("run").result());
    for name in [
        "train/perplexity",
        "train/codebook_usage",
        "train/at_bound",
        "train/transform_acc",
        "val/recon_loss",
        "val/vq_loss",
        "val/transform_loss",
        "val/machine_id_loss",
        "test/perplexity",
        "test/codebook_usage",
        "test/auc",
        "test/pauc",
        "test/auc_distance",
        "test/auc_head",
        "test/machine_id_0_auc",
        "test/machine_id_6_auc_margin",
    ] {
        assert!(metrics.contains_key(name), "{name} is missing: {metrics:?}");
    }
    let mean = [0, 2, 4, 6].map(|id| metrics[&format!("test/machine_id_{id}_auc")]).iter().sum::<f64>() / 4.0;
    assert!((metrics["test/auc"] - mean).abs() < 1e-12);
    assert!(metrics["test/codebook_usage"] > 0.0 && metrics["test/perplexity"] >= 1.0);
}

#[test]
fn what_a_codebook_does_not_have_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let fsq = "method.codebook.kind=fsq";
    for (words, said) in [
        (
            [fsq, "method.codebook.kmeans_init=true"],
            "`method.codebook.kind` = fsq keeps none that could be set",
        ),
        ([fsq, "method.codebook.reseed_below=0.5"], "`method.codebook.kind` = fsq has none"),
        ([fsq, "method.lambda_transform=1"], "phase `frozen_codebook` freezes `codebook`"),
        (["augment=none", "method.lambda_transform=1"], "`augment.transforms` = null draws none"),
        (["method.num_patches=40", "augment=none"], "40 patches of views of 64 x 64 are 64 x 1"),
    ] {
        let refused = sandbox.dtrain(machines(&words)).finish().expect(2);
        refused.says(said);
    }
}
