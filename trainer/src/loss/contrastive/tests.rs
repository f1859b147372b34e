//! The slow original formula as oracle: N x (N + Q) masks and autograd.

use proptest::prelude::*;

use super::*;
use crate::model::parameters::Parameters;

mod exclusions;
mod plain;
mod unions;

fn unit_rows(n: usize, d: i64, kind: Kind, seed: i64) -> Tensor {
    tch::manual_seed(seed);
    let z = Tensor::randn([n as i64, d], (Kind::Double, Device::Cpu));
    (&z / z.norm_scalaropt_dim(2.0, [1], true)).to_kind(kind)
}

/// What was put into a queue.
struct Pushed {
    rows: Tensor,
    keys: PairKeys,
}

/// Keys in which every row is a sample of its own.
fn unique(labels: &[i64]) -> PairKeys {
    PairKeys::new(labels.to_vec(), (0..labels.len() as i64).collect())
}

fn queue_of(size: usize, dim: i64, kind: Kind, pushed: &Pushed) -> Queue {
    let mut parameters = Parameters::new(Device::Cpu, kind, 0);
    let keys = &pushed.keys;
    let rules = QueueRules {
        alike: ["a", "b"][..keys.alike.len()].to_vec(),
        within: keys.near.as_ref().map(|near| near.within),
        excluded: ["a", "b"][..keys.excluded.len()].to_vec(),
    };
    let mut queue = Queue::new(size, dim as usize, &rules, &mut parameters);
    queue.push(&pushed.rows, &pushed.keys);
    queue
}

/// The definition, pair by pair on the host, with N x (N + Q) masks and autograd.
fn naive(z: &Tensor, keys: &PairKeys, queue: Option<&Pushed>, temperature: f64) -> (f64, Tensor) {
    let z = z.detach().set_requires_grad(true);
    let columns = queue.map_or_else(|| z.shallow_clone(), |queue| Tensor::cat(&[&z, &queue.rows], 0));
    let (mut allowed, mut positive) = (Vec::new(), Vec::new());
    for i in 0..keys.num_rows() {
        let in_batch = (0..keys.num_rows()).map(|j| (keys, j, false));
        let in_queue = queue.iter().flat_map(|q| (0..q.keys.num_rows()).map(|j| (&q.keys, j, true)));
        for (others, j, queued) in in_batch.chain(in_queue) {
            let same = |ours: &[i64], theirs: &[i64]| ours[i] >= 0 && ours[i] == theirs[j];
            let near = keys.near.as_ref().zip(others.near.as_ref()).is_some_and(|(ours, theirs)| {
                let (a, b) = (ours.begins[i], theirs.begins[j]);
                let known = a >= 0 && b >= 0 && same(&ours.recordings, &theirs.recordings);
                known && (a - b).abs() <= ours.within
            });
            let alike = keys.groups[i] == others.groups[j] && (!queued || keys.groups[i] >= 0)
                || keys.alike.iter().zip(&others.alike).any(|(ours, theirs)| same(ours, theirs))
                || near;
            let one_sample = keys.samples[i] == others.samples[j];
            let excluded = keys.excluded.iter().zip(&others.excluded).any(|(a, b)| a[i] >= 0 && a[i] == b[j]);
            let out = if one_sample { !alike } else { excluded };
            let itself = !queued && i == j;
            allowed.push(!itself && !out);
            positive.push(!itself && !out && alike);
        }
    }
    let shape = [keys.num_rows() as i64, columns.size()[0]];
    let mask = |values: &[bool]| Tensor::from_slice(values).view(shape);
    let (allowed, positive) = (mask(&allowed), mask(&positive));
    let similarities = z.mm(&columns.tr()) / temperature;
    let count = positive.sum_dim_intlist(1, false, Kind::Double);
    let anchors = count.gt(0.0);
    let num_anchors = anchors.sum(Kind::Double).double_value(&[]);
    if num_anchors == 0.0 {
        return (0.0, z.zeros_like());
    }
    // Rows that are no anchors are cut out before the logarithm, which has no gradient where all is masked.
    let rows = |t: &Tensor| t.index(&[Some(&anchors)]);
    let (similarities, allowed, positive) = (rows(&similarities), rows(&allowed), rows(&positive));
    let lse = similarities.masked_fill(&allowed.logical_not(), f64::NEG_INFINITY).logsumexp(1, false);
    let mean = (similarities * positive.to_kind(Kind::Double)).sum_dim_intlist(1, false, Kind::Double)
        / rows(&count);
    let loss = (lse - mean).sum(Kind::Double) / num_anchors;
    loss.backward();
    (loss.double_value(&[]), z.grad())
}

/// Both passes on `ranks` ranks with uneven shares, as the engine runs them.
fn distributed(problem: &PairProblem, ranks: usize) -> (f64, Tensor) {
    let n = problem.num_rows();
    let cut = |rank: usize| if rank == ranks { n } else { n * rank * (rank + 1) / (ranks * (ranks + 1)) };
    let shares: Vec<Range<usize>> = (0..ranks).map(|rank| cut(rank)..cut(rank + 1)).collect();
    let statistics: Vec<RowStatistics> =
        shares.iter().map(|own| problem.row_statistics(own.clone())).collect();
    let loss: f64 = statistics.iter().map(|s| s.loss_sum().double_value(&[])).sum();
    let lse = Tensor::cat(&statistics.iter().map(|s| &s.lse).collect::<Vec<_>>(), 0);
    let parts: Vec<Tensor> = shares.iter().map(|own| problem.gradient(own.clone(), &lse)).collect();
    (loss / problem.num_anchors().max(1) as f64, Tensor::cat(&parts, 0))
}

fn largest(t: &Tensor) -> f64 {
    if t.numel() == 0 { 0.0 } else { t.abs().max().double_value(&[]) }
}

/// Loss and gradient in one piece and over `ranks` are those of the definition.
fn check(
    what: &str,
    problem: &PairProblem,
    (loss, gradient): &(f64, Tensor),
    ranks: usize,
) -> Result<(), TestCaseError> {
    let one = problem.whole();
    for (ours, dz) in [(one.loss.double_value(&[]), one.gradient), distributed(problem, ranks)] {
        prop_assert!((ours - loss).abs() < 1e-11, "{what}: loss {} against {}", ours, loss);
        let difference = largest(&(dz - gradient));
        prop_assert!(difference < 1e-10, "{what}: gradient {}", difference);
    }
    Ok(())
}
