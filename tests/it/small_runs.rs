//! The runs that these tests start: a network, recordings and spectrograms so small that a step takes milliseconds.

use dtrain_tests::soak::small_method;
use dtrain_tests::{Sandbox, write_classes};

/// Classes of the recordings that [`with_recordings`] writes.
pub const CLASSES: [&str; 3] = ["lark", "rook", "wren"];

/// A working directory whose folder `sounds` holds `per_class` recordings of each class.
pub fn with_recordings(per_class: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    write_classes(&sandbox.join("sounds"), &CLASSES, per_class);
    sandbox
}

/// Settings of a small run over the folder `sounds`, all of which is trained on, with metrics of each step, evaluation
/// off and one thread; `more` is appended.
pub fn settings(name: &str, more: &[&str]) -> Vec<String> {
    let method = format!("method={name}");
    let mut all = vec![
        "experiment=null",
        "data=audio_folder",
        "data.root=sounds",
        "data.audio.sample_rate=8000",
        "data.audio.clip_secs=0.25",
        "data.features.n_fft=256",
        "data.features.hop_length=80",
        "data.features.n_mels=32",
        "data.splits.default.test_fraction=0",
        "data.splits.default.val_fraction=0",
        "eval.every_epochs=0",
        "trainer.threads=1",
        "trainer.loader_threads=1",
        "track.every_steps=1",
        "track.tensorboard=false",
        method.as_str(),
    ];
    let small = small_method(name);
    all.extend(small.iter().map(String::as_str));
    all.extend(more);
    all.into_iter().map(str::to_owned).collect()
}

/// As [`settings`]: three epochs whose first is the best by its learning rate, which falls, with a val and a test part.
pub fn first_is_best(method: &str, more: &[&str]) -> Vec<String> {
    let fixed = [
        "run.dir=run",
        "data.splits.default.val_fraction=0.2",
        "data.splits.default.test_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=3",
        "checkpoint.keep_last=1",
        "checkpoint.monitor=opt/lr",
        "schedule=cosine",
        "schedule.warmup_epochs=0",
    ];
    settings(method, &fixed.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}
