//! Losses of two kinds over views of two shapes: all five views of a sample against those of all others, and the small views
//! against the mean of the large ones.

use dtrain_configs::schema::{Encoder, MethodFacts, PairFacts, ViewFacts};
use tch::TchError;

use super::*;
use crate::method::{Objective, PairKeys, PairTerm, StepContext, Term};
use crate::state::Stateful;

const LARGE: u32 = 2;
const SMALL: u32 = 3;
const DIM: i64 = 6;

struct TwoShapes {
    filters: Tensor,
    last: Tensor,
}

impl TwoShapes {
    fn build(parameters: &mut Parameters) -> Box<dyn Method> {
        let filters = weight(parameters, "filters", &[8, 1, 3, 3]);
        Box::new(Self { filters, last: weight(parameters, "last", &[8, DIM]) })
    }

    /// Views of any shape.
    fn embedded(&self, views: &Tensor) -> Result<Tensor, TchError> {
        let none = None::<Tensor>;
        let maps = views.f_conv2d(&self.filters, none, 1_i64, 0_i64, 1_i64, 1)?.f_tanh()?.f_square()?;
        maps.f_mean_dim([2_i64, 3].as_slice(), false, None::<Kind>)?.f_mm(&self.last)
    }
}

impl Method for TwoShapes {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        let pairs = Some(PairFacts { dim: DIM as usize, queue_size: 0 });
        MethodFacts { views: ViewFacts::of(LARGE).and(SMALL), pairs, ..MethodFacts::default() }
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["near".into(), "pairs".into()]
    }

    fn loss_weights(&self) -> Vec<f64> {
        vec![2.0, 0.5]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, part: &LocalBatch, _: &StepContext<'_>) -> Result<Objective, TchError> {
        let groups: Vec<Tensor> =
            part.groups().iter().map(|group| self.embedded(&group.rows)).collect::<Result<_, _>>()?;
        let n = part.num_samples() as i64;
        let by_view = |group: usize, views: u32| groups[group].f_view([i64::from(views), n, DIM]);
        let large = by_view(0, LARGE)?.f_sum_dim_intlist(0, true, None::<Kind>)? / f64::from(LARGE);
        let near = (by_view(1, SMALL)? - large).f_square()?.f_sum(None::<Kind>)?;
        let near = near / part.targets.global_samples as f64;

        let rows = Tensor::f_cat(&groups, 0)?;
        let projections = &rows / rows.f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), true)?;
        let num_views = LARGE + SMALL;
        let every_view = |column: &[i64]| column.repeat(num_views as usize);
        let keys = PairKeys::new(every_view(part.targets.positions()), every_view(part.targets.sample_ids()));
        let pairs = PairTerm { projections, num_views, keys, temperature: 0.3 };
        Ok(Objective::of(vec![Term::direct(near), Term::Pairs(pairs)]))
    }

    fn num_features(&self) -> i64 {
        DIM
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &ForwardContext) -> Result<Tensor, TchError> {
        self.embedded(inputs)
    }
}

fn case() -> Case {
    whole(sgd(), built_by(TwoShapes::build))
}

#[test]
fn however_the_batch_is_cut_views_of_both_shapes_train_the_same() {
    assert_cuts_do_not_matter("two shapes", case);
}

/// The loss by plain arithmetic over the whole batch, and its gradient by libtorch.
#[test]
fn both_losses_are_those_of_the_whole_batch() {
    let batch = &batches(3)[..1];
    let trained = train(&Case { micro_batch: Some(2), grad_clip: None, ..case() }, batch);
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = TwoShapes::build(&mut parameters);
    let leaves: Vec<Tensor> = parameters.parameters().iter().map(|p| p.tensor.shallow_clone()).collect();
    let network = TwoShapes { filters: leaves[0].shallow_clone(), last: leaves[1].shallow_clone() };
    let samples = &batch[0].samples;
    let n = samples.len() as i64;
    let large = network.embedded(&views(samples, LARGE, SIZE)).unwrap();
    let small = network.embedded(&views(samples, SMALL, SIZE / 2)).unwrap();
    let mean = large.view([2, n, DIM]).mean_dim([0_i64].as_slice(), true, None::<Kind>);
    let near = (small.view([3, n, DIM]) - mean).square().sum(None::<Kind>) / n as f64;
    let rows = Tensor::cat(&[large, small], 0);
    let z = &rows / rows.norm_scalaropt_dim(2.0, [1_i64].as_slice(), true);
    let sample = Tensor::arange(n, (Kind::Int64, Device::Cpu)).repeat([5]);
    let same = sample.unsqueeze(0).eq_tensor(&sample.unsqueeze(1)).to_kind(Kind::Double);
    let itself = Tensor::eye(5 * n, (Kind::Double, Device::Cpu));
    let similarities = z.mm(&z.tr()) / 0.3;
    let others = &similarities + (&itself * -1e30);
    let lse = others.logsumexp(1, false);
    let positive = (&similarities * (same - itself)).sum_dim_intlist(1, false, None::<Kind>) / 4.0;
    let pairs = (lse - positive).mean(None::<Kind>);
    let total: Tensor = &near * 2.0 + &pairs * 0.5;
    let outcome = &trained.outcomes[0];
    let close = |found: f64, expected: &Tensor| (found / expected.double_value(&[]) - 1.0).abs() < 1e-11;
    assert!(close(outcome.losses[0], &near) && close(outcome.losses[1], &pairs), "{outcome:?}");
    assert!(close(outcome.loss, &total), "{outcome:?}");
    let gradients = Tensor::run_backward(&[&total], &leaves.iter().collect::<Vec<_>>(), false, false);
    let squares: f64 = gradients.iter().map(|gradient| norm(gradient).powi(2)).sum();
    assert!((outcome.grad_norm / squares.sqrt() - 1.0).abs() < 1e-10, "{outcome:?}");
}
