//! A memory queue: rows of earlier batches as further columns of the loss, without gradient and never as anchors. As in
//! cross-batch memory (Wang et al. 2020, arXiv 1912.06798) they come from the encoder that is trained; MoCo (He et al.
//! 2020, arXiv 1911.05722) fills its queue from a slowly moving copy of the encoder.
//!
//! The rows of the global batch are the same on all ranks, hence all queues are. They are registered buffers, which
//! checkpoints save and restore.

use std::cell::RefCell;

use tch::{Device, Kind, TchError, Tensor};

use super::keys::PairKeys;
use super::queue_rules::QueueRules;
use super::upload;
use crate::model::parameters::Parameters;
use crate::torch_extra::HostCopy;

/// Group of a queued row that is nobody's positive: no batch has it.
const NO_GROUP: i64 = i64::MIN;

/// The last rows of earlier batches, oldest first until it is full and as a ring from then on.
#[derive(Debug)]
pub struct Queue {
    /// `[Q, D]`.
    rows: Tensor,
    /// `[Q]` each, as [`PairKeys::to_columns`].
    keys: Vec<Tensor>,
    /// The rules of the keys, without rows.
    rules: PairKeys,
    /// Where the next row goes, 0-dimensional.
    next: Tensor,
    /// Rows that have been filled, 0-dimensional.
    len: Tensor,
    host: RefCell<Option<Host>>,
    /// The rows of a step of which the host does not know yet whether it counts.
    open: Option<Open>,
}

/// Rows that enter the queue if their step counts.
#[derive(Debug)]
struct Open {
    skipped: HostCopy,
    rows: Tensor,
    keys: PairKeys,
}

/// The integers on the host, so that no step waits for the device to tell them.
#[derive(Debug)]
struct Host {
    /// Versions of the tensors that they were read from: a restored checkpoint changes them.
    versions: Vec<i64>,
    /// Of the valid rows.
    keys: PairKeys,
    next: usize,
}

/// The valid part of a queue.
pub(super) struct Queued {
    /// `[len, D]`, a view.
    pub(super) rows: Tensor,
    pub(super) keys: PairKeys,
}

impl Queue {
    /// An empty queue for `size` > 0 rows of `dim` elements, registered as `rows`, `groups`, `samples`,
    /// a column of each of `rules`, `next` and `len` in the current scope of `parameters`.
    pub fn new(size: usize, dim: usize, rules: &QueueRules<'_>, parameters: &mut Parameters) -> Self {
        let shape = [size as i64, dim as i64];
        let rows = parameters.buffer("rows", &shape, 0.0);
        let mut integers = |name: &str| parameters.integers(name, &[size as i64], -1);
        let mut keys = vec![integers("groups"), integers("samples")];
        keys.extend(rules.alike.iter().map(|name| integers(&format!("alike.{name}"))));
        if rules.within.is_some() {
            keys.extend(["near.recording", "near.begin"].map(&mut integers));
        }
        keys.extend(rules.excluded.iter().map(|name| integers(&format!("excluded.{name}"))));
        let (next, len) = (parameters.counter("next"), parameters.counter("len"));
        Self { rows, keys, rules: rules.keys(), next, len, host: RefCell::new(None), open: None }
    }

    /// Q, the rows that it can hold.
    pub fn size(&self) -> usize {
        self.rows.size().first().map_or(0, |&rows| rows as usize)
    }

    /// The valid rows.
    pub fn len(&self) -> usize {
        self.with_host(|host| host.keys.num_rows())
    }

    /// True before the first batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts the rows of a global batch in the places of the oldest ones; of more than Q rows the last stay. Groups that
    /// hold within the batch only are forgotten.
    ///
    /// # Shapes
    /// `rows` is `[N, D]`, the normalized projections of all ranks in rank order; `keys` has N rows and the queue's
    /// rules.
    pub fn push(&mut self, rows: &Tensor, keys: &PairKeys) {
        debug_assert_eq!(keys.without_rows(), self.rules, "a queue for other rules");
        let size = self.size();
        let mut keys = keys.last(size);
        for group in &mut keys.groups {
            *group = if *group >= 0 { *group } else { NO_GROUP };
        }
        let count = keys.num_rows();
        if count == 0 {
            return;
        }
        let (next, mut filled) = self.with_host(|host| (host.next, host.keys.to_columns()));
        let rows = rows.detach();
        let rows = rows.narrow(0, rows.size().first().copied().unwrap_or(0) - count as i64, count as i64);
        // Up to the end of the ring, then from its start.
        let first = count.min(size - next);
        let columns = keys.to_columns();
        tch::no_grad(|| {
            for (from, len, to) in [(0, first, next), (first, count - first, 0)] {
                let (from, len, to) = (from as i64, len as i64, to as i64);
                self.rows.narrow(0, to, len).copy_(&rows.narrow(0, from, len));
                for (buffer, column) in self.keys.iter().zip(&columns) {
                    let column = upload(column, self.rows.device());
                    buffer.narrow(0, to, len).copy_(&column.narrow(0, from, len));
                }
            }
            for (filled, column) in filled.iter_mut().zip(&columns) {
                for (offset, key) in column.iter().enumerate() {
                    match filled.get_mut((next + offset) % size) {
                        Some(place) => *place = *key,
                        None => filled.push(*key),
                    }
                }
            }
            let host = Host {
                versions: Vec::new(),
                keys: self.rules.with_columns(filled),
                next: (next + count) % size,
            };
            let _ = self.next.fill_(host.next as i64);
            let _ = self.len.fill_(host.keys.num_rows() as i64);
            self.host.replace(Some(Host { versions: self.versions(), ..host }));
        });
    }

    /// As [`Queue::push`], unless `skip`, 0-dimensional, is not 0: decided by [`Queue::settle`], which comes before anybody
    /// looks into the queue, and after the next step's forward pass has been started, so that no device waits for it.
    ///
    /// # Errors
    /// When a GPU fails.
    pub fn push_unless(&mut self, skip: &Tensor, rows: &Tensor, keys: &PairKeys) -> Result<(), TchError> {
        self.settle()?;
        // Gathered rows belong to their step alone: no later step writes into them.
        self.open = Some(Open { skipped: HostCopy::start(skip)?, rows: rows.detach(), keys: keys.clone() });
        Ok(())
    }

    /// Waits until it is known whether the last step counts, and takes its rows if it does.
    ///
    /// # Errors
    /// When a GPU fails.
    pub fn settle(&mut self) -> Result<(), TchError> {
        let Some(Open { skipped, rows, keys }) = self.open.take() else { return Ok(()) };
        if skipped.wait()?.iter().all(|&skipped| skipped == 0.0) {
            self.push(&rows, &keys);
        }
        Ok(())
    }

    /// The valid rows and their keys.
    pub(super) fn queued(&self) -> Queued {
        let keys = self.with_host(|host| host.keys.clone());
        Queued { rows: self.rows.narrow(0, 0, keys.num_rows() as i64), keys }
    }

    fn integers(&self) -> impl Iterator<Item = &Tensor> {
        self.keys.iter().chain([&self.next, &self.len])
    }

    fn versions(&self) -> Vec<i64> {
        self.integers().map(Tensor::internal_version).collect()
    }

    fn with_host<T>(&self, use_it: impl FnOnce(&Host) -> T) -> T {
        let versions = self.versions();
        let mut host = self.host.borrow_mut();
        use_it(match host.take().filter(|host| host.versions == versions) {
            Some(current) => host.insert(current),
            None => host.insert(self.read(versions)),
        })
    }

    /// The integers of the tensors, which may come from a file: counts are kept within the queue.
    fn read(&self, versions: Vec<i64>) -> Host {
        let size = self.size();
        let within = |count: &Tensor, end: usize| count.int64_value(&[]).clamp(0, end as i64) as usize;
        let len = within(&self.len, size);
        let columns = self.keys.iter().map(|column| {
            let mut keys = vec![0_i64; len];
            let valid = column.narrow(0, 0, len as i64).to_device(Device::Cpu).to_kind(Kind::Int64);
            valid.copy_data(&mut keys, len);
            keys
        });
        // A ring that is not full goes on where its rows end.
        let next = if len < size { len } else { within(&self.next, size.saturating_sub(1)) };
        Host { versions, keys: self.rules.with_columns(columns), next }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Nearness;
    use super::*;

    fn parameters(kind: Kind) -> Parameters {
        Parameters::new(Device::Cpu, kind, 0)
    }

    fn rules() -> QueueRules<'static> {
        QueueRules { alike: vec!["label"], within: Some(7), excluded: vec!["recording"] }
    }

    fn queue(size: usize, kind: Kind) -> (Queue, Parameters) {
        let mut parameters = parameters(kind);
        let queue = parameters.scope("queue", |p| Queue::new(size, 2, &rules(), p));
        (queue, parameters)
    }

    fn keys(numbers: &[i64], group: impl Fn(i64) -> i64) -> PairKeys {
        let times = |by: i64| numbers.iter().map(|r| by * r).collect::<Vec<_>>();
        PairKeys {
            groups: numbers.iter().map(|&r| group(r)).collect(),
            samples: times(10),
            alike: vec![times(3)],
            near: Some(Nearness { recordings: times(100), begins: times(5), within: 7 }),
            excluded: vec![times(100)],
        }
    }

    /// Rows numbered from `first`: row r is (r, -r), of sample 10 r in recording 100 r, where it begins at 5 r, and of label
    /// 3 r; odd rows are of class r, the others of none.
    fn batch(first: i64, len: i64, kind: Kind) -> (Tensor, PairKeys) {
        let numbers: Vec<i64> = (first..first + len).collect();
        let column = Tensor::from_slice(&numbers).to_kind(kind);
        let keys = keys(&numbers, |r| if r % 2 == 1 { r } else { -1 - r });
        (Tensor::stack(&[&column, &-&column], 1), keys)
    }

    /// The numbers of the rows in the queue, in their places, after checking that rows and keys belong together.
    fn numbers(queue: &Queue) -> Vec<i64> {
        let Queued { rows, keys } = queue.queued();
        let numbers: Vec<f64> = Vec::try_from(rows.select(1, 0).to_kind(Kind::Double)).unwrap();
        let numbers: Vec<i64> = numbers.into_iter().map(|r| r as i64).collect();
        assert_eq!(
            Vec::<f64>::try_from(rows.sum_dim_intlist(1, false, Kind::Double)).unwrap(),
            vec![0.0; numbers.len()]
        );
        assert_eq!(keys, self::keys(&numbers, |r| if r % 2 == 1 { r } else { NO_GROUP }));
        assert_eq!(queue.len(), numbers.len());
        numbers
    }

    #[test]
    fn batches_fill_the_queue_and_then_replace_the_oldest_rows() {
        for size in 1..9_usize {
            let (mut queue, _) = queue(size, Kind::Float);
            assert!(queue.is_empty());
            let (mut ring, mut next): (Vec<i64>, usize) = (Vec::new(), 0);
            let mut first = 0;
            for len in [3, 0, 2, 5, 1, 8, 3, 9, 17, 4] {
                let (rows, keys) = batch(first, len, Kind::Float);
                queue.push(&rows, &keys);
                // One row at a time, which a batch larger than the queue overwrites again: the last stay.
                let kept = first.max(first + len - size as i64)..first + len;
                for row in kept {
                    if ring.len() < size {
                        ring.push(row)
                    } else {
                        ring[next] = row
                    }
                    next = (next + 1) % size;
                }
                first += len;
                assert_eq!(numbers(&queue), ring, "size {size} after a batch of {len}");
            }
        }
    }

    #[test]
    fn a_restored_queue_goes_on_as_the_saved_one() {
        for kind in [Kind::Float, Kind::Double] {
            for before in [0, 2, 5, 7, 11] {
                let (mut saved, saved_parameters) = queue(5, kind);
                let (mut restored, parameters) = queue(5, kind);
                // What has been read before must not survive the restoring.
                let (rows, keys) = batch(50, 4, kind);
                restored.push(&rows, &keys);
                assert_eq!(restored.len(), 4);
                for first in 0..before {
                    let (rows, keys) = batch(first, 1, kind);
                    saved.push(&rows, &keys);
                }
                for (to, from) in parameters.buffers().iter().zip(saved_parameters.buffers()) {
                    assert_eq!(to.name, from.name);
                    to.tensor.shallow_clone().copy_(&from.tensor.copy());
                }
                for queue in [&mut saved, &mut restored] {
                    let (rows, keys) = batch(before, 3, kind);
                    queue.push(&rows, &keys);
                }
                assert_eq!(numbers(&saved), numbers(&restored), "{before}");
                for (a, b) in parameters.buffers().iter().zip(saved_parameters.buffers()) {
                    assert!(a.tensor == b.tensor, "{} after {before}", a.name);
                    assert_eq!(
                        a.tensor.kind(),
                        if a.tensor.is_floating_point() { kind } else { Kind::Int64 }
                    );
                }
            }
        }
    }

    #[test]
    fn buffers_are_named_and_shaped() {
        let (_, parameters) = queue(5, Kind::Float);
        let buffers: Vec<_> = parameters
            .buffers()
            .iter()
            .map(|b| (b.name.as_str(), b.tensor.kind(), b.tensor.size()))
            .collect();
        let expected = [
            ("queue.rows", Kind::Float, vec![5, 2]),
            ("queue.groups", Kind::Int64, vec![5]),
            ("queue.samples", Kind::Int64, vec![5]),
            ("queue.alike.label", Kind::Int64, vec![5]),
            ("queue.near.recording", Kind::Int64, vec![5]),
            ("queue.near.begin", Kind::Int64, vec![5]),
            ("queue.excluded.recording", Kind::Int64, vec![5]),
            ("queue.next", Kind::Int64, vec![]),
            ("queue.len", Kind::Int64, vec![]),
        ];
        assert_eq!(buffers, expected);
    }

    #[test]
    fn counts_of_a_damaged_file_stay_within_the_queue() {
        let (mut queue, _) = queue(4, Kind::Float);
        let (rows, keys) = batch(0, 6, Kind::Float);
        for (next, len) in [(-3, 9), (99, 2), (i64::MIN, -1), (i64::MAX, i64::MAX)] {
            let _ = queue.next.fill_(next);
            let _ = queue.len.fill_(len);
            assert!(queue.len() <= 4);
            queue.push(&rows, &keys);
            assert_eq!(queue.len(), 4);
        }
    }

    #[test]
    fn rows_of_a_step_that_does_not_count_never_enter() {
        let (mut queue, _) = queue(4, Kind::Float);
        for (first, skip) in [(0, 0.0_f32), (1, 1.0), (2, 0.0), (3, 1.0)] {
            let (rows, keys) = batch(first, 1, Kind::Float);
            queue.push_unless(&Tensor::from(skip), &rows, &keys).unwrap();
        }
        // The last step's outcome is open; those before were settled when the next one came.
        assert_eq!(numbers(&queue), [0, 2]);
        queue.settle().unwrap();
        assert_eq!(numbers(&queue), [0, 2]);
        let (rows, keys) = batch(4, 1, Kind::Float);
        queue.push_unless(&Tensor::from(0.0_f32), &rows, &keys).unwrap();
        assert_eq!(numbers(&queue), [0, 2]);
        queue.settle().unwrap();
        queue.settle().unwrap();
        assert_eq!(numbers(&queue), [0, 2, 4]);
    }

    #[test]
    fn rows_are_copied_without_graph() {
        let (mut queue, _) = queue(4, Kind::Float);
        let (rows, keys) = batch(1, 2, Kind::Float);
        let rows = rows.set_requires_grad(true);
        queue.push(&(&rows * 1.0), &keys);
        let _ = tch::no_grad(|| rows.shallow_clone().fill_(7.0));
        assert_eq!(numbers(&queue), [1, 2]);
        assert!(!queue.rows.requires_grad());
    }
}
