//! Several classifiers on one backbone, one for each label of the data (Caruana 1997, "Multitask Learning"): the losses
//! of the heads are weighed and added. What a head is trained by is in [`crate::loss::heads`]. A sample without a label
//! counts in the mean of that head's loss, with 0: how many have one is known to no rank alone.

use dtrain_configs::schema::{HeadSettings, MultiheadConfig};
use tch::{Kind, TchError, Tensor};

use super::{DirectLoss, HeadReading, HeadTask, Method, Objective, Sampling, Targets, Task};
use crate::loss::heads::{head_loss, num_outputs, predicted_classes, predicted_values};
use crate::model::classifier::Classifier;
use crate::model::parameters::Parameters;
use crate::model::{Backbone, Pass};
use crate::state::Stateful;

/// Backbone and one classifier per label.
pub struct Multihead {
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
    pub fn build(
        config: &MultiheadConfig,
        backbone: Box<dyn Backbone>,
        task: &Task,
        parameters: &mut Parameters,
    ) -> Self {
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
        Self { backbone, heads, tasks: task.heads.clone() }
    }

    fn classes(&self, targets: &Targets, head: usize, inputs: &Tensor) -> Tensor {
        let classes = targets.labels.get(head).map_or(&[] as &[i64], Vec::as_slice);
        Tensor::from_slice(classes).to_device(inputs.device())
    }
}

impl Method for Multihead {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn num_views(&self) -> u32 {
        1
    }

    fn loss_names(&self) -> Vec<String> {
        self.tasks.iter().map(|task| task.name.clone()).collect()
    }

    fn loss_weights(&self) -> Vec<f64> {
        self.heads.iter().map(|head| head.settings.weight).collect()
    }

    fn sampling(&self) -> Sampling {
        Sampling::Shuffled
    }

    fn objective(&self, inputs: &Tensor, targets: &Targets, pass: &Pass) -> Result<Objective, TchError> {
        let embeddings = self.backbone.forward(inputs, pass)?;
        let total_weight: f64 = self.heads.iter().map(|head| head.settings.weight).sum();
        let (mut terms, mut sums) = (Vec::new(), Vec::new());
        let mut mean: Option<Tensor> = None;
        for (index, (head, task)) in self.heads.iter().zip(&self.tasks).enumerate() {
            let scores = head.classifier.forward(&embeddings)?;
            let classes = self.classes(targets, index, inputs);
            terms.push(head_loss(&head.settings, &scores, &classes, &head.values, targets.global_samples));
            let predicted = predicted_classes(&head.settings, &scores.detach(), &head.values);
            let hits = predicted.f_eq_tensor(&classes)?.f_sum(Kind::Double)?;
            let share = &hits * (head.settings.weight / total_weight.max(f64::MIN_POSITIVE));
            mean = Some(mean.map_or_else(|| share.shallow_clone(), |mean| mean + &share));
            if self.heads.len() > 1 {
                sums.push((format!("{}_acc", task.name), hits));
            }
        }
        sums.extend(mean.map(|mean| ("acc".to_owned(), mean)));
        Ok(Objective::Direct(DirectLoss { terms, sums }))
    }

    fn embed(&self, inputs: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }

    fn heads(&self) -> &[HeadTask] {
        &self.tasks
    }

    fn read_heads(
        &self,
        inputs: &Tensor,
        targets: &Targets,
        pass: &Pass,
    ) -> Result<Vec<HeadReading>, TchError> {
        let embeddings = self.backbone.forward(inputs, pass)?;
        let read = |(index, head): (usize, &Head)| {
            let scores = head.classifier.forward(&embeddings)?;
            let classes = self.classes(targets, index, inputs);
            Ok(HeadReading {
                loss: head_loss(&head.settings, &scores, &classes, &head.values, 1),
                classes: predicted_classes(&head.settings, &scores, &head.values),
                values: predicted_values(&head.settings, &scores, &head.values),
            })
        };
        self.heads.iter().enumerate().map(read).collect()
    }
}
