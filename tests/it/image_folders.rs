//! Folders of image files: made, trained on with views made by the loader and where the network computes, looked at, and
//! damaged.

use dtrain_tests::{RunFiles, Sandbox};

/// A small SimCLR run over the folder `images`, three steps long.
fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "experiment=simclr_imagefolder",
        "data.root=images",
        "data.images.size=24",
        "augment.image.blur_probability=0.5",
        "trainer.batch_size=8",
        "trainer.max_steps=3",
        "trainer.threads=1",
        "trainer.loader_threads=1",
        "trainer.deterministic=true",
        "track.every_steps=1",
        "track.tensorboard=false",
        "method.projector.hidden_dim=16",
        "eval.every_epochs=0",
    ];
    [&fixed, more].concat()
}

fn losses(run: &RunFiles) -> Vec<f64> {
    run.series("train/loss").into_iter().map(|(_, loss)| loss).collect()
}

#[test]
fn image_files_train_alike_wherever_their_views_are_made() {
    let sandbox = Sandbox::new();
    let made = sandbox.dtrain(["data", "make", "images", "--out", "images", "--scale", "0.02"]).finish();
    assert!(made.succeeded().stderr.contains("30 images to train on and 30 to test on"));
    std::fs::write(sandbox.join("images/train/cat/words.png"), "no picture").unwrap();
    for device in ["cpu", "trainer"] {
        let (run, device) = (format!("run.dir={device}"), format!("augment.image.device={device}"));
        // Weights that hardly move, so that what is compared are views.
        let words = settings(&[run.as_str(), device.as_str(), "optimizer.lr=1e-9"]);
        sandbox
            .dtrain(words)
            .finish()
            .succeeded()
            .says("unreadable images are skipped (1): `train/cat/words.png`");
    }
    let [by_loader, by_trainer] = ["cpu", "trainer"].map(|name| losses(&sandbox.run(name)));
    assert_eq!(by_loader.len(), 3);
    // Image files are handed over in bytes: a pixel is off by half a step.
    let far = |(a, b): (&f64, &f64)| (a - b).abs() > 0.02;
    assert!(!by_loader.iter().zip(&by_trainer).any(far), "{by_loader:?} {by_trainer:?}");

    let words = settings(&["run.dir=strict", "data.max_bad_files=0"]);
    let refused = sandbox.dtrain(words).finish().expect(2);
    let said = refused.error(sandbox.path());
    assert!(said.contains("`train/cat/words.png` (plain text)") || said.contains("words.png"), "{said}");

    let views = ["data", "inspect", "--views", "seen", "--samples", "2"];
    let words: Vec<&str> = views.into_iter().chain(settings(&[])).collect();
    sandbox.dtrain(words).finish().succeeded();
    assert!(std::fs::metadata(sandbox.join("seen/views.png")).unwrap().len() > 1000);
}
