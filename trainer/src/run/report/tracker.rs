//! Metrics of a run in all the forms it writes them: `metrics.jsonl` and TensorBoard. Silent on ranks other than 0.

use super::first_batch::pictures_of;
use crate::batch::Batch;
use crate::track::{
    BestWeights, EventWriter, HparamValue, Metrics, MetricsFile, Picture, SessionStatus, TrackError,
};
use dtrain_configs::RunDir;
use dtrain_configs::schema::TrackConfig;

/// Samples of the first batch that are pictured.
const PICTURED_SAMPLES: usize = 8;

/// The curve of epochs that are done, a fraction between their ends.
const EPOCH: &str = "epoch";

/// Writes metrics.
#[derive(Default)]
pub struct Tracker {
    metrics: Option<MetricsFile>,
    events: Option<EventWriter>,
    steps_per_epoch: u64,
}

impl Tracker {
    /// Writes nothing.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Opens the run's files; a run that resumes forgets what came after its checkpoint.
    pub fn open(
        run_dir: &RunDir,
        config: &TrackConfig,
        resume_at: Option<u64>,
        steps_per_epoch: u64,
    ) -> Result<Self, TrackError> {
        let metrics = MetricsFile::open(&run_dir.metrics(), resume_at)?;
        let events =
            config.tensorboard.then(|| EventWriter::create(&run_dir.tensorboard(), resume_at)).transpose()?;
        Ok(Self { metrics: Some(metrics), events, steps_per_epoch })
    }

    /// One line of metrics.
    pub fn record(
        &mut self,
        step: u64,
        epoch: u64,
        wall_s: f64,
        values: &[(String, f64)],
    ) -> Result<(), TrackError> {
        let mut values: Metrics = values.iter().cloned().collect();
        if let Some(metrics) = &mut self.metrics {
            metrics.write(step, epoch, wall_s, &values)?;
        }
        if let Some(events) = &mut self.events {
            // TensorBoard's axis counts steps; this curve tells how many epochs they are.
            values.insert(EPOCH.into(), step as f64 / self.steps_per_epoch.max(1) as f64);
            events.scalars(step, &values)?;
            events.flush()?;
        }
        Ok(())
    }

    /// What the best weights reach, for the HPARAMS tab and as points of `best/...`.
    pub fn best(&mut self, best: &BestWeights) -> Result<(), TrackError> {
        let Some(events) = &mut self.events else { return Ok(()) };
        let values =
            best.metrics.iter().filter(|(name, _)| name.starts_with("val/") || name.starts_with("test/"));
        let values = values.map(|(name, value)| (format!("best/{name}"), *value)).collect();
        events.scalars(best.step, &values)?;
        events.flush()
    }

    /// The views of the first batch, a picture for each of their shapes: a row per sample, a column per view. `labels` says above each row what it shows, for
    /// the samples that are present.
    pub fn first_batch(&mut self, batch: &Batch, labels: &[String]) -> Result<(), TrackError> {
        let Some(events) = &mut self.events else { return Ok(()) };
        for (number, picture) in pictures_of(batch, PICTURED_SAMPLES, labels)? {
            let tag = match number {
                0 => "first_batch/views".to_owned(),
                number => format!("first_batch/views_{number}"),
            };
            events.image(0, &tag, &picture)?;
        }
        events.flush()
    }

    /// A picture for TensorBoard; it is not drawn where nobody looks.
    pub(crate) fn image(
        &mut self,
        step: u64,
        tag: &str,
        draw: impl FnOnce() -> Result<Picture, TrackError>,
    ) -> Result<(), TrackError> {
        let Some(events) = &mut self.events else { return Ok(()) };
        events.image(step, tag, &draw()?)?;
        events.flush()
    }

    /// The settings, for TensorBoard's HPARAMS tab, beside the metrics that tell runs apart.
    pub fn hparams(
        &mut self,
        settings: &[(String, HparamValue)],
        metrics: &[String],
    ) -> Result<(), TrackError> {
        match &mut self.events {
            Some(events) => events.hparams(settings, metrics),
            None => Ok(()),
        }
    }

    /// The end of the run.
    pub fn end(&mut self, status: SessionStatus) -> Result<(), TrackError> {
        match &mut self.events {
            Some(events) => events.end(status),
            None => Ok(()),
        }
    }
}
