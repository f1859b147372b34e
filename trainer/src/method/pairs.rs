//! What the methods with a pair loss share: the keys of their rows, and the memory queue by the settings.

use dtrain_configs::schema::PairExclusion;
use tch::Tensor;

use super::Targets;
use crate::loss::contrastive::{PairKeys, Queue};
use crate::model::parameters::Parameters;

/// Views of a sample that are compared.
pub(super) const NUM_VIEWS: u32 = 2;

/// Rows of the pair loss.
#[derive(Debug)]
pub struct PairBatch {
    /// Normalized projections with graph, `[num_views * n, D]`.
    pub projections: Tensor,
    /// What decides about their pairs, `num_views * n` rows.
    pub keys: PairKeys,
}

/// The group of a sample that has positives among its own views only. It holds within the batch.
pub(super) fn own_group(position: i64) -> i64 {
    -1 - position
}

/// Keys of all views, given the group of each sample.
pub(super) fn keys(groups: &[i64], targets: &Targets, exclusions: &[PairExclusion]) -> PairKeys {
    let views = |column: &[i64]| column.repeat(NUM_VIEWS as usize);
    let excluded = exclusions.iter().map(|exclusion| match exclusion {
        PairExclusion::Recording => views(&targets.recordings),
        PairExclusion::Label => views(&targets.classes),
    });
    PairKeys { groups: views(groups), samples: views(&targets.sample_ids), excluded: excluded.collect() }
}

/// The queue, registered under `queue`; `None` where `size` is 0.
pub(super) fn queue(
    size: usize,
    dim: usize,
    exclusions: &[PairExclusion],
    parameters: &mut Parameters,
) -> Option<Queue> {
    let names: Vec<&str> = exclusions
        .iter()
        .map(|exclusion| match exclusion {
            PairExclusion::Recording => "recording",
            PairExclusion::Label => "label",
        })
        .collect();
    (size > 0).then(|| parameters.scope("queue", |scope| Queue::new(size, dim, &names, scope)))
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{
        MethodConfig, ModelConfig, ModelName, ProjectorConfig, SimclrConfig, SupconConfig,
    };
    use tch::{Device, Kind};

    use super::*;
    use crate::method::{Method, Objective, Task, build};
    use crate::model::Pass;

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
        let model = ModelConfig { name: ModelName::CnnSmall, ..ModelConfig::default() };
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let method = build(config, &model, &Task::of_classes(1, 3), &mut parameters);
        (method, parameters)
    }

    /// Samples 20, 21 and 22: two of class 1 in one recording, one without label and recording.
    fn targets() -> Targets {
        Targets {
            sample_ids: vec![20, 21, 22],
            classes: vec![1, 1, -1],
            labels: vec![vec![0, 2, 1]],
            recordings: vec![7, 7, -1],
            positions: vec![4, 5, 6],
            global_samples: 9,
        }
    }

    fn pairs_of(method: &dyn Method) -> PairBatch {
        let inputs = Tensor::randn([6, 1, 16, 16], (Kind::Double, Device::Cpu));
        match method.objective(&inputs, &targets(), &Pass::train(None)).unwrap() {
            Objective::Pairs(pairs) => pairs,
            Objective::Direct(_) => panic!("a direct loss"),
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
    fn a_queue_is_registered_and_filled_by_choice() {
        for config in [simclr(4, &[PairExclusion::Label]), supcon(4, &[PairExclusion::Recording])] {
            let (mut method, parameters) = built(&config);
            let pairs = pairs_of(&*method);
            assert!(method.queue().unwrap().is_empty());
            method.enqueue(&pairs.projections, &pairs.keys);
            assert_eq!(method.queue().unwrap().len(), 4);
            let buffer =
                |name: &str| &parameters.buffers().iter().find(|buffer| buffer.name == name).unwrap().tensor;
            // The last four rows of six: sample 22, then the second views.
            assert!(*buffer("queue.rows") == pairs.projections.detach().narrow(0, 2, 4));
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
    fn a_part_of_the_targets_is_a_part_of_every_column() {
        let part = targets().narrow(&(1..3));
        assert_eq!(part.sample_ids, [21, 22]);
        assert_eq!(part.classes, [1, -1]);
        assert_eq!(part.labels, [[2, 1]]);
        assert_eq!(part.recordings, [7, -1]);
        assert_eq!(part.positions, [5, 6]);
        assert_eq!(part.global_samples, 9);
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
