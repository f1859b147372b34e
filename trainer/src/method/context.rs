//! What a method is told besides its samples: where the run stands, how layers behave, what the whole batch has.

use dtrain_configs::schema::ScheduledValues;
use dtrain_data::columns::NONE;
use dtrain_data::rng::{Purpose, stream};
use tch::{Kind, TchError, Tensor};

use super::statistics::draw_without_replacement;
use super::{DrawnSamples, LocalBatch, PairKeys, Statistics};
use crate::model::ForwardContext;
use crate::model::dropout::Noise;
use crate::torch_extra::SyncStatistics;

/// What a forward pass knows of its step.
#[derive(Debug, Default)]
pub struct StepContext<'a> {
    /// The step, the same for all parts of a batch.
    pub step: StepFacts,
    /// What the method's settings change over the run, as it is in this step.
    pub values: ScheduledValues,
    /// Samples of the global batch in each group that [`super::Method::count`] counts, without samples that could not be read.
    /// 1 each where a loss is to be a sum.
    pub counts: &'a [u64],
    /// What [`super::Method::first_pass`] has found in the global batch.
    pub first_pass: Option<&'a Statistics>,
    /// For each group of views, how layers behave.
    passes: Vec<ForwardContext>,
    /// Sums over ranks; `None` where there is one.
    sum: Option<SyncStatistics>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepFacts {
    /// Number of the optimizer step, counted from 0.
    pub number: u64,
    /// Steps of the run as its schedules see it.
    pub total: u64,
    /// Seed of the run.
    pub seed: u64,
}

impl StepFacts {
    /// Share of the run that lies behind, in 0..=1.
    pub fn progress(&self) -> f64 {
        (self.number as f64 / self.total.max(1) as f64).min(1.0)
    }
}

impl<'a> StepContext<'a> {
    /// A pass on one rank without a run around it, the same for every group of views.
    pub fn alone(pass: ForwardContext) -> Self {
        Self { passes: vec![pass], ..Self::default() }
    }

    /// A pass of a batch in which layers behave as in `pass`, and dropout, in training, as `step` says.
    pub fn new(
        (step, values): (StepFacts, ScheduledValues),
        batch: &LocalBatch,
        pass: &ForwardContext,
        sum: Option<SyncStatistics>,
    ) -> Self {
        let mut first_view = 0;
        let passes = batch.groups().iter().map(|group| {
            let views = first_view..first_view + group.num_views;
            first_view = views.end;
            let noise = || Noise::new(step.seed, step.number, batch.targets.sample_ids(), views);
            ForwardContext { noise: pass.train.then(noise), ..pass.clone() }
        });
        Self { step, values, passes: passes.collect(), sum, ..Self::default() }
    }

    /// The same without dropout.
    #[must_use]
    pub fn without_noise(mut self) -> Self {
        self.passes.iter_mut().for_each(|pass| pass.noise = None);
        self
    }

    /// The same with what is known of the global batch.
    #[must_use]
    pub fn knowing<'b>(self, counts: &'b [u64], first_pass: Option<&'b Statistics>) -> StepContext<'b> {
        let Self { step, values, passes, sum, .. } = self;
        StepContext { step, values, counts, first_pass, passes, sum }
    }

    /// How layers behave on the first group of views.
    pub fn pass(&self) -> &ForwardContext {
        self.pass_of(0)
    }

    /// How layers behave on a group of views; groups are numbered as in [`LocalBatch::groups`].
    pub fn pass_of(&self, group: usize) -> &ForwardContext {
        self.passes.get(group).unwrap_or(&self.passes[0])
    }

    /// The sum of `values` over the ranks of this part of the batch, without graph, f64. Every rank calls it as often as the
    /// others, with a tensor of the same shape, if it has no sample.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn sum_over_ranks(&self, values: &Tensor) -> Result<Tensor, TchError> {
        let mut flat = values.detach().f_to_dtype(Kind::Double, false, true)?.f_flatten(0, -1)?;
        if let Some(sum) = &self.sum {
            sum.sum_in_place(&mut flat)?;
        }
        flat.f_view(values.size().as_slice())
    }

    /// A sample of the global batch for each of `num_slots` slots, drawn with replacement as a function of seed, step and slot
    /// alone.
    pub fn draw_samples(&self, num_slots: usize, global_samples: u64) -> DrawnSamples {
        let StepFacts { seed, number, .. } = self.step;
        let draw = |slot: usize| {
            let mut random = stream(seed, number, slot as u32, 0, Purpose::Slots);
            random.up_to(global_samples.saturating_sub(1) as usize) as i64
        };
        DrawnSamples::new((0..num_slots).map(draw).collect())
    }

    /// A number below `num` for each of `num_slots` slots, no two alike, as a function of seed and step alone; with fewer numbers
    /// than slots, the last slots have none.
    pub fn draw_distinct(&self, num_slots: usize, num: u64) -> DrawnSamples {
        let StepFacts { seed, number, .. } = self.step;
        let mut random = stream(seed, number, u32::MAX, 0, Purpose::Slots);
        let mut drawn = draw_without_replacement(&mut random, num as i64, num_slots as i64);
        drawn.resize(num_slots, NONE);
        DrawnSamples::new(drawn)
    }
}

/// What is known when a step's update has been started.
#[derive(Debug)]
pub struct AfterStep<'a> {
    /// The step.
    pub step: StepFacts,
    /// What the method's settings change over the run, as it is in this step.
    pub values: &'a ScheduledValues,
    /// [`super::Objective::statistics`] of the global batch.
    pub statistics: &'a Statistics,
    /// For a method with a memory queue, the rows of each pair term.
    pub pairs: &'a [GlobalRows],
    /// 0-dimensional: 1 where the step does not count, as loss or gradient is not finite, and 0 where it does; the host need not
    /// know it. `None` where it is known to count.
    pub skip: Option<&'a Tensor>,
}

impl AfterStep<'_> {
    /// Gives `buffer` a new value, unless the step does not count.
    ///
    /// # Errors
    /// When shapes differ, or memory runs out.
    pub fn set(&self, buffer: &Tensor, value: &Tensor) -> Result<(), TchError> {
        tch::no_grad(|| {
            let value = value.f_to_kind(buffer.kind())?;
            let value = match self.skip {
                None => value,
                // Not by arithmetic: what does not count may be NaN.
                Some(skip) => buffer.f_where_self(&skip.f_to_kind(Kind::Bool)?, &value)?,
            };
            buffer.shallow_clone().f_copy_(&value)
        })
    }
}

/// Projections of the whole global batch: all first views in the order of the batch, then all second ones.
#[derive(Debug)]
pub struct GlobalRows {
    /// `[num_views * N, D]`.
    pub rows: Tensor,
    /// What decides about their pairs.
    pub keys: PairKeys,
}

/// What [`super::Method::before_first_step`] may ask of the other ranks. All of them call it alike.
pub struct FirstStep<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Sums of batch norm over ranks, where it is synchronized.
    pub sync: Option<SyncStatistics>,
    /// See [`FirstStep::gather`].
    pub(crate) gather: &'a Gather<'a>,
}

type Gather<'a> = dyn Fn(&Tensor) -> Result<Tensor, TchError> + 'a;

impl FirstStep<'_> {
    /// Rows of the global batch, `[N, D]`, from this rank's `[n, D]`, one for each of its samples in their order; as many
    /// ranks as there are give the same result.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn gather(&self, rows: &Tensor) -> Result<Tensor, TchError> {
        (self.gather)(rows)
    }
}
