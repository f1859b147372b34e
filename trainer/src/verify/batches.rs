//! The global batches that every way trains on: drawn by the run's sampler and made by its augmentation once, then handed
//! out to ranks as the run does it.

use dtrain_data::{BatchRequest, Columns, share};
use tch::{Device, Kind, TchError, Tensor};

use super::ways::Way;
use crate::batch::{start_loader, upload};
use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::method::{LocalBatch, Targets, ViewGroup};
use crate::run::{Prepared, loader_options, local_batch};

/// One global batch.
pub(super) struct GlobalBatch {
    step: u64,
    epoch: u64,
    phase: u32,
    groups: Vec<Views>,
    targets: Targets,
    /// Rows are compared in pairs, so that the place of a sample is the one among those of all ranks.
    has_pairs: bool,
}

/// A group of views.
struct Views {
    /// `[num_views, n, C, H, W]`, fp32, on the CPU.
    rows: Tensor,
    /// What augmentations tell of them, view by view.
    drawn: Columns,
}

impl Views {
    /// The samples of these numbers among `len`.
    fn drawn_of(&self, len: usize, samples: &[usize]) -> Columns {
        let num_views = self.drawn.num_rows().checked_div(len).unwrap_or(0);
        self.drawn
            .select((0..num_views).flat_map(|view| samples.iter().map(move |sample| view * len + sample)))
    }
}

/// The first `num_steps` batches. Every second one lacks its last sample, and the last one holds `last_len` samples at most,
/// as the end of an epoch may, so that shares are uneven and a rank has none.
///
/// # Errors
/// When the loader fails, or nothing of a batch can be read.
pub(super) fn draw(
    prepared: &Prepared,
    num_steps: usize,
    last_len: usize,
) -> Result<Vec<GlobalBatch>, TrainError> {
    let Some(sampler) = &prepared.sampler else {
        return Err(TrainError::internal("batches need a sampler"));
    };
    let steps_per_epoch = prepared.plan.steps_per_epoch.max(1);
    let groups = prepared.engine.method().view_groups();
    let has_pairs = prepared.engine.method().facts().pairs.is_some();
    let requests: Vec<BatchRequest> = (0..num_steps as u64)
        .map(|step| {
            let epoch = step / steps_per_epoch;
            let draws = sampler.draws(epoch, step % steps_per_epoch);
            BatchRequest { epoch, step, draws, groups: groups.clone(), augment: true }
        })
        .collect();
    let device = prepared.engine.device();
    let loader = start_loader(&prepared.maker, requests.into_iter(), loader_options(prepared), device)?;
    let mut batches = Vec::with_capacity(num_steps);
    while let Some(batch) = loader.next().transpose()? {
        let (step, epoch) = (batch.request.step, batch.request.epoch);
        let present = batch.kept.len();
        let len = shortened(present, step as usize, num_steps, last_len);
        if len == 0 {
            let reason =
                batch.failed.first().map_or_else(String::new, |failed| format!(": {}", failed.reason));
            return Err(TrainError::run(
                format!("no sample of batch {step} can be read{reason}"),
                "fix or remove them; `dtrain train --dry-run` lists what is skipped",
            ));
        }
        // Without counts of other ranks the whole batch begins at position 0.
        let phase = prepared.plan.course.index_of(step);
        let plan = StepPlan { step, epoch, phase, counts: Vec::new(), global_samples: len as u64 };
        let local = local_batch(prepared, &batch, upload(&batch, device)?, &plan)?;
        let kept: Vec<usize> = (0..len).collect();
        let groups = local.groups().iter().map(|group| {
            let all = Views { rows: on_host(group, present)?, drawn: group.drawn.clone() };
            Ok(Views { rows: all.rows.f_narrow(1, 0, len as i64)?, drawn: all.drawn_of(present, &kept) })
        });
        let groups = groups.collect::<Result<_, TchError>>()?;
        batches.push(GlobalBatch {
            step,
            epoch,
            phase,
            groups,
            targets: local.targets.narrow(&(0..len)),
            has_pairs,
        });
    }
    Ok(batches)
}

/// `[num_views, n, C, H, W]`, fp32, on the CPU.
fn on_host(group: &ViewGroup, num_samples: usize) -> Result<Tensor, TchError> {
    let rows = group.rows.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let shape = [i64::from(group.num_views), num_samples as i64];
    rows.f_reshape([shape.as_slice(), rows.size().get(1..).unwrap_or_default()].concat())
}

/// Samples of a batch that are used.
fn shortened(present: usize, index: usize, num_steps: usize, last_len: usize) -> usize {
    if index > 0 && index + 1 == num_steps {
        present.min(last_len)
    } else if index % 2 == 1 && present > 2 {
        present - 1
    } else {
        present
    }
}

impl GlobalBatch {
    /// The same samples as the first batch of a run of its own.
    pub(super) fn alone(&self) -> Self {
        let Self { epoch, phase, has_pairs, .. } = *self;
        let groups = self
            .groups
            .iter()
            .map(|group| Views { rows: group.rows.shallow_clone(), drawn: group.drawn.clone() });
        let groups = groups.collect();
        Self { step: 0, epoch, phase, groups, targets: self.targets.clone(), has_pairs }
    }

    /// Samples.
    pub(super) fn len(&self) -> usize {
        self.targets.num_samples()
    }

    /// The share of `rank`, as `way` orders the samples and in the type of its weights.
    pub(super) fn of_rank(
        &self,
        way: &Way,
        rank: usize,
        device: Device,
    ) -> Result<(LocalBatch, StepPlan), TrainError> {
        let world_size = way.world_size;
        let len = self.len();
        let order = way.order.of(len);
        let range = share(len, world_size, rank);
        let first = range.start as i64;
        let own = order.get(range).unwrap_or_default();
        let rows: Vec<i64> = own.iter().map(|&sample| sample as i64).collect();
        let rows = Tensor::from_slice(&rows);
        let of_group = |group: &Views| {
            let mut shape = group.rows.size();
            let views = if shape.is_empty() { 0 } else { shape.remove(0) };
            if let Some(samples) = shape.first_mut() {
                *samples = views * own.len() as i64;
            }
            let rows = group.rows.f_index_select(1, &rows)?.f_reshape(shape)?;
            let rows = if way.jitter { jittered(&rows)? } else { rows };
            let rows = rows.f_to_kind(way.arithmetic.kind())?.f_to_device(device)?;
            Ok(ViewGroup { num_views: views as u32, rows, drawn: group.drawn_of(len, own) })
        };
        let groups = self.groups.iter().map(of_group).collect::<Result<_, TrainError>>()?;
        let targets = self.targets.select(own).among(len as u64);
        // What is drawn for a place in the batch is drawn for the same sample, however they are ordered.
        let targets = if self.has_pairs { targets.with_positions(first)? } else { targets };
        let counts = (0..world_size).map(|rank| share(len, world_size, rank).len() as u32).collect();
        let plan = StepPlan {
            step: self.step,
            epoch: self.epoch,
            phase: self.phase,
            counts,
            global_samples: len as u64,
        };
        Ok((LocalBatch::of_groups(groups, targets)?, plan))
    }
}

/// Each value times 1 plus or minus 2^-23, which is about one rounding in fp32.
fn jittered(inputs: &Tensor) -> Result<Tensor, TrainError> {
    let ramp = Tensor::f_arange(inputs.numel() as i64, (Kind::Float, inputs.device()))?;
    let signs = ((ramp * 12.9898).sin() * 43_758.547).f_sin()?.f_sign()?.f_view_as(inputs)?;
    Ok(inputs.f_to_kind(Kind::Double)? * (signs.f_to_kind(Kind::Double)? * f64::from(f32::EPSILON) + 1.0))
}

#[cfg(test)]
mod tests {
    use dtrain_data::Values;

    use super::super::ways::Order;
    use super::*;
    use crate::engine::Arithmetic;

    /// Batches of `lens` samples, each view 1 x 8 x 8 values; every third sample has no class.
    fn noise_batches(lens: &[usize], num_views: i64) -> Vec<GlobalBatch> {
        lens.iter()
            .enumerate()
            .map(|(step, &len)| {
                let shape = [num_views, len as i64, 1, 8, 8];
                let ramp = Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu));
                let inputs = ((ramp + 1000 * step as i64) * 12.9898).sin().reshape(shape);
                let ids: Vec<i64> = (0..len as i64).collect();
                let classes: Vec<i64> = ids.iter().map(|id| if id % 3 == 2 { -1 } else { id % 2 }).collect();
                let numbers =
                    (0..num_views).flat_map(|view| ids.iter().map(move |id| 100 * view + id)).collect();
                let mut drawn = Columns::new(num_views as usize * len);
                drawn.put("change", 1, Values::I64(numbers)).unwrap();
                let targets = Targets::new(ids, len as u64).unwrap().with_classes(classes).unwrap();
                GlobalBatch {
                    step: step as u64,
                    epoch: 0,
                    phase: 0,
                    groups: vec![Views { rows: inputs, drawn }],
                    targets,
                    has_pairs: true,
                }
            })
            .collect()
    }

    #[test]
    fn shares_cover_the_batch_in_its_order() {
        let batch = noise_batches(&[7], 2).remove(0);
        for order in [Order::AsDrawn, Order::Reversed, Order::Rounds { world_size: 3, micro_batch: 2 }] {
            let way = |world_size| Way { order, ..Way::plain(world_size, Arithmetic::Fp64, 1) };
            let (whole, _) = batch.of_rank(&way(1), 0, Device::Cpu).unwrap();
            let mut ids: Vec<i64> = Vec::new();
            for rank in 0..9 {
                let (part, plan) = batch.of_rank(&way(9), rank, Device::Cpu).unwrap();
                let n = part.num_samples();
                assert_eq!((plan.counts[rank] as usize, plan.global_samples), (n, 7));
                assert_eq!(part.inputs().size(), [2 * n as i64, 1, 8, 8]);
                assert_eq!(part.targets.positions(), (ids.len() as i64..).take(n).collect::<Vec<_>>());
                let drawn = part.groups()[0].drawn.i64("change").unwrap().to_vec();
                let own = part.targets.sample_ids().to_vec();
                assert_eq!(drawn, [own.clone(), own.iter().map(|id| 100 + id).collect()].concat());
                for view in 0..2 {
                    let expected = whole.inputs().narrow(0, 7 * view + ids.len() as i64, n as i64);
                    assert_eq!(part.inputs().narrow(0, view * n as i64, n as i64), expected);
                }
                ids.extend(part.targets.sample_ids());
            }
            assert_eq!(ids, order.of(7).into_iter().map(|i| i as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_jitter_moves_every_value_by_a_rounding_and_hardly_more() {
        let batch = noise_batches(&[5], 1).remove(0);
        let way = Way::plain(1, Arithmetic::Fp32, 1);
        let (plain, _) = batch.of_rank(&way, 0, Device::Cpu).unwrap();
        let (moved, _) = batch.of_rank(&Way { jitter: true, ..way }, 0, Device::Cpu).unwrap();
        let change = (moved.inputs() - plain.inputs()).abs();
        let allowed = plain.inputs().abs() * (2.1 * f64::from(f32::EPSILON));
        assert_eq!(change.gt_tensor(&allowed).sum(Kind::Int64).int64_value(&[]), 0);
        let share = change.gt(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!(share > 0.9, "{share}");
        let up = moved
            .inputs()
            .gt_tensor(plain.inputs())
            .to_kind(Kind::Double)
            .mean(Kind::Double)
            .double_value(&[]);
        assert!((0.3..0.7).contains(&up), "{up}");
    }

    #[test]
    fn batches_are_uneven_and_the_last_is_short() {
        let lens = |num_steps| (0..num_steps).map(|i| shortened(16, i, num_steps, 3)).collect::<Vec<_>>();
        assert_eq!(lens(5), [16, 15, 16, 15, 3]);
        assert_eq!(lens(1), [16]);
        assert_eq!(shortened(2, 1, 5, 3), 2);
        assert_eq!(shortened(2, 4, 5, 3), 2);
    }
}
