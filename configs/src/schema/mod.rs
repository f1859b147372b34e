//! The typed settings of a run: the whole tree on one screen, one file per section.

mod alarms;
mod augment;
mod auto;
mod banks;
mod channel;
mod checkpoint;
mod comm;
mod corrections;
mod data;
mod eval;
mod heads;
mod init;
mod method;
mod model;
mod monitor;
mod optimizer;
mod phases;
mod roles;
mod run;
mod schedule;
mod scheduled;
mod schedules;
mod several;
mod stop;
pub(crate) mod tagged;
mod trainer;

pub use alarms::{Alarm, AlarmAction, AlarmActions, AlarmsConfig};
pub use augment::{
    AugmentConfig, AugmentDevice, ByView, ImageAugmentConfig, Interpolation, SmallViewsConfig,
    SpecAugmentConfig, TransformsConfig,
};
pub use auto::Auto;
pub use banks::{BankConfig, SameBy};
pub use channel::Channel;
pub use checkpoint::CheckpointConfig;
pub use comm::{CommBackend, CommConfig};
pub use corrections::{CorrectionKind, CorrectionsConfig};
pub use data::{
    AnomaliesConfig, AudioConfig, DataConfig, DataKind, FeatureConfig, GenerateConfig, GeneratorKind,
    ImagesConfig, LabelMapConfig, LabelSource, LabelsConfig, LogScale, MelNorm, MelScale, Normalize,
    PoolConfig, SplitConfig,
};
pub use eval::{
    AuditConfig, Baseline, Encoder, EvalConfig, EvalWeights, FewShotConfig, KnnConfig, KnnVariant,
    LinearProbeConfig, PicturesConfig,
};
pub use heads::{HeadConfig, HeadLoss, HeadSettings, HeadsConfig};
pub use init::InitConfig;
pub use method::{
    BatchFacts, ByolConfig, CodebookConfig, CodebookKind, DinoConfig, DinoHeadConfig, EntropyFacts, LabelUse,
    LossMarks, MethodConfig, MethodFacts, PairExclusion, PairFacts, PositiveRule, PredictorConfig,
    ProjectorConfig, QuantizerGradient, Sampling, SemanticHeadsConfig, SimclrConfig, SimsiamConfig,
    Smoothing, SupconConfig, SupervisedConfig, TeacherFacts, UnusedClasses, ViewFacts, VqvaeConfig,
    XilConfig, XilLoss,
};
pub use model::{
    BnStatistics, CnnSmallConfig, ConvEncoderConfig, Elsewhere, MlpConfig, ModelConfig, NetworkConfig,
    NetworkFacts, NetworkVariant, Norm, PythonLibrary, ResnetArchitecture, ResnetConfig, ResnetDepth,
    SimpleCnnConfig, Stem, VitConfig, VitPool, VitShape, VitSize,
};
pub use monitor::{MetricSum, MonitorMode};
pub use optimizer::{
    AdamConfig, AdamwConfig, GroupConfig, GroupSchedule, LarsConfig, OptimizerConfig, SgdConfig,
};
pub use phases::{PhaseConfig, PhaseSchedule, PhasesConfig};
pub use roles::Role;
pub(crate) use roles::is_path;
pub use run::{ResumeMode, RunDirConfig, TrackConfig};
pub use schedule::{LrScaling, MadeFor, ScheduleConfig, ScheduleLength};
pub use scheduled::{
    Curve, Position, ScheduleKind, Scheduled, ScheduledSetting, ScheduledValues, Shape, Span,
    TeacherMomentum, ValueRange,
};
pub use several::Several;
pub use stop::StopConfig;
pub use trainer::{ClipNorm, DeviceChoice, Precision, TrainerConfig};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that one run is told, as composed from groups, experiment and overrides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the experiment file that chose the groups.
    pub experiment: Option<String>,
    /// Seed of initialization, data order and augmentation.
    pub seed: u64,
    /// Free words to filter runs by.
    pub tags: Vec<String>,
    /// The metric that a search over runs maximizes; `result.json` repeats its last value as `optimized`.
    pub optimized_metric: Option<String>,
    /// Weights to start from (a run, a checkpoint folder, a safetensors file or one of `torch.save`); a new run, unlike `dtrain
    /// resume`.
    pub init_from: Option<PathBuf>,
    /// Which of these weights, and what is made of those of another shape.
    pub init: InitConfig,
    /// Where the run lives and whether it continues.
    pub run: RunDirConfig,
    /// What is learned from.
    pub data: DataConfig,
    /// Random changes that make views.
    pub augment: AugmentConfig,
    /// The network.
    pub model: ModelConfig,
    /// The training objective.
    pub method: MethodConfig,
    /// How weights move.
    pub optimizer: OptimizerConfig,
    /// How the learning rate moves.
    pub schedule: ScheduleConfig,
    /// Batch, length, device and precision.
    pub trainer: TrainerConfig,
    /// Stages of the run.
    pub phases: PhasesConfig,
    /// What ends the run before its last step.
    pub stop: StopConfig,
    /// What is reported of collapse and shortcuts while it happens, and may end the run.
    pub alarms: AlarmsConfig,
    /// How ranks talk to each other.
    pub comm: CommConfig,
    /// Probes during and after training.
    pub eval: EvalConfig,
    /// When to save and what to keep.
    pub checkpoint: CheckpointConfig,
    /// Logs and metrics.
    pub track: TrackConfig,
}
