//! DINO: the student learns, from every view of a sample, the class that a slowly moving teacher assigns to another one.
//! Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (2021), arXiv 2104.14294; facebookresearch/dino.
//!
//! With scores s of the student and t of the teacher, c the centre of the teacher's scores, the loss of a sample is the mean over
//! all pairs of a view and another, large one of the cross-entropy between `softmax((t - c) / teacher_temperature)` and
//! `softmax(s / student_temperature)`. After each step the centre moves to the mean of the teacher's scores over the global batch
//! (equation 4). No gradient reaches the teacher, whose layers work by the batch in training, without dropped paths.

use dtrain_configs::schema::{DinoConfig, Encoder, MethodFacts, Scheduled};
use tch::{Kind, TchError, Tensor};

use super::{AfterStep, LocalBatch, Mean, Method, Objective, Parts, Statistics, StepContext, views};
use crate::loss::widened;
use crate::model::dino_head::DinoHead;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Sum of the teacher's scores over rows, and the number of rows.
const SCORES: &str = "scores";
const ROWS: &str = "rows";

/// Backbone and head, a teacher of both, and the centre of the teacher's scores.
pub struct Dino {
    facts: MethodFacts,
    backbone: Box<dyn Backbone>,
    head: DinoHead,
    teacher: (Box<dyn Backbone>, DinoHead),
    /// `[1, K]`.
    center: Tensor,
    center_momentum: f64,
    student_temperature: f64,
    teacher_temperature: Scheduled,
}

impl Dino {
    /// Registers `head`, `center`, and the teacher.
    pub(super) fn build(config: &DinoConfig, mut parts: Parts<'_>) -> Self {
        let (num_features, norm) = (parts.backbone.num_features(), parts.backbone.norm());
        let build = |scope: &mut _| DinoHead::new(&config.head, num_features, norm, scope);
        let head = parts.parameters.scope("head", build);
        let center = parts
            .parameters
            .after_step(|parameters| parameters.buffer("center", &[1, config.head.out_dim as i64], 0.0));
        let teacher = parts.teacher(|parameters| parameters.scope("head", build));
        let Parts { facts, backbone, .. } = parts;
        Self {
            facts,
            backbone,
            head,
            teacher,
            center,
            center_momentum: config.center_momentum,
            student_temperature: config.student_temperature,
            teacher_temperature: config.teacher_temperature,
        }
    }

    /// The teacher's scores of the large views, `[num_large * n, K]`, and its assignments of them, which are [`Assignments`].
    fn taught(
        &self,
        part: &LocalBatch,
        context: &StepContext<'_>,
    ) -> Result<(Tensor, Assignments), TchError> {
        let pass = &ForwardContext { noise: None, ..context.pass().clone() };
        let (backbone, head) = &self.teacher;
        let scores = widened(&head.forward(&backbone.forward(part.inputs(), pass)?, pass)?);
        let of_step = context.values.get(DinoConfig::TEACHER_TEMPERATURE);
        let temperature = of_step.unwrap_or_else(|| self.teacher_temperature.ends()[0]);
        let sharpened = scores.f_sub(&self.center)?.f_div_scalar(temperature)?;
        let probabilities = sharpened.f_softmax(1, None::<Kind>)?;
        let expected = (&probabilities * &sharpened).f_sum_dim_intlist(1, false, None::<Kind>)?;
        let entropy = sharpened.f_logsumexp(1, false)?.f_sub(&expected)?.f_sum(None::<Kind>)?;
        let of_views = views::by_view(&probabilities, part.groups()[0].num_views)?;
        Ok((scores, Assignments { of_views, entropy }))
    }
}

/// The classes that the teacher assigns to large views.
struct Assignments {
    /// Probabilities `[n, K]` of each large view.
    of_views: Vec<Tensor>,
    /// Sum of their entropies over all rows.
    entropy: Tensor,
}

impl Method for Dino {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["dino".into()]
    }

    fn mean_names(&self) -> Vec<String> {
        vec![DinoConfig::TEACHER_ENTROPY.into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/knn_top1", "val/loss"]
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        // First, since nothing of it is kept: the student's activations stay until backward.
        let (scores, assignments) = tch::no_grad(|| self.taught(part, context))?;
        let embeddings = views::embeddings(&*self.backbone, part, context)?;
        let student = widened(&self.head.forward(&embeddings, context.pass())?);
        let student = student.f_div_scalar(self.student_temperature)?;
        let student = views::by_view(&student, views::num_views(part))?;
        let num_large = assignments.of_views.len();
        // - sum_k q_k log p_k = log sum_k exp s_k - sum_k q_k s_k, as the q_k add up to 1.
        let normalizers =
            student.iter().map(|scores| scores.f_logsumexp(1, false)).collect::<Result<Vec<_>, _>>()?;
        let (mut losses, mut num_pairs) = (None::<Tensor>, 0);
        for (view, large) in views::pairs(student.len(), num_large) {
            let expected =
                (&student[view] * &assignments.of_views[large]).f_sum_dim_intlist(1, false, None::<Kind>)?;
            let loss = normalizers[view].f_sub(&expected)?;
            losses = Some(match losses {
                None => loss,
                Some(losses) => losses.f_add(&loss)?,
            });
            num_pairs += 1;
        }
        let losses = losses.ok_or_else(|| TchError::Shape("a sample has a single view".into()))?;
        let losses = losses.f_div_scalar(f64::from(num_pairs))?;

        let mut statistics = Statistics::default();
        statistics.put(SCORES, &scores.f_sum_dim_intlist(0, true, Kind::Double)?)?;
        statistics.put(ROWS, &Tensor::from(scores.size()[0]).f_to_device(scores.device())?)?;
        let entropy =
            Mean::new(DinoConfig::TEACHER_ENTROPY, assignments.entropy.f_div_scalar(num_large as f64)?);
        let objective = Objective::mean_of(&losses, &part.targets)?;
        Ok(Objective { means: vec![entropy], statistics, ..objective })
    }

    fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        let mean = after.statistics.get(SCORES)?.f_div(after.statistics.get(ROWS)?)?;
        let own = self.center.f_to_kind(Kind::Double)?.f_mul_scalar(self.center_momentum)?;
        after.set(&self.center, &own.f_add(&mean.f_mul_scalar(1.0 - self.center_momentum)?)?)
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
    use tch::Device;

    use super::*;
    use crate::method::siamese::{self, case_of_two_shapes, direct_loss};
    use crate::method::{BACKBONE, StepFacts, Task};
    use crate::model::build_backbone;
    use crate::model::parameters::Parameters;

    fn built() -> (Dino, Parameters) {
        let MethodConfig::Dino(config) = MethodConfig::named("dino").unwrap().for_proofs(&[]) else {
            panic!()
        };
        let model = ModelConfig::named("cnn_small").unwrap();
        let task = Task::of_classes([1, 20, 20], 3);
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let backbone = parameters.scope(BACKBONE, |scope| build_backbone(&model, task.input, scope));
        let facts = MethodConfig::Dino(config.clone()).facts();
        let parts = Parts { facts, model: &model, backbone, task: &task, parameters: &mut parameters };
        let dino = Dino::build(&config, parts);
        tch::no_grad(|| {
            for shadow in parameters.shadows() {
                let _ = shadow.tensor.shallow_clone().g_mul_scalar_(1.25);
            }
            let center = (Tensor::arange(96, (Kind::Double, Device::Cpu)) * 0.7).sin() * 0.02;
            dino.center.shallow_clone().copy_(&center.view([1, 96]));
        });
        (dino, parameters)
    }

    fn softmax(scores: impl Iterator<Item = f64>) -> Vec<f64> {
        let exponentials: Vec<f64> = scores.map(f64::exp).collect();
        let total: f64 = exponentials.iter().sum();
        exponentials.into_iter().map(|x| x / total).collect()
    }

    /// The loss of the paper over views of two shapes by plain arithmetic, in evaluation, where no row meets another; the entropy
    /// beside it; and no gradient for the teacher.
    #[test]
    fn the_loss_is_the_mean_cross_entropy_over_pairs_of_views() {
        let (dino, parameters) = built();
        let part = case_of_two_shapes();
        let pass = ForwardContext::eval();
        let context = StepContext::new(Default::default(), &part, &pass, None);
        let objective = dino.objective(&part, &context).unwrap();
        let loss = direct_loss(&objective);
        let scores = |backbone: &dyn Backbone, head: &DinoHead| {
            siamese::by_view(&part, |rows| {
                head.forward(&backbone.forward(rows, &pass).unwrap(), &pass).unwrap().detach()
            })
        };
        let student = scores(&*dino.backbone, &dino.head);
        let teacher = scores(&*dino.teacher.0, &dino.teacher.1);
        let center = Vec::<f64>::try_from(dino.center.flatten(0, -1)).unwrap();
        let assigned = |view: usize, sample: usize| {
            softmax(teacher[view][sample].iter().zip(&center).map(|(t, c)| (t - c) / 0.04))
        };
        let expected = siamese::mean_over_pairs(5, |view, large| {
            let of_sample = |sample: usize| {
                let learned = softmax(student[view][sample].iter().map(|s| s / 0.1));
                assigned(large, sample).iter().zip(&learned).map(|(q, p)| -q * p.ln()).sum::<f64>()
            };
            (0..5).map(of_sample).sum::<f64>() / 5.0
        });
        let found = loss.double_value(&[]);
        assert!((found / expected - 1.0).abs() < 1e-11, "{found} and {expected}");
        let entropy: f64 =
            (0..10).map(|row| assigned(row / 5, row % 5).iter().map(|q| -q * q.ln()).sum::<f64>()).sum();
        let found = objective.means[0].sum.double_value(&[]);
        assert!((found / (entropy / 2.0) - 1.0).abs() < 1e-11, "{found} and {}", entropy / 2.0);
        assert!(entropy / 10.0 > 0.05 && entropy / 10.0 < 96f64.ln() - 0.05, "{}", entropy / 10.0);

        loss.backward();
        assert!(parameters.parameters().iter().all(|p| p.tensor.grad().defined()), "what is not trained?");
    }

    /// `c = m c + (1 - m) mean`, over the rows of large views; nothing where a step does not count.
    #[test]
    fn the_centre_follows_the_mean_of_the_teachers_scores() {
        let (mut dino, _parameters) = built();
        let part = case_of_two_shapes();
        let pass = ForwardContext::eval();
        let context = StepContext::new(Default::default(), &part, &pass, None);
        let statistics = dino.objective(&part, &context).unwrap().statistics;
        let (backbone, head) = &dino.teacher;
        let scores = head.forward(&backbone.forward(part.inputs(), &pass).unwrap(), &pass).unwrap();
        let before = dino.center.copy();
        let expected = &before * 0.9 + scores.mean_dim([0_i64].as_slice(), true, Kind::Double) * 0.1;
        let (step, values) = (StepFacts::default(), &Default::default());
        let skipped = Tensor::from(1.0_f32);
        for (skip, expected) in [(Some(&skipped), &before), (None, &expected)] {
            let after = AfterStep { step, values, statistics: &statistics, pairs: &[], skip };
            dino.after_step(&after).unwrap();
            assert!(dino.center.allclose(expected, 1e-13, 1e-13, false));
        }
    }
}
