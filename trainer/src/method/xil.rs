//! Explanatory interactive learning: a classifier that has learned a confounder is trained on with samples that a user has
//! corrected, which stand in pools of their own (Teso and Kersting 2019), or with masks of what must not matter (Ross et al. 2017,
//! "Right for the right reasons", arXiv 1703.03717).
//!
//! With CE(c) the mean cross-entropy of corrected samples, those of a pool, and CE(o) that of the others:
//!
//! | `method.loss` | objective |
//! |---|---|
//! | `balanced` | CE(o) + lambda CE(c) |
//! | `imbalanced` | the mean over all samples alike |
//! | `lagrangian` | CE(o) + m (CE(c) - epsilon); m rises by `dual_step` times CE(c) - epsilon a step, within 0 and `max_multiplier` |
//! | `rrr` | the mean over all samples alike + `gradient_penalty` times the mean over the batch of the sum over masked positions of (d/dx sum_k log p_k)^2 |
//!
//! Each mean is over the samples of the global batch. A step whose batch has no corrected sample leaves m as it is.
//! Departures from Ross et al., whose sums over a batch of N are N times these means: the weight of decay beside them is N times
//! as large.

use dtrain_configs::schema::{Encoder, MethodFacts, XilConfig, XilLoss};
use dtrain_data::columns::NONE;
use tch::{Kind, TchError, Tensor};

use super::target_head::TargetHead;
use super::{
    ACCURACY, AfterStep, DirectTerm, Explained, HeadReading, HeadTask, LocalBatch, Mean, Method, Objective,
    Over, Parts, StepContext, Targets, Task, Term,
};
use crate::loss::cross_entropy::{NO_LABEL, cross_entropy, num_labelled};
use crate::loss::input_gradient::input_gradient;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Statistics of a step: the mean loss of corrected samples, and how many there were.
const CORRECTED_LOSS: &str = "corrected.loss";
const NUM_CORRECTED: &str = "corrected.samples";
/// Name of the multiplier among the means.
const MULTIPLIER: &str = "multiplier";

/// Groups that it counts.
const OTHERS: usize = 0;
const CORRECTED: usize = 1;

/// Backbone and linear classifier.
pub struct Xil {
    facts: MethodFacts,
    config: XilConfig,
    backbone: Box<dyn Backbone>,
    head: TargetHead,
    /// Of the constraint, `[]`.
    multiplier: Option<Tensor>,
}

impl Xil {
    /// Registers the classifier under `classifier`, and `multiplier` where there is a constraint.
    pub(super) fn build(config: &XilConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, task: Task { target, .. }, parameters, .. } = parts;
        let head = TargetHead::build(target, backbone.num_features(), config.label_smoothing, parameters);
        let multiplier = (config.loss == XilLoss::Lagrangian)
            .then(|| parameters.after_step(|scope| scope.buffer(MULTIPLIER, &[], 0.0)));
        Self { facts, config: config.clone(), backbone, head, multiplier }
    }

    /// What the losses of other and of corrected samples are multiplied by besides their weights.
    fn factors(&self, context: &StepContext<'_>, like: &Tensor) -> Result<[Option<Tensor>; 2], TchError> {
        match self.config.loss {
            XilLoss::Balanced => Ok([None, None]),
            XilLoss::Lagrangian => Ok([None, self.multiplier.as_ref().map(Tensor::shallow_clone)]),
            XilLoss::Imbalanced | XilLoss::Rrr => {
                let count = |group: usize| context.counts.get(group).copied().unwrap_or(0) as f64;
                let all = (count(OTHERS) + count(CORRECTED)).max(1.0);
                let share = |group: usize| {
                    Tensor::f_full([0i64; 0], count(group) / all, (like.kind(), like.device()))
                };
                Ok([Some(share(OTHERS)?), Some(share(CORRECTED)?)])
            }
        }
    }

    /// The penalty on the gradient of the log-probabilities with respect to `inputs`, whose graph leads to `scores`.
    fn penalty(&self, part: &LocalBatch, inputs: &Tensor, scores: &Tensor) -> Result<Tensor, TchError> {
        let masks = part.groups().get(self.facts.views.groups().len());
        let masks = masks.ok_or_else(|| TchError::Shape("a batch without masks".into()))?;
        // Also of no sample: layers that meet other ranks do so here.
        let gradients = input_gradient(scores, inputs, true)?;
        let within = gradients.f_mul(&masks.rows)?.f_square()?.f_sum(None::<Kind>)?;
        within.f_div_scalar(part.targets.global_samples.max(1) as f64)
    }
}

/// Class of each sample for the two losses: [`NO_LABEL`] of those that belong to the other one.
fn classes(targets: &Targets) -> [Vec<i64>; 2] {
    let of = |is_corrected: bool| {
        let own = targets.classes().iter().zip(targets.pools());
        own.map(|(&class, &pool)| if (pool > NONE) == is_corrected { class } else { NO_LABEL }).collect()
    };
    [of(false), of(true)]
}

impl Method for Xil {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        let own: &[&str] = match self.config.loss {
            XilLoss::Rrr => &["confounded", "corrected", "input_gradient"],
            _ => &["confounded", "corrected"],
        };
        own.iter().map(|name| (*name).to_owned()).collect()
    }

    fn loss_weights(&self) -> Vec<f64> {
        match self.config.loss {
            XilLoss::Balanced => vec![1.0, self.config.lambda],
            XilLoss::Imbalanced | XilLoss::Lagrangian => vec![1.0, 1.0],
            XilLoss::Rrr => vec![1.0, 1.0, self.config.gradient_penalty],
        }
    }

    fn mean_names(&self) -> Vec<String> {
        let multiplier = self.multiplier.as_ref().map(|_| MULTIPLIER.to_owned());
        std::iter::once(ACCURACY.to_owned()).chain(multiplier).collect()
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/acc", "val/loss"]
    }

    fn count(&self, targets: &Targets) -> Vec<u64> {
        classes(targets).iter().map(|classes| num_labelled(classes)).collect()
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (inputs, targets) = (part.inputs(), &part.targets);
        let inputs = match self.facts.second_order {
            true => inputs.f_detach()?.f_set_requires_grad(true)?,
            false => inputs.shallow_clone(),
        };
        let scores = self.head.scores(&self.backbone.forward(&inputs, context.pass())?)?;
        let count = |group: usize| context.counts.get(group).copied().unwrap_or(1);
        let [others, corrected] =
            classes(targets).map(|classes| Tensor::from_slice(&classes).to_device(inputs.device()));
        let loss = |classes: &Tensor, group: usize| {
            cross_entropy(&scores, classes, count(group), self.config.label_smoothing)
        };
        let losses = [(loss(&others, OTHERS), OTHERS), (loss(&corrected, CORRECTED), CORRECTED)];
        let factors = self.factors(context, &losses[0].0)?;
        let mut objective = Objective::default();
        if self.multiplier.is_some() {
            objective.statistics.put(CORRECTED_LOSS, &losses[CORRECTED].0)?;
            let of_part = corrected.f_ne(NO_LABEL)?.f_sum(Kind::Double)?;
            objective.statistics.put(NUM_CORRECTED, &of_part)?;
        }
        for ((loss, group), factor) in losses.into_iter().zip(factors) {
            objective.terms.push(Term::Direct(DirectTerm { loss, over: Over::Group(group), factor }));
        }
        if self.config.loss == XilLoss::Rrr {
            objective.terms.push(Term::direct(self.penalty(part, &inputs, &scores)?));
        }
        let all = Tensor::from_slice(targets.classes()).to_device(inputs.device());
        let hits = scores.f_argmax(1, false)?.f_eq_tensor(&all)?.f_sum(Kind::Double)?;
        objective.means.push(Mean::new(ACCURACY, hits));
        if let Some(multiplier) = &self.multiplier {
            let sum = multiplier.f_to_kind(Kind::Double)?.f_mul_scalar(part.num_samples() as f64)?;
            objective.means.push(Mean::new(MULTIPLIER, sum));
        }
        Ok(objective)
    }

    /// Moves the multiplier by what the constraint is broken by.
    fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        let Some(multiplier) = &self.multiplier else { return Ok(()) };
        let XilConfig { epsilon, dual_step, max_multiplier, .. } = self.config;
        let above = after.statistics.get(CORRECTED_LOSS)?.f_sub_scalar(epsilon)?;
        let own = multiplier.f_to_kind(Kind::Double)?;
        let moved = own.f_add(&above.f_mul_scalar(dual_step)?)?.f_clamp(0.0, max_multiplier)?;
        let has_any = after.statistics.get(NUM_CORRECTED)?.f_gt(0.0)?;
        after.set(multiplier, &moved.f_where_self(&has_any, &own)?)
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }

    fn heads(&self) -> &[HeadTask] {
        self.head.tasks()
    }

    fn explained(&self) -> Option<Explained<'_>> {
        Some(Explained { backbone: &*self.backbone, classifier: self.head.classifier() })
    }

    fn read_heads(&self, embeddings: &Tensor, targets: &Targets) -> Result<Vec<HeadReading>, TchError> {
        self.head.read(embeddings, targets)
    }
}
