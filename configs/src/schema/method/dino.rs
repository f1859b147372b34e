//! DINO (Caron et al. 2021).

use serde::{Deserialize, Serialize};

use super::super::{
    GroupConfig, RunConfig, Scheduled, ScheduledSetting, ScheduledValues, Span, TeacherMomentum, ValueRange,
};
use super::{
    BatchFacts, EntropyFacts, LossMarks, MethodConfig, MethodFacts, MethodSettings, TeacherFacts, ViewFacts,
};
use crate::checks::{Checks, MAX_DIM};

/// Most classes of the head.
const MAX_CLASSES: u64 = 1 << 22;

/// DINO. Centring and sharpening of the teacher's outputs are what keep it from collapsing: without the first one class takes
/// everything, without the second all classes become equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoConfig {
    /// Head between embedding and loss.
    pub head: DinoHeadConfig,
    /// Small views of each sample besides its two large ones (multi-crop), of which `augment.small_views` has the shape;
    /// docs/configuration.md says which pairs count.
    pub small_views: u32,
    /// Softmax temperature of the student.
    pub student_temperature: f64,
    /// Softmax temperature of the teacher, below the student's; a number, or a schedule such as
    /// `{from: 0.04, to: 0.07, kind: linear, over: 30 epochs}`, the paper's for long training.
    pub teacher_temperature: Scheduled,
    /// Share of its own weights that the teacher keeps. A number is that of the first step, from which it rises to 1 over the
    /// run on half a cosine; BYOL's paper has 0.996 for 1000 epochs and 0.99 for 300, DINO's 0.996 for batches of 512 and more.
    /// Another schedule is written in full, such as `{from: 0.99, kind: constant}`.
    pub momentum: TeacherMomentum,
    /// Share of itself that the centre of the teacher's outputs keeps in a step.
    pub center_momentum: f64,
    /// The last layer of the head stays as it is until here; `null` = it is trained from the first step. It is a group
    /// `last_layer` of `optimizer.groups`.
    pub freeze_last_layer: Option<Span>,
}

impl DinoConfig {
    /// Name of the teacher's temperature among the values that are scheduled.
    pub const TEACHER_TEMPERATURE: &'static str = "teacher_temperature";
    /// Name of the mean entropy of the teacher's assignments, in nats: at ln K every class is as likely as the others, at 0 each
    /// view has one class.
    pub const TEACHER_ENTROPY: &'static str = "teacher_entropy";
}

impl Default for DinoConfig {
    fn default() -> Self {
        Self {
            head: DinoHeadConfig::default(),
            small_views: 0,
            student_temperature: 0.1,
            teacher_temperature: 0.04.into(),
            momentum: TeacherMomentum::rising_from(0.996),
            center_momentum: 0.9,
            freeze_last_layer: Some(Span::Epochs(1.0)),
        }
    }
}

/// DINO's head: linear layers with GELU between them, unit length, and a linear layer of unit rows to the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoHeadConfig {
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of what the last layer is given.
    pub bottleneck_dim: usize,
    /// Classes that a view is assigned to.
    pub out_dim: usize,
    /// Linear layers before the last one; 1 has no hidden layer.
    pub num_layers: usize,
    /// Batch norm after each hidden layer; the paper has none with vision transformers.
    pub batch_norm: bool,
    /// The rows of the last layer keep unit length; otherwise their lengths are trained, which the official code has for
    /// vit_small.
    pub norm_last_layer: bool,
}

impl Default for DinoHeadConfig {
    fn default() -> Self {
        Self {
            hidden_dim: 2048,
            bottleneck_dim: 256,
            out_dim: 65_536,
            num_layers: 3,
            batch_norm: false,
            norm_last_layer: true,
        }
    }
}

impl MethodSettings for DinoConfig {
    fn facts(&self) -> MethodFacts {
        let teacher = TeacherFacts { momentum: self.momentum.0, is_evaluated: true };
        MethodFacts {
            views: ViewFacts::crops(self.small_views),
            teacher: Some(teacher),
            ..MethodFacts::default()
        }
    }

    fn scheduled(&self) -> Vec<ScheduledSetting> {
        vec![ScheduledSetting {
            key: "method.teacher_temperature",
            name: Self::TEACHER_TEMPERATURE,
            schedule: self.teacher_temperature,
            range: ValueRange::Positive,
        }]
    }

    /// A student that tells nothing gives all classes the same probability.
    fn loss_marks(&self, _batch: &BatchFacts, _values: &ScheduledValues) -> LossMarks {
        LossMarks { chance: Some((self.head.out_dim as f64).ln()), minimum: None }
    }

    fn output_entropy(&self) -> Option<EntropyFacts> {
        Some(EntropyFacts { metric: Self::TEACHER_ENTROPY, num_classes: self.head.out_dim })
    }

    fn groups(&self) -> Vec<GroupConfig> {
        let frozen = self.freeze_last_layer.map(|until| GroupConfig {
            name: "last_layer".into(),
            parameters: vec!["head.last_layer".into()],
            freeze_until: Some(until),
            ..GroupConfig::default()
        });
        frozen.into_iter().collect()
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        let head = &self.head;
        for (key, width) in
            [("method.head.hidden_dim", head.hidden_dim), ("method.head.bottleneck_dim", head.bottleneck_dim)]
        {
            checks.count(key, width as u64, 1, MAX_DIM);
        }
        checks.count("method.head.out_dim", head.out_dim as u64, 2, MAX_CLASSES);
        checks.count("method.head.num_layers", head.num_layers as u64, 1, 16);
        checks.positive("method.student_temperature", self.student_temperature);
        checks.below_one("method.center_momentum", self.center_momentum);
        ViewFacts::check_small(self.small_views, checks);
        checks.require(
            self.momentum.0.ends()[0] != 1.0,
            ["method.momentum"],
            || "`method.momentum` begins at 1: the teacher would stay as it begins".into(),
            "the paper has 0.996 for batches of 512 and more, 0.9995 for small ones",
        );
        let warmest = self.teacher_temperature.ends().into_iter().fold(0.0, f64::max);
        let student = self.student_temperature;
        checks.require(
            warmest < student,
            ["method.teacher_temperature", "method.student_temperature"],
            || {
                format!(
                    "`method.teacher_temperature` reaches {warmest}, which is not below `method.student_temperature` = \
                     {student}: the teacher's outputs would not be sharper than the student's"
                )
            },
            "the paper has 0.04 to 0.07 for the teacher and 0.1 for the student",
        );
    }

    /// With a teacher that moves within a few steps, a last layer that is free from the first one, and rows of trained length.
    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        let head = DinoHeadConfig {
            hidden_dim: 64,
            bottleneck_dim: 32,
            out_dim: 96,
            batch_norm: true,
            norm_last_layer: false,
            ..self.head.clone()
        };
        let momentum = TeacherMomentum::rising_from(0.8);
        MethodConfig::Dino(Self { head, momentum, freeze_last_layer: None, ..self.clone() })
    }
}
