//! SimSiam: from one view of a sample the network predicts its own projection of the other view, which is taken as given.
//! Chen & He, "Exploring Simple Siamese Representation Learning" (2021), arXiv 2011.10566; facebookresearch/simsiam.
//!
//! With predictions p and projections z, both of unit length, the loss of a sample is `-(p1 . z2 + p2 . z1) / 2`
//! (equation 2), and no gradient goes through z. With small views besides it is the mean of `-p . z` over all pairs of a view and
//! another, large one. By choice (`method.stop_gradient=false`, section 4.1) gradients do go through z, and the network collapses.

use dtrain_configs::schema::{Encoder, MethodFacts, SimsiamConfig};
use tch::{TchError, Tensor};

use super::{LocalBatch, Method, Objective, Parts, StepContext, views};
use crate::model::projector::{Predictor, Projector};
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone, projector and predictor.
pub struct Simsiam {
    facts: MethodFacts,
    backbone: Box<dyn Backbone>,
    projector: Projector,
    predictor: Predictor,
    /// Whether projections are given.
    stop_gradient: bool,
}

impl Simsiam {
    /// Registers `projector` and `predictor`.
    pub(super) fn build(config: &SimsiamConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, parameters, .. } = parts;
        let (num_features, norm) = (backbone.num_features(), backbone.norm());
        let projector = parameters
            .scope("projector", |scope| Projector::new(&config.projector, num_features, norm, scope));
        let predictor = parameters.scope("predictor", |scope| {
            Predictor::new(&config.predictor, config.projector.out_dim, norm, scope)
        });
        Self { facts, backbone, projector, predictor, stop_gradient: config.stop_gradient }
    }
}

impl Method for Simsiam {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["simsiam".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/knn_top1", "val/loss"]
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let pass = context.pass();
        let projections =
            self.projector.forward(&views::embeddings(&*self.backbone, part, context)?, pass)?;
        let given = if self.stop_gradient { projections.detach() } else { projections.shallow_clone() };
        let num_views = views::num_views(part);
        let predicted = views::by_view(&self.predictor.forward(&projections, pass)?, num_views)?;
        let mut given = views::by_view(&given, num_views)?;
        given.truncate(part.groups()[0].num_views as usize);
        let (agreement, num_pairs) = views::agreement(&predicted, &given)?;
        Objective::mean_of(&agreement.f_mul_scalar(-1.0 / num_pairs as f64)?, &part.targets)
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
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

    fn built() -> (Simsiam, Parameters) {
        let MethodConfig::Simsiam(config) = MethodConfig::named("simsiam").unwrap().for_proofs(&[]) else {
            panic!()
        };
        let model = ModelConfig::named("cnn_small").unwrap();
        let task = Task::of_classes([1, 20, 20], 3);
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let backbone = parameters.scope(BACKBONE, |scope| build_backbone(&model, task.input, scope));
        let facts = MethodConfig::Simsiam(config.clone()).facts();
        let parts = Parts { facts, model: &model, backbone, task: &task, parameters: &mut parameters };
        (Simsiam::build(&config, parts), parameters)
    }

    /// `-(p1 . z2 + p2 . z1) / 2` is a quarter of the squared distances of both directions, less 1; its gradient is that with
    /// the projections as constants.
    #[test]
    fn the_loss_is_the_mean_of_both_directions_and_projections_are_given() {
        let (simsiam, parameters) = built();
        let part = case();
        let (inputs, targets) = (part.inputs(), &part.targets);
        let pass = ForwardContext::train(None).without_update();
        let context = StepContext::alone(pass.clone());
        let loss = direct_loss(&simsiam.objective(&part, &context).unwrap());
        let projected =
            || simsiam.projector.forward(&simsiam.backbone.forward(inputs, &pass).unwrap(), &pass).unwrap();
        let given = projected().detach();
        let predicted = simsiam.predictor.forward(&projected(), &pass).unwrap();
        let n = targets.global_samples as f64;
        let expected = squared_distances(&predicted.detach(), &given) / (4.0 * n) - 1.0;
        let found = loss.double_value(&[]);
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");

        let gradient = |loss: &Tensor| -> Vec<Tensor> {
            let leaves: Vec<&Tensor> = parameters.parameters().iter().map(|p| &p.tensor).collect();
            Tensor::run_backward(&[loss], &leaves, false, false)
        };
        let [p1, p2] = [0, 5].map(|first| super::super::normalize(&predicted.narrow(0, first, 5)));
        let [z1, z2] = [0, 5].map(|first| super::super::normalize(&given.narrow(0, first, 5)));
        let by_hand = (p1 * z2 + p2 * z1).sum(Kind::Double) * (-0.5 / n);
        for ((a, b), parameter) in gradient(&loss).iter().zip(gradient(&by_hand)).zip(parameters.parameters())
        {
            let error = (a - b).norm().double_value(&[]);
            assert!(error < 1e-12, "{}: {error:e}", parameter.name);
        }
    }

    /// With small views, in evaluation, where no row meets another: the mean over all pairs of a view and another, large one.
    #[test]
    fn small_views_predict_the_large_ones() {
        let (simsiam, _parameters) = built();
        let part = case_of_two_shapes();
        let pass = ForwardContext::eval();
        let context = StepContext::new(Default::default(), &part, &pass, None);
        let found = direct_loss(&simsiam.objective(&part, &context).unwrap()).double_value(&[]);
        let project = |rows: &Tensor| {
            simsiam.projector.forward(&simsiam.backbone.forward(rows, &pass).unwrap(), &pass).unwrap()
        };
        let given = siamese::by_view(&part, |rows| project(rows).detach());
        let predicted = siamese::by_view(&part, |rows| {
            simsiam.predictor.forward(&project(rows), &pass).unwrap().detach()
        });
        let expected = siamese::mean_over_pairs(5, |view, large| {
            (0..5).map(|i| -cosine(&predicted[view][i], &given[large][i])).sum::<f64>() / 5.0
        });
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }

    /// The last batch norm of the projector has no scale and shift of its own, and no bias before it.
    #[test]
    fn the_projector_ends_with_a_plain_batch_norm() {
        let (simsiam, parameters) = built();
        let names: Vec<&str> = parameters.named().map(|(name, _)| name).collect();
        assert!(names.contains(&"projector.6.weight") && names.contains(&"projector.7.running_mean"));
        for name in ["projector.6.bias", "projector.7.weight", "projector.7.bias"] {
            assert!(!names.contains(&name), "{name} is there");
        }
        let part = case();
        let inputs = part.inputs();
        let pass = ForwardContext::train(None).without_update();
        let projected =
            simsiam.projector.forward(&simsiam.backbone.forward(inputs, &pass).unwrap(), &pass).unwrap();
        let mean = projected.mean_dim(0, false, Kind::Double).abs().max().double_value(&[]);
        let deviation = projected.var_dim([0_i64].as_slice(), false, false).sqrt();
        assert!(mean < 1e-12, "{mean:e}");
        assert!((deviation - 1.0).abs().max().double_value(&[]) < 0.02);
    }
}
