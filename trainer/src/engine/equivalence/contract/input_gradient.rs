//! A penalty on the gradient of a loss with respect to the inputs (Ross et al. 2017, "Right for the right reasons"): a gradient
//! of a gradient.

use dtrain_configs::schema::{Encoder, MethodFacts};
use tch::TchError;

use super::*;
use crate::loss::cross_entropy::cross_entropy;
use crate::method::{BACKBONE, Objective, StepContext, Term};
use crate::model::{Backbone, build_backbone};
use crate::state::Stateful;

struct InputGradient {
    backbone: Box<dyn Backbone>,
    classifier: Tensor,
}

impl InputGradient {
    fn new(norm: Norm, parameters: &mut Parameters) -> Self {
        let model = ModelConfig { norm, norm_groups: 4, ..backbone("cnn_small") };
        let backbone =
            parameters.scope(BACKBONE, |scope| build_backbone(&model, [1, SIZE, SIZE].into(), scope));
        let classifier = weight(parameters, "classifier", &[backbone.num_features(), CLASSES]);
        Self { backbone, classifier }
    }

    /// Sums over the samples of a part: the cross-entropy, and the squared gradient with respect to their inputs of the
    /// cross-entropy of all ranks.
    fn losses(
        &self,
        inputs: &Tensor,
        classes: &Tensor,
        pass: &ForwardContext,
    ) -> Result<[Tensor; 2], TchError> {
        let inputs = inputs.f_detach()?.f_set_requires_grad(true)?;
        let scores = self.backbone.forward(&inputs, pass)?.f_mm(&self.classifier)?;
        let loss = cross_entropy(&scores, classes, 1, 0.0);
        let gradients = Tensor::f_run_backward(&[&loss], &[&inputs], true, true)?;
        Ok([loss, gradients[0].f_square()?.f_sum(None::<Kind>)?])
    }
}

impl Method for InputGradient {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        MethodFacts { second_order: true, ..MethodFacts::default() }
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["class".into(), "input_gradient".into()]
    }

    fn loss_weights(&self) -> Vec<f64> {
        vec![1.0, PENALTY]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let classes = Tensor::from_slice(part.targets.classes());
        let losses = self.losses(part.inputs(), &classes, context.pass())?;
        let samples = part.targets.global_samples as f64;
        Ok(Objective::of(losses.map(|loss| Term::direct(loss / samples)).into()))
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }
}

/// Weight of the penalty, so that both losses matter.
const PENALTY: f64 = 0.5;

fn case(norm: Norm) -> Case {
    let build = built_by(move |p| Box::new(InputGradient::new(norm, p)));
    Case { labelled_only: true, ..whole(adamw(), build) }
}

#[test]
fn however_the_batch_is_cut_a_gradient_of_a_gradient_is_the_same() {
    assert_cuts_do_not_matter("input gradient", || case(Norm::Group));
}

/// Batch norm over all ranks: the inner gradient crosses ranks, and so does its own.
#[test]
fn with_synchronized_batch_norm_ranks_do_not_matter_either() {
    let alone = train(&case(Norm::Batch), &batches(1));
    for (world_size, overlap) in [(2, true), (3, false)] {
        let way = Way { overlap, bucket_bytes: 1 << 12, ..PLAIN_WAY };
        let found = train(&Case { way, ..case(Norm::Batch) }, &batches(world_size));
        assert_same_training(&format!("input gradient over {world_size} ranks"), &found, &alone);
    }
}

/// Against differences of the loss on one rank; the step has three.
#[test]
fn its_gradient_is_the_slope_of_the_loss() {
    let batch = &batches(3)[..1];
    let trained = train(&Case { grad_clip: None, ..case(Norm::Batch) }, batch);
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let network = InputGradient::new(Norm::Batch, &mut parameters);
    let flat = Flat::new(&parameters).unwrap();
    let samples = &batch[0].samples;
    let inputs = views(samples, 1, SIZE);
    let classes: Vec<i64> = samples.iter().map(|&sample| class(sample).max(0)).collect();
    let classes = Tensor::from_slice(&classes);
    let pass = ForwardContext::train(None).without_update().twice(true);
    let loss = || {
        let [class, penalty] = network.losses(&inputs, &classes, &pass).unwrap();
        (class.double_value(&[]) + PENALTY * penalty.double_value(&[])) / samples.len() as f64
    };
    let found = &trained.gradients[0];
    let last = flat.segments().len() - 1;
    for segment in [0, last / 2, last].map(|index| &flat.segments()[index]) {
        for index in [0, 3, 5] {
            let place = segment.offset as i64 + index;
            let mut weight = flat.parameters().get(place);
            // Small, so that no activation crosses the kink of a ReLU.
            let step = 1e-7;
            let mut at = |by: f64| {
                let _ = tch::no_grad(|| weight.g_add_scalar_(by));
                loss()
            };
            let slope = (at(step) - at(-2.0 * step)) / (2.0 * step);
            at(step);
            let gradient = found.double_value(&[place]);
            let allowed = 1e-4 * slope.abs().max(1e-2);
            assert!((gradient - slope).abs() < allowed, "{}: {gradient} and {slope}", segment.name);
        }
    }
}
