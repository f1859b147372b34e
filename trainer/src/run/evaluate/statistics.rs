//! By which batch-norm statistics a run is evaluated, and what is said about them.

use dtrain_configs::schema::BnStatistics;

use crate::engine::Engine;
use crate::error::TrainError;
use crate::eval::{Measured, measure_statistics};
use crate::model::batch_norm::MOMENTUM;
use crate::run::prepare::{Prepared, reading};

/// Share of their start in running statistics from which on there is a note.
const HELD: f64 = 0.01;
/// Share of channels with a running variance far from the measured one from which on there is a note.
const FAR: f64 = 0.1;

impl Prepared {
    /// Puts measured statistics in the place of the running ones, where the settings ask for that.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub(crate) fn measure_statistics(&self) -> Result<Option<Measured>, TrainError> {
        self.measure_statistics_of(&self.engine)
    }

    /// The same of a network of the same kind.
    ///
    /// # Errors
    /// As [`Self::measure_statistics`].
    pub(crate) fn measure_statistics_of(&self, engine: &Engine) -> Result<Option<Measured>, TrainError> {
        let model = &self.config.model;
        match model.bn_statistics {
            BnStatistics::Running => Ok(None),
            BnStatistics::Precise => {
                measure_statistics(engine, &reading(self), &self.dataset.train, model.bn_samples)
            }
        }
    }

    /// What is worth knowing about the statistics that an evaluation was done with.
    pub(crate) fn note_on_statistics(&self, measured: Option<&Measured>) -> Option<String> {
        if let Some(Measured { samples, far, .. }) = measured {
            let percent = 100.0 * far;
            return (*far > FAR).then(|| {
                format!(
                    "evaluated with batch-norm statistics of {samples} training samples; the running ones, which the checkpoint \
                     holds, are off by more than a factor of 2 in {percent:.0} % of the channels"
                )
            });
        }
        let held = self.held_start()?;
        (held > HELD).then(|| {
            let percent = 100.0 * held;
            format!(
                "batch norm's running statistics still hold {percent:.0} % of their start, mean 0 and variance 1, so that evaluations \
                 may be far below training; `model.bn_statistics=precise` estimates them anew"
            )
        })
    }

    /// Share of their start in the running statistics, where there are any that have learned.
    fn held_start(&self) -> Option<f64> {
        let layers = self.engine.norm_statistics();
        let batches =
            layers.iter().map(|layer| layer.num_batches.int64_value(&[])).filter(|&n| n > 0).min()?;
        Some((1.0 - MOMENTUM).powi(batches.min(1 << 20) as i32))
    }
}
