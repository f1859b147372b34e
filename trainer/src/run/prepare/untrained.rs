//! The network as it was before its first step, to hold trained weights against.

use super::Prepared;
use super::plan::engine_settings;
use crate::engine::{Engine, Ranks};
use crate::error::TrainError;
use crate::method;
use crate::model::parameters::Parameters;
use crate::run::agree::agreed;

impl Prepared {
    /// Another engine with the weights that the run's seed draws. A run that started from given weights (`init_from`) has it
    /// too: this network has learned nothing.
    ///
    /// # Errors
    /// When memory runs out, the same on all ranks.
    pub(crate) fn untrained(&self) -> Result<Engine, TrainError> {
        let ranks = self.engine.collective();
        agreed(&**ranks, self.untrained_here())
    }

    fn untrained_here(&self) -> Result<Engine, TrainError> {
        let config = &self.config;
        let kind = self.resolved.arithmetic.kind();
        let mut parameters = Parameters::new(self.place.device, kind, config.seed);
        let method = method::build(&config.method, &config.model, &self.task(), &mut parameters);
        let wanting = |error: TrainError| {
            error.wanting("a second, untrained network", None, "`eval.baseline=null` does without")
        };
        parameters.made().map_err(|unmade| wanting(TrainError::from(unmade.error)))?;
        let settings = engine_settings(config, &self.resolved, &self.plan);
        let ways = Ranks::inline(self.engine.collective());
        let engine = Engine::new(method, parameters, ways, settings).map_err(wanting)?;
        engine.copy_to_teacher()?;
        Ok(engine)
    }
}
