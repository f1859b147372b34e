//! BYOL: the online network predicts, from one view of a sample, what a slowly moving copy of it makes of the other view.
//! Grill et al., "Bootstrap Your Own Latent" (2020), arXiv 2006.07733; google-deepmind/deepmind-research, byol.
//!
//! With predictions q and the teacher's projections z, both of unit length, the loss of a sample is
//! `2 - 2 q1 . z2 + 2 - 2 q2 . z1`: the sum of both directions, not their mean (equation 2 and the line below it). With small
//! views besides it is twice the mean of `2 - 2 q . z` over all pairs of a view and another, large one, which is the same for
//! two views; the teacher sees the large ones only. The teacher is backbone and projector; gradients reach neither it nor its input. As in the official code its batch norms work
//! by the batch in training and have running statistics of their own.

use dtrain_configs::schema::{ByolConfig, Encoder, MethodFacts};
use tch::{TchError, Tensor};

use super::{LocalBatch, Method, Objective, Parts, StepContext, views};
use crate::model::projector::{Predictor, Projector};
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone, projector and predictor, and a teacher of the first two.
pub struct Byol {
    facts: MethodFacts,
    backbone: Box<dyn Backbone>,
    projector: Projector,
    predictor: Predictor,
    teacher: (Box<dyn Backbone>, Projector),
}

impl Byol {
    /// Registers `projector` and `predictor`, and the teacher.
    pub(super) fn build(config: &ByolConfig, mut parts: Parts<'_>) -> Self {
        let (num_features, norm) = (parts.backbone.num_features(), parts.backbone.norm());
        let projector = |scope: &mut _| Projector::new(&config.projector, num_features, norm, scope);
        let student = parts.parameters.scope("projector", projector);
        let predictor = parts.parameters.scope("predictor", |scope| {
            Predictor::new(&config.predictor, config.projector.out_dim, norm, scope)
        });
        let teacher = parts.teacher(|parameters| parameters.scope("projector", projector));
        let Parts { facts, backbone, .. } = parts;
        Self { facts, backbone, projector: student, predictor, teacher }
    }
}

impl Method for Byol {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["byol".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/knn_top1", "val/loss"]
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (inputs, pass) = (part.inputs(), context.pass());
        // First, since nothing of it is kept: the trained network's activations stay until backward.
        let (backbone, projector) = &self.teacher;
        let taught = tch::no_grad(|| projector.forward(&backbone.forward(inputs, pass)?, pass))?;
        let taught = views::by_view(&taught, part.groups()[0].num_views)?;
        let projections =
            self.projector.forward(&views::embeddings(&*self.backbone, part, context)?, pass)?;
        let predicted = self.predictor.forward(&projections, pass)?;
        let predicted = views::by_view(&predicted, views::num_views(part))?;
        let (agreement, num_pairs) = views::agreement(&predicted, &taught)?;
        let losses = agreement.f_mul_scalar(-4.0 / num_pairs as f64)?.f_add_scalar(4.0)?;
        Objective::mean_of(&losses, &part.targets)
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, encoder: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        views::encoder(&*self.backbone, &*self.teacher.0, encoder).forward(inputs, pass)
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{MethodConfig, ModelConfig};
    use tch::{Device, Kind};

    use super::*;
    use crate::method::siamese::{self, case, case_of_two_shapes, cosine, direct_loss, squared_distances};
    use crate::method::{BACKBONE, Task};
    use crate::model::build_backbone;
    use crate::model::parameters::Parameters;

    /// The loss is the squared distance of unit vectors, of each view to the other one's target, summed over both
    /// directions; and neither the teacher nor what it is given has a gradient.
    #[test]
    fn both_directions_are_summed() {
        let MethodConfig::Byol(config) = MethodConfig::named("byol").unwrap().for_proofs(&[]) else {
            panic!()
        };
        let model = ModelConfig::named("cnn_small").unwrap();
        let task = Task::of_classes([1, 20, 20], 3);
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let backbone = parameters.scope(BACKBONE, |scope| build_backbone(&model, task.input, scope));
        let facts = MethodConfig::Byol(config.clone()).facts();
        let parts = Parts { facts, model: &model, backbone, task: &task, parameters: &mut parameters };
        let byol = Byol::build(&config, parts);
        tch::no_grad(|| {
            for shadow in parameters.shadows() {
                let _ = shadow.tensor.shallow_clone().g_mul_scalar_(1.25);
            }
        });
        let part = case();
        let (inputs, targets) = (part.inputs(), &part.targets);
        let pass = ForwardContext::train(None).without_update();
        let context = StepContext::alone(pass.clone());
        let loss = direct_loss(&byol.objective(&part, &context).unwrap());

        let online = byol.projector.forward(&byol.backbone.forward(inputs, &pass).unwrap(), &pass).unwrap();
        let predicted = byol.predictor.forward(&online, &pass).unwrap().detach();
        let (backbone, projector) = &byol.teacher;
        let target = projector.forward(&backbone.forward(inputs, &pass).unwrap(), &pass).unwrap();
        assert!(!target.requires_grad());
        let expected = squared_distances(&predicted, &target) / targets.global_samples as f64;
        let found = loss.double_value(&[]);
        assert!((found - expected).abs() < 1e-12 * expected, "{found} and {expected}");

        // With small views, in evaluation, where no row meets another.
        let part = case_of_two_shapes();
        let pass = ForwardContext::eval();
        let context = StepContext::new(Default::default(), &part, &pass, None);
        let found = direct_loss(&byol.objective(&part, &context).unwrap()).double_value(&[]);
        let given = siamese::by_view(&part, |rows| {
            projector.forward(&backbone.forward(rows, &pass).unwrap(), &pass).unwrap()
        });
        let predicted = siamese::by_view(&part, |rows| {
            let online = byol.projector.forward(&byol.backbone.forward(rows, &pass).unwrap(), &pass).unwrap();
            byol.predictor.forward(&online, &pass).unwrap().detach()
        });
        let mean = siamese::mean_over_pairs(5, |view, large| {
            let of_sample =
                |sample: usize| 2.0 - 2.0 * cosine(&predicted[view][sample], &given[large][sample]);
            (0..5).map(of_sample).sum::<f64>() / 5.0
        });
        assert!((found - 2.0 * mean).abs() < 1e-12 * mean, "{found} and {}", 2.0 * mean);

        loss.backward();
        let reached = |name: &str| {
            let mut named = parameters.parameters().iter().filter(|p| p.name.starts_with(name));
            named.any(|p| p.tensor.grad().defined() && p.tensor.grad().norm().double_value(&[]) > 0.0)
        };
        assert!(reached("backbone.") && reached("projector.") && reached("predictor."));
    }
}
