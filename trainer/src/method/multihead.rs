//! Several classifiers on one backbone, one for each label of the data (Caruana 1997, "Multitask Learning"): the losses
//! of the heads are weighted and added. What a head is trained by is in [`crate::loss::heads`]. A sample without a label
//! counts in the mean of that head's loss, with 0: how many have one is known to no rank alone.

use dtrain_configs::schema::{Encoder, HeadSettings, HeadsConfig, MethodFacts};
use tch::{Kind, TchError, Tensor};

use super::{
    ACCURACY, HeadReading, HeadTask, LocalBatch, Mean, Method, Objective, Parts, StepContext, Targets, Term,
};
use crate::loss::heads::{head_loss, num_outputs, predicted_classes};
use crate::model::classifier::Classifier;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone and one classifier per label.
pub struct Multihead {
    facts: MethodFacts,
    backbone: Box<dyn Backbone>,
    heads: Vec<Head>,
    tasks: Vec<HeadTask>,
}

struct Head {
    settings: HeadSettings,
    classifier: Classifier,
    /// Value of each class, `[K]`.
    values: Tensor,
}

impl Multihead {
    /// Registers the classifiers under `heads.NAME`.
    pub(super) fn build(config: &HeadsConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, task, parameters, .. } = parts;
        let (device, num_features) = (parameters.device(), backbone.num_features());
        let heads = parameters.scope("heads", |scope| {
            let head = |task: &HeadTask| {
                let settings = config.settings(&task.name, !task.values.is_empty());
                let outputs = num_outputs(settings.loss, task.num_classes);
                let classifier =
                    scope.scope(&task.name, |scope| Classifier::new(num_features, outputs, scope));
                Head { settings, classifier, values: Tensor::from_slice(&task.scale()).to_device(device) }
            };
            task.heads.iter().map(head).collect()
        });
        Self { facts, backbone, heads, tasks: task.heads.clone() }
    }
}

fn classes(targets: &Targets, head: &HeadTask, inputs: &Tensor) -> Tensor {
    Tensor::from_slice(targets.label(head)).to_device(inputs.device())
}

fn accuracy_of(task: &HeadTask) -> String {
    format!("{}_{ACCURACY}", task.name)
}

impl Method for Multihead {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        self.tasks.iter().map(|task| task.name.clone()).collect()
    }

    fn loss_weights(&self) -> Vec<f64> {
        self.heads.iter().map(|head| head.settings.weight).collect()
    }

    fn mean_names(&self) -> Vec<String> {
        let own = self.tasks.iter().filter(|_| self.tasks.len() > 1).map(accuracy_of);
        own.chain(std::iter::once(ACCURACY.to_owned())).collect()
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/acc", "val/loss"]
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (inputs, targets) = (part.inputs(), &part.targets);
        let embeddings = self.backbone.forward(inputs, context.pass())?;
        let total_weight: f64 = self.heads.iter().map(|head| head.settings.weight).sum();
        let (mut terms, mut means) = (Vec::new(), Vec::new());
        let mut mean: Option<Tensor> = None;
        for (head, task) in self.heads.iter().zip(&self.tasks) {
            let scores = head.classifier.forward(&embeddings)?;
            let classes = classes(targets, task, inputs);
            let loss = head_loss(&head.settings, &scores, &classes, &head.values, targets.global_samples);
            terms.push(Term::direct(loss));
            let predicted = predicted_classes(&head.settings, &scores.detach(), &head.values);
            let hits = predicted.f_eq_tensor(&classes)?.f_sum(Kind::Double)?;
            let share = &hits * (head.settings.weight / total_weight.max(f64::MIN_POSITIVE));
            mean = Some(mean.map_or_else(|| share.shallow_clone(), |mean| mean + &share));
            if self.heads.len() > 1 {
                means.push(Mean::new(accuracy_of(task), hits));
            }
        }
        means.extend(mean.map(|mean| Mean::new(ACCURACY, mean)));
        Ok(Objective { means, ..Objective::of(terms) })
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }

    fn heads(&self) -> &[HeadTask] {
        &self.tasks
    }

    fn read_heads(&self, embeddings: &Tensor, targets: &Targets) -> Result<Vec<HeadReading>, TchError> {
        let read = |(head, task): (&Head, &HeadTask)| {
            let scores = head.classifier.forward(embeddings)?;
            let classes = classes(targets, task, embeddings);
            Ok(HeadReading::of(&head.settings, &scores, &classes, &head.values))
        };
        self.heads.iter().zip(&self.tasks).map(read).collect()
    }
}
