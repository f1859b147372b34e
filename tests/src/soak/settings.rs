//! The runs of the soak: a network and recordings so small that a step takes milliseconds and a checkpoint is written
//! every third one.

use std::path::Path;
use std::time::Duration;

use crate::recordings::write_classes;
use crate::sandbox::Sandbox;
use crate::soak::plan::{RunPlan, Supervision};

/// Optimizer steps.
pub(super) const STEPS: u64 = 60;
/// 60 recordings, of which 12 are for validation, in batches of 8.
pub(super) const STEPS_PER_EPOCH: u64 = 6;
/// Steps between two checkpoints.
pub(super) const SAVE_EVERY: u64 = 3;

/// A run with all of its restarts; a busy machine needs longer than a single test may.
const TIMEOUT: Duration = Duration::from_secs(1200);

/// Writes the recordings of all runs.
pub(super) fn write_recordings(folder: &Path) {
    write_classes(folder, &["lark", "rook", "wren"], 20);
}

/// The settings of a run in `dir`.
pub(super) fn settings(method: &str, asynchronous: bool, dir: &str) -> Vec<String> {
    let mut all: Vec<String> = [
        "experiment=null",
        "data=audio_folder",
        "data.root=sounds",
        "data.audio.sample_rate=8000",
        "data.audio.clip_secs=0.25",
        "data.features.n_fft=256",
        "data.features.hop_length=40",
        "data.features.n_mels=64",
        "data.splits.default.test_fraction=0",
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.threads=1",
        "trainer.loader_threads=1",
        "trainer.batch_size=8",
        "trainer.max_epochs=null",
        "trainer.replica_check_steps=7",
        "checkpoint.monitor=val/knn_top1",
        "checkpoint.keep_last=2",
        "track.every_steps=1",
        "track.tensorboard=true",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("method={method}"));
    all.push(format!("trainer.max_steps={STEPS}"));
    all.push(format!("checkpoint.every_steps={SAVE_EVERY}"));
    all.push(format!("checkpoint.async={asynchronous}"));
    all.push(format!("run.dir={dir}"));
    all.extend(small_method(method));
    all
}

/// Settings that make the parts of a method small, by its name.
pub fn small_method(method: &str) -> Vec<String> {
    let small: &[&str] = match method {
        "simclr" | "supcon" => &["method.projector.hidden_dim=32", "method.projector.out_dim=16"],
        "byol" | "simsiam" => &[
            "method.projector.hidden_dim=32",
            "method.projector.out_dim=16",
            "method.predictor.hidden_dim=24",
        ],
        "dino" => &[
            "method.head.hidden_dim=32",
            "method.head.bottleneck_dim=16",
            "method.head.out_dim=24",
            // Runs of a few steps are shorter than an epoch.
            "method.freeze_last_layer=2 steps",
        ],
        // Views of these lengths are no longer than a patch.
        "vqvae" => &["method.num_patches=1"],
        // Its heads are probed only where that is asked for.
        "multihead" => &["eval.embeddings=true"],
        _ => &[],
    };
    small.iter().map(|word| (*word).to_owned()).collect()
}

/// The job that starts the run of `plan`, or starts it again.
pub(super) fn job(sandbox: &Sandbox, plan: &RunPlan, dir: &str) -> crate::job::Job {
    let settings = settings(plan.method, plan.asynchronous, dir);
    let job = match plan.supervision {
        Supervision::Mpirun => sandbox.dtrain(settings).ranks(plan.world),
        Supervision::Launch => {
            let world = plan.world.to_string();
            let words = ["launch", "-n", &world, "--max-restarts", "1000"].map(str::to_owned);
            sandbox.dtrain(words.into_iter().chain(settings)).exclusive()
        }
    };
    job.timeout(TIMEOUT)
}
