//! A penalty on the gradient of a loss with respect to the inputs (Ross et al. 2017, "Right for the right reasons"): a gradient
//! of a gradient.

use dtrain_configs::schema::{Encoder, MethodFacts};
use tch::TchError;

use super::*;
use crate::loss::cross_entropy::cross_entropy;
use crate::method::{Objective, StepContext, Term};
use crate::state::Stateful;

struct InputGradient {
    first: Tensor,
    last: Tensor,
}

impl InputGradient {
    fn build(parameters: &mut Parameters) -> Box<dyn Method> {
        let first = weight(parameters, "first", &[SIZE * SIZE, 10]);
        Box::new(Self { first, last: weight(parameters, "last", &[10, CLASSES]) })
    }

    fn losses(&self, inputs: &Tensor, classes: &Tensor) -> Result<[Tensor; 2], TchError> {
        tch::with_grad(|| {
            let inputs = inputs.f_flatten(1, -1)?.f_detach()?.f_set_requires_grad(true)?;
            let scores = inputs.f_mm(&self.first)?.f_tanh()?.f_mm(&self.last)?;
            let loss = cross_entropy(&scores, classes, 1, 0.0);
            let gradients = Tensor::f_run_backward(&[&loss], &[&inputs], true, true)?;
            Ok([loss, gradients[0].f_square()?.f_sum(None::<Kind>)?])
        })
    }
}

impl Method for InputGradient {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        MethodFacts::default()
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["class".into(), "input_gradient".into()]
    }

    fn loss_weights(&self) -> Vec<f64> {
        vec![1.0, 10.0]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, part: &LocalBatch, _: &StepContext<'_>) -> Result<Objective, TchError> {
        let classes = Tensor::from_slice(&part.targets.classes);
        let losses = self.losses(part.inputs(), &classes)?;
        let samples = part.targets.global_samples as f64;
        Ok(Objective::of(losses.map(|loss| Term::direct(loss / samples)).into()))
    }

    fn num_features(&self) -> i64 {
        SIZE * SIZE
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &Pass) -> Result<Tensor, TchError> {
        inputs.f_flatten(1, -1)
    }
}

fn case() -> Case {
    Case { labelled_only: true, ..whole(sgd(), built_by(InputGradient::build)) }
}

#[test]
fn however_the_batch_is_cut_a_gradient_of_a_gradient_is_the_same() {
    assert_cuts_do_not_matter("input gradient", case);
}

/// Against differences of the loss, over three ranks.
#[test]
fn its_gradient_is_the_slope_of_the_loss() {
    let batch = &batches(3)[..1];
    let trained = train(&Case { micro_batch: Some(2), grad_clip: None, ..case() }, batch);
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = InputGradient::build(&mut parameters);
    let flat = Flat::new(&parameters).unwrap();
    let network = InputGradient {
        first: parameters.parameters()[0].tensor.detach(),
        last: parameters.parameters()[1].tensor.detach(),
    };
    let samples = &batch[0].samples;
    let inputs = views(samples, 1, SIZE);
    let classes: Vec<i64> = samples.iter().map(|&sample| class(sample).max(0)).collect();
    let loss = || {
        let [class, penalty] = network.losses(&inputs, &Tensor::from_slice(&classes)).unwrap();
        (class.double_value(&[]) + 10.0 * penalty.double_value(&[])) / samples.len() as f64
    };
    let found = &trained.gradients[0];
    for segment in flat.segments() {
        for index in [0, 7, 23] {
            let place = segment.offset as i64 + index;
            let mut weight = flat.parameters().get(place);
            let step = 1e-5;
            let _ = weight.g_add_scalar_(step);
            let above = loss();
            let _ = weight.g_add_scalar_(-2.0 * step);
            let slope = (above - loss()) / (2.0 * step);
            let _ = weight.g_add_scalar_(step);
            let gradient = found.double_value(&[place]);
            assert!(
                (gradient - slope).abs() < 1e-6 * slope.abs().max(1e-3),
                "{}: {gradient} and {slope}",
                segment.name
            );
        }
    }
}
