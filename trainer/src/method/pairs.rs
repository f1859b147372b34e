//! What the methods with a pair loss share: the keys of their rows by the settings, and the memory queue.

use dtrain_configs::schema::{PairExclusion, PairFacts, PositiveRule, Scheduled};
use tch::{TchError, Tensor};

use super::{AfterStep, PairTerm, StepContext, Targets};
use crate::loss::contrastive::{Nearness, PairKeys, Queue, QueueRules};
use crate::model::parameters::Parameters;

/// What decides about pairs.
#[derive(Debug)]
pub(super) struct PairRules {
    positives: Vec<PositiveRule>,
    exclusions: Vec<PairExclusion>,
}

impl PairRules {
    pub(super) fn new(positives: &[PositiveRule], exclusions: &[PairExclusion]) -> Self {
        Self { positives: positives.to_vec(), exclusions: exclusions.to_vec() }
    }

    /// The term of normalized projections `[num_views * n, D]`. Outside of a run the temperature is that of its beginning.
    pub(super) fn term(
        &self,
        (projections, num_views): (Tensor, u32),
        temperature: &Scheduled,
        (targets, context): (&Targets, &StepContext<'_>),
    ) -> PairTerm {
        let of_step = context.values.get(PairFacts::TEMPERATURE);
        let temperature = of_step.unwrap_or_else(|| temperature.ends()[0]);
        PairTerm { projections, num_views, keys: self.keys(num_views, targets), temperature }
    }

    /// Rules of equal keys, the first as groups. A sample that lacks that key has its own views as a group, which holds within
    /// the batch.
    fn keys(&self, num_views: u32, targets: &Targets) -> PairKeys {
        let views = |column: &[i64]| column.repeat(num_views as usize);
        let mut equal = [PositiveRule::Label, PositiveRule::Recording].into_iter().filter_map(|rule| {
            let column = if rule == PositiveRule::Label { targets.classes() } else { targets.recordings() };
            self.positives.contains(&rule).then_some(column)
        });
        let own = targets.positions().iter().map(|position| -1 - position);
        let groups: Vec<i64> = match equal.next() {
            Some(keys) => keys.iter().zip(own).map(|(&key, own)| if key >= 0 { key } else { own }).collect(),
            None => own.collect(),
        };
        let excluded = self.exclusions.iter().map(|exclusion| match exclusion {
            PairExclusion::Recording => views(targets.recordings()),
            PairExclusion::Label => views(targets.classes()),
        });
        PairKeys {
            groups: views(&groups),
            samples: views(targets.sample_ids()),
            alike: equal.map(views).collect(),
            near: self.within_micros().map(|within| Nearness {
                recordings: views(targets.timelines()),
                begins: views(targets.begins()),
                within,
            }),
            excluded: excluded.collect(),
        }
    }

    /// The queue, registered under `queue`; `None` where `size` is 0.
    pub(super) fn queue(&self, size: usize, dim: usize, parameters: &mut Parameters) -> Option<Queue> {
        let both =
            [PositiveRule::Label, PositiveRule::Recording].iter().all(|rule| self.positives.contains(rule));
        let rules = QueueRules {
            alike: if both { vec!["recording"] } else { Vec::new() },
            within: self.within_micros(),
            excluded: self.exclusions.iter().map(|exclusion| exclusion.as_str()).collect(),
        };
        (size > 0).then(|| {
            parameters.after_step(|parameters| {
                parameters.scope("queue", |scope| Queue::new(size, dim, &rules, scope))
            })
        })
    }

    /// What is near in a recording is of it, and says nothing more beside that rule.
    fn within_micros(&self) -> Option<i64> {
        let within = self.positives.iter().find_map(|rule| match rule {
            PositiveRule::WithinSecs { secs } => Some(*secs),
            PositiveRule::Label | PositiveRule::Recording => None,
        });
        // Larger ones than an integer holds become the largest.
        within
            .filter(|_| !self.positives.contains(&PositiveRule::Recording))
            .map(|secs| (secs * 1e6).round() as i64)
    }
}

/// The rows of a step into the queue.
pub(super) fn enqueue(queue: Option<&mut Queue>, after: &AfterStep<'_>) -> Result<(), TchError> {
    let (Some(queue), [rows]) = (queue, after.pairs) else { return Ok(()) };
    match after.skip {
        None => queue.push(&rows.rows, &rows.keys),
        Some(skip) => queue.push_unless(skip, &rows.rows, &rows.keys)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{
        MethodConfig, ModelConfig, ProjectorConfig, ScheduledValues, SimclrConfig, SupconConfig,
    };
    use tch::{Device, Kind};

    use super::*;
    use crate::method::{
        GlobalRows, LocalBatch, Method, Statistics, StepContext, StepFacts, Task, Term, build,
    };
    use crate::model::ForwardContext;

    const DIM: usize = 6;

    fn projector() -> ProjectorConfig {
        ProjectorConfig { hidden_dim: 8, out_dim: DIM, ..ProjectorConfig::default() }
    }

    fn simclr(queue_size: usize, exclude_pairs: &[PairExclusion]) -> MethodConfig {
        let exclude_pairs = exclude_pairs.to_vec();
        MethodConfig::Simclr(SimclrConfig {
            projector: projector(),
            queue_size,
            exclude_pairs,
            ..SimclrConfig::default()
        })
    }

    fn supcon(queue_size: usize, exclude_pairs: &[PairExclusion]) -> MethodConfig {
        let exclude_pairs = exclude_pairs.to_vec();
        MethodConfig::Supcon(SupconConfig {
            projector: projector(),
            queue_size,
            exclude_pairs,
            ..SupconConfig::default()
        })
    }

    fn built(config: &MethodConfig) -> (Box<dyn Method>, Parameters) {
        let model = ModelConfig::named("cnn_small").unwrap();
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let method = build(config, &model, &Task::of_classes([1, 16, 16], 3), &mut parameters);
        (method, parameters)
    }

    /// Samples 20, 21 and 22: two of class 1 in one recording, one without label and recording.
    fn targets() -> Targets {
        let targets = Targets::new(vec![20, 21, 22], 9).unwrap().with_positions(4).unwrap();
        let targets = targets.with_classes(vec![1, 1, -1]).unwrap().with_recordings(vec![7, 7, -1]).unwrap();
        targets.with_begins(vec![3, 3, -1], vec![5_000_000, 0, -1]).unwrap()
    }

    fn pairs_of(method: &dyn Method) -> PairTerm {
        let inputs = Tensor::randn([6, 1, 16, 16], (Kind::Double, Device::Cpu));
        let part = LocalBatch::new(2, inputs, targets());
        let mut objective =
            method.objective(&part, &StepContext::alone(ForwardContext::train(None))).unwrap();
        match objective.terms.pop() {
            Some(Term::Pairs(pairs)) => pairs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_have_their_samples_keys_view_by_view() {
        use PairExclusion::{Label, Recording};
        let (simclr, _) = built(&simclr(0, &[Recording, Label]));
        let pairs = pairs_of(&*simclr);
        assert_eq!(pairs.projections.size(), [6, DIM as i64]);
        assert_eq!(pairs.keys.groups, [-5, -6, -7, -5, -6, -7]);
        assert_eq!(pairs.keys.samples, [20, 21, 22, 20, 21, 22]);
        assert_eq!(pairs.keys.excluded, [vec![7, 7, -1, 7, 7, -1], vec![1, 1, -1, 1, 1, -1]]);
        assert!(simclr.queue().is_none());

        let (supcon, _) = built(&supcon(0, &[]));
        let keys = pairs_of(&*supcon).keys;
        assert_eq!(keys.groups, [1, 1, -7, 1, 1, -7]);
        assert_eq!(keys.samples, [20, 21, 22, 20, 21, 22]);
        assert!(keys.excluded.is_empty());
    }

    #[test]
    fn rules_of_positives_are_columns_of_keys() {
        use PositiveRule::{Label, Recording};
        let within = |secs| PositiveRule::WithinSecs { secs };
        let keys = |positives: &[PositiveRule]| PairRules::new(positives, &[]).keys(2, &targets());
        let (own, label) = (vec![-5, -6, -7, -5, -6, -7], vec![1, 1, -7, 1, 1, -7]);
        let recording = vec![7, 7, -7, 7, 7, -7];
        assert_eq!(keys(&[]), PairKeys::new(own.clone(), vec![20, 21, 22, 20, 21, 22]));
        assert_eq!(keys(&[Label]).groups, label);
        assert_eq!(keys(&[Recording]), PairKeys { groups: recording, ..keys(&[]) });
        let both = keys(&[Recording, Label]);
        assert_eq!((both.groups, both.alike), (label, vec![vec![7, 7, -1, 7, 7, -1]]));
        let near = keys(&[within(2.5)]);
        let moments = Nearness {
            recordings: vec![3, 3, -1, 3, 3, -1],
            begins: vec![5_000_000, 0, -1, 5_000_000, 0, -1],
            within: 2_500_000,
        };
        assert_eq!((near.groups, near.near), (own, Some(moments)));
        assert!(keys(&[within(5.0), Recording]).near.is_none(), "what is near is of the recording");
        assert_eq!(keys(&[within(1e300)]).near.unwrap().within, i64::MAX);
        // The queue has the columns of the keys.
        for positives in
            [vec![], vec![Label, Recording], vec![Label, within(1.0)], vec![Label, Recording, within(1.0)]]
        {
            let rules = PairRules::new(&positives, &[PairExclusion::Label]);
            let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
            let mut queue = rules.queue(3, 2, &mut parameters).unwrap();
            queue.push(&Tensor::zeros([6, 2], (Kind::Double, Device::Cpu)), &rules.keys(2, &targets()));
            assert_eq!(queue.len(), 3);
        }
    }

    #[test]
    fn a_queue_is_registered_and_filled_by_choice() {
        for config in [simclr(4, &[PairExclusion::Label]), supcon(4, &[PairExclusion::Recording])] {
            let (mut method, parameters) = built(&config);
            let pairs = pairs_of(&*method);
            assert!(method.queue().unwrap().is_empty());
            let rows = [GlobalRows { rows: pairs.projections.detach(), keys: pairs.keys }];
            let (step, statistics) = (StepFacts::default(), &Statistics::default());
            let values = &ScheduledValues::default();
            method.after_step(&AfterStep { step, values, statistics, pairs: &rows, skip: None }).unwrap();
            assert_eq!(method.queue().unwrap().len(), 4);
            let buffer =
                |name: &str| &parameters.buffers().iter().find(|buffer| buffer.name == name).unwrap().tensor;
            // The last four rows of six: sample 22, then the second views.
            assert!(*buffer("queue.rows") == rows[0].rows.narrow(0, 2, 4));
            assert_eq!(Vec::<i64>::try_from(buffer("queue.samples")).unwrap(), [22, 20, 21, 22]);
            assert_eq!(buffer("queue.len").int64_value(&[]), 4);
            let name = match &config {
                MethodConfig::Simclr(_) => "queue.excluded.label",
                _ => "queue.excluded.recording",
            };
            assert_eq!(buffer(name).size(), [4]);
        }
        let (method, parameters) = built(&supcon(0, &[]));
        assert!(method.queue().is_none());
        assert!(parameters.buffers().iter().all(|buffer| !buffer.name.starts_with("queue")));
    }

    #[test]
    fn half_precision_is_normalized_in_single() {
        let z = Tensor::randn([5, 300], (Kind::Float, Device::Cpu)) * 100.0;
        let unit = super::super::normalize(&z.to_kind(Kind::BFloat16));
        assert_eq!(unit.kind(), Kind::Float);
        let norms = unit.norm_scalaropt_dim(2.0, 1, false);
        assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-6);
    }
}
