//! Training objectives. `method.name` is read first; the section is then decoded into that method's own struct. A method's
//! file here holds its settings, their checks, and what the rest of the program needs to know of it before there is a
//! network; its network and loss are the file of the same name in the trainer.

mod byol;
mod codebook;
mod dino;
mod facts;
mod marks;
mod multihead;
mod pairs;
mod positives;
mod projector;
mod simclr;
mod simsiam;
mod supcon;
mod supervised;
mod vqvae;
mod xil;

use serde::{Deserialize, Serialize};

use super::tagged::tagged;
use super::{GroupConfig, HeadsConfig, RunConfig, ScheduledSetting, ScheduledValues};
use crate::checks::Checks;

pub use byol::ByolConfig;
pub use codebook::{CodebookConfig, CodebookKind};
pub use dino::{DinoConfig, DinoHeadConfig};
pub use facts::{LabelUse, MethodFacts, PairFacts, Sampling, TeacherFacts, ViewFacts};
pub use marks::{BatchFacts, EntropyFacts, LossMarks};
pub use pairs::PairExclusion;
pub use positives::PositiveRule;
pub use projector::{PredictorConfig, ProjectorConfig};
pub use simclr::SimclrConfig;
pub use simsiam::SimsiamConfig;
pub use supcon::SupconConfig;
pub use supervised::SupervisedConfig;
pub use vqvae::{QuantizerGradient, SemanticHeadsConfig, Smoothing, UnusedClasses, VqvaeConfig};
pub use xil::{XilConfig, XilLoss};

tagged! {
    dyn MethodSettings;
    /// The objective, chosen by `method.name`.
    pub enum MethodConfig {
        /// Two views of a sample attract, all others repel (Chen et al. 2020).
        Simclr(SimclrConfig) = "simclr",
        /// All views of a class attract (Khosla et al. 2020).
        Supcon(SupconConfig) = "supcon",
        /// One view's projection by a slowly moving teacher is predicted from the other view (Grill et al. 2020).
        Byol(ByolConfig) = "byol",
        /// One view's projection is predicted from the other view, without a teacher (Chen & He 2021).
        Simsiam(SimsiamConfig) = "simsiam",
        /// One view's soft assignment by a slowly moving teacher is learned from the other views (Caron et al. 2021).
        Dino(DinoConfig) = "dino",
        /// Cross-entropy on the target label.
        Supervised(SupervisedConfig) = "supervised",
        /// One classifier for each label of the data, on a shared backbone.
        Multihead(HeadsConfig) = "multihead",
        /// Views are rounded to codes and decoded again, and latents tell the target too (van den Oord et al. 2017).
        Vqvae(VqvaeConfig) = "vqvae",
        /// Cross-entropy on the target label with samples or masks by which a user corrects a confounder (Ross et al. 2017).
        Xil(XilConfig) = "xil",
    }
}

/// What a method knows about itself.
pub(crate) trait MethodSettings {
    /// What planning, samplers, checks and proofs go by.
    fn facts(&self) -> MethodFacts;

    /// What may change over the run besides the momentum of its teacher: each forward pass is handed the values of its step.
    fn scheduled(&self) -> Vec<ScheduledSetting> {
        Vec::new()
    }

    /// Groups of parameters that it trains in another way than the rest; they follow those of `optimizer.groups`, of which one of
    /// the same name takes the place.
    fn groups(&self) -> Vec<GroupConfig> {
        Vec::new()
    }

    /// What is known of its training loss on such a batch, given the values of the step; alarms go by it.
    fn loss_marks(&self, _batch: &BatchFacts, _values: &ScheduledValues) -> LossMarks {
        LossMarks::default()
    }

    /// What it puts out as a distribution without labels, where it does; alarms go by it.
    fn output_entropy(&self) -> Option<EntropyFacts> {
        None
    }

    /// Settings of `method` that cannot work, alone or with others.
    fn check(&self, config: &RunConfig, checks: &mut Checks);

    /// The settings of its heads, where it has one for each label.
    fn heads(&self) -> Option<&HeadsConfig> {
        None
    }

    /// As [`Self::heads`], to be fitted to the data.
    fn heads_mut(&mut self) -> Option<&mut HeadsConfig> {
        None
    }

    /// The same method for a proof on data with these labels: narrow, and with every part switched on that changes its
    /// mathematics.
    fn for_proofs(&self, labels: &[&str]) -> MethodConfig;
}

impl MethodConfig {
    /// What planning, samplers, checks and proofs go by.
    pub fn facts(&self) -> MethodFacts {
        self.settings().facts()
    }

    /// What may change over the run.
    pub fn scheduled(&self) -> Vec<ScheduledSetting> {
        let teacher = self.facts().teacher.map(|teacher| teacher.scheduled());
        self.settings().scheduled().into_iter().chain(teacher).collect()
    }

    /// Groups of parameters that it trains in another way than the rest.
    pub(crate) fn groups(&self) -> Vec<GroupConfig> {
        self.settings().groups()
    }

    /// What is known of its training loss on such a batch, given the values of the step.
    pub fn loss_marks(&self, batch: &BatchFacts, values: &ScheduledValues) -> LossMarks {
        self.settings().loss_marks(batch, values)
    }

    /// What it puts out as a distribution without labels, where it does.
    pub fn output_entropy(&self) -> Option<EntropyFacts> {
        self.settings().output_entropy()
    }

    /// The settings of its heads, where it has one for each label.
    pub fn heads(&self) -> Option<&HeadsConfig> {
        self.settings().heads()
    }

    /// As [`Self::heads`], to be fitted to the data.
    pub fn heads_mut(&mut self) -> Option<&mut HeadsConfig> {
        self.settings_mut().heads_mut()
    }

    /// The same method for a proof on data with these labels: narrow, and with every part switched on that changes its
    /// mathematics.
    pub fn for_proofs(&self, labels: &[&str]) -> Self {
        self.settings().for_proofs(labels)
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        MethodConfig::Supcon(SupconConfig::default())
    }
}
