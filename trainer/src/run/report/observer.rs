//! What rank 0 tells the person in front of it; the terminal layer implements it.

use std::path::Path;

use super::banner::Banner;
use crate::coordinator::StopReason;
use crate::eval::Evaluation;

/// Where the run stands, after a step.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of the run.
    pub total_steps: u64,
    /// Zero-based epoch of the step.
    pub epoch: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Loss of the global batch.
    pub loss: f64,
    /// Samples per second of the last steps, over all ranks.
    pub samples_per_sec: f64,
    /// Whether metrics of this step were logged.
    pub logged: bool,
}

/// Which weights an evaluation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluated {
    /// Those that are trained on.
    During,
    /// The last ones, at the end of the run and in full.
    Last,
    /// The best ones, at the end of the run and in full.
    Best,
}

/// Hears what happens.
pub trait Observer {
    /// Before the first step.
    fn started(&mut self, banner: &Banner);
    /// After each step.
    fn stepped(&mut self, progress: &Progress);
    /// After an evaluation of the weights of `step`.
    fn evaluated(&mut self, evaluation: &Evaluation, step: u64, which: Evaluated);
    /// A checkpoint is durable.
    fn saved(&mut self, path: &Path, step: u64);
    /// The loop has ended.
    fn ended(&mut self, reason: &StopReason);
}

/// Hears nothing: ranks other than 0, and tests.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn started(&mut self, _: &Banner) {}
    fn stepped(&mut self, _: &Progress) {}
    fn evaluated(&mut self, _: &Evaluation, _: u64, _: Evaluated) {}
    fn saved(&mut self, _: &Path, _: u64) {}
    fn ended(&mut self, _: &StopReason) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use dtrain_comm::Single;
    use dtrain_configs::{ComposeOptions, compose};
    use dtrain_data::progress::{Listener, Stand, listen};
    use dtrain_data::synth;

    use super::*;
    use crate::run::{Extent, StopFlag, TrainRequest, train};

    static HEARD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    struct Notes;

    impl Listener for Notes {
        fn interval(&self) -> Duration {
            Duration::ZERO
        }

        fn report(&self, stand: &Stand<'_>) {
            assert!(stand.total.is_none_or(|total| stand.done <= total), "{stand:?}");
            HEARD.lock().unwrap().insert(stand.what.to_owned());
        }

        fn ended(&self) {}
    }

    /// Whatever may last for minutes on large data says where it stands.
    #[test]
    fn long_work_around_the_steps_is_heard_of() {
        listen(Box::new(Notes));
        let dir = tempfile::tempdir().unwrap();
        let sounds = dir.path().join("sounds");
        synth::ensure(synth::RecordingSetKind::SpokenDigits, 0, 0.1, &sounds).unwrap();
        let words = [
            "experiment=null",
            "data=fsdd",
            "model=simple_cnn_64k",
            "method=supervised",
            "trainer.batch_size=16",
            "trainer.threads=1",
            &format!("data.root={}", sounds.display()),
        ]
        .map(str::to_owned);
        let composition = compose(&words, &ComposeOptions::default()).unwrap();
        train(TrainRequest {
            config: composition.config,
            origins: composition.origins,
            overrides: words.to_vec(),
            collective: Arc::new(Single::new()),
            observer: &mut Silent,
            stop: StopFlag::default(),
            extent: Extent::FastDev { steps: 1 },
            git_revision: None,
            on_run_dir: &|_| Ok(()),
        })
        .unwrap();
        synth::generate_images(synth::ImageSetKind::Digits, 0, 0.01, &dir.path().join("digits")).unwrap();
        synth::generate_images(synth::ImageSetKind::Vimh, 0, 0.01, &dir.path().join("vimh")).unwrap();
        let heard = HEARD.lock().unwrap().clone();
        for what in [
            "generating recordings",
            "generating images",
            "listing folders",
            "reading the first batch",
            "reading headers",
            "embedding",
            "finding nearest neighbours",
            "fitting a linear probe",
        ] {
            assert!(heard.contains(what), "nothing was said while {what}; heard of {heard:?}");
        }
    }
}
