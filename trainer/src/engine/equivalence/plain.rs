//! The smallest network that the engine can train.

use dtrain_configs::schema::{Encoder, MethodFacts, PairFacts, ViewFacts};
use std::sync::atomic::{AtomicU64, Ordering};

use tch::{TchError, Tensor};

use super::SIZE;
use crate::loss::cross_entropy::cross_entropy;
use crate::method::{LocalBatch, Method, Objective, PairKeys, PairTerm, StepContext, Term};
use crate::model::ForwardContext;
use crate::model::parameters::{Init, Parameters, Role};
use crate::state::Stateful;

/// A network in which samples do not meet, with a parameter that no loss ever reaches and one that is used in the
/// first `late_until` steps only, and then on the rank that holds sample `late_sample` of the batch.
pub struct Plain {
    first: Tensor,
    second: Tensor,
    late: Tensor,
    late_until: u64,
    calls: AtomicU64,
    pairs: bool,
}

impl Plain {
    pub fn build(pairs: bool, late_until: u64, parameters: &mut Parameters) -> Box<dyn Method> {
        let init = Init::Normal { std: 0.1 };
        let mut weight = |name: &str, shape: &[i64]| parameters.parameter(name, shape, init, Role::Weight);
        let first = weight("first", &[SIZE * SIZE, 10]);
        let _ = weight("unused", &[7]);
        let late = weight("late", &[6]);
        let second = weight("second", &[10, 6]);
        Box::new(Self { first, second, late, late_until, calls: AtomicU64::new(0), pairs })
    }
}

impl Method for Plain {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        let pairs = self.pairs.then_some(PairFacts { dim: 6, queue_size: 0 });
        MethodFacts { views: ViewFacts::of(1 + u32::from(self.pairs)), pairs, ..MethodFacts::default() }
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["loss".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, part: &LocalBatch, _: &StepContext<'_>) -> Result<Objective, TchError> {
        let (inputs, targets) = (part.inputs(), &part.targets);
        let mut rows = inputs.f_flatten(1, -1)?.f_mm(&self.first)?.f_tanh()?.f_mm(&self.second)?;
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call < self.late_until && targets.positions().contains(&0) {
            rows += &self.late;
        }
        if self.pairs {
            let projections = &rows / rows.norm_scalaropt_dim(2.0, [1], true);
            let keys = PairKeys::new(targets.positions().repeat(2), targets.sample_ids().repeat(2));
            let term = PairTerm { projections, num_views: 2, keys, temperature: 0.2 };
            return Ok(Objective::of(vec![Term::Pairs(term)]));
        }
        let classes = Tensor::from_slice(targets.classes());
        let loss = cross_entropy(&rows, &classes, targets.global_samples, 0.0);
        Ok(Objective::direct(loss))
    }

    fn num_features(&self) -> i64 {
        SIZE * SIZE
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &ForwardContext) -> Result<Tensor, TchError> {
        inputs.f_flatten(1, -1)
    }
}
