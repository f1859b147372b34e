//! Few-shot classification of classes that were held out of training: n classes, k labelled samples of each, and questions
//! about others of their samples, in many episodes. The classifier is the nearest class mean of L2-normalized embeddings:
//! Snell et al. 2017, "Prototypical Networks for Few-shot Learning" (arXiv 1703.05175), as Wang et al. 2019, "SimpleShot"
//! (arXiv 1911.04623), use it on frozen features (L2N). Departure: nothing is centred by the mean of the training classes
//! (CL2N). Mean and 95 % interval over episodes are as both report them, mean ± 1.96 standard errors.
//!
//! An episode is a function of the seed and its number. Ranks share the episodes, and each has all embeddings.

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::FewShotConfig;
use dtrain_data::{Dataset, LabelColumn, evaluation_batches};
use tch::{Kind, Tensor};

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::interval::Z;
use super::parts::HELD_OUT;
use super::{Evaluation, Interval, Labelled, Thoroughness, embed_part};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;

/// What few labelled samples of new classes are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FewShot {
    /// Classes of an episode.
    pub ways: usize,
    /// Labelled samples of each.
    pub shots: usize,
    /// Episodes.
    pub episodes: usize,
    /// Accuracy, a mean over episodes.
    pub accuracy: f64,
    /// Of that mean; `None` for a single episode.
    pub interval: Option<Interval>,
}

/// Classifies the classes that are held out, where an evaluation is in full.
pub(super) struct FewShots<'a> {
    config: &'a FewShotConfig,
    seed: u64,
    label: Option<&'a LabelColumn>,
    ids: &'a [u32],
    done: bool,
}

impl<'a> FewShots<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let dataset: &'a Dataset = subject.dataset;
        let ids = dataset.part(HELD_OUT).filter(|_| subject.config.embeddings).unwrap_or_default();
        Self {
            config: &subject.config.few_shot,
            seed: subject.losses.seed,
            label: dataset.label(subject.losses.columns.target),
            ids,
            done: false,
        }
    }

    fn ways(&self) -> usize {
        let held_out =
            self.label.map_or(0, |label| label.counts(self.ids).iter().filter(|&&n| n > 0).count());
        self.config.ways.min(held_out)
    }
}

/// Of the figure for `ways` classes with `shots` samples each.
fn name(ways: usize, shots: usize) -> String {
    format!("{HELD_OUT}/fewshot_{ways}way_{shots}shot")
}

impl Evaluator for FewShots<'_> {
    fn metrics(&self, _: &str, thoroughness: Thoroughness) -> Vec<String> {
        if !thoroughness.train || self.ids.is_empty() {
            return Vec::new();
        }
        let ways = self.ways();
        self.config.shots.values().iter().map(|&shots| name(ways, shots)).collect()
    }

    /// Nothing: it reads the part of the classes that are held out by itself.
    fn asks(&self, _: Role, _: Thoroughness) -> Asks {
        Asks::default()
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        let Some(label) = self.label.filter(|_| read.thoroughness.train && !self.ids.is_empty()) else {
            return Ok(Vec::new());
        };
        // Once, whatever the number of parts.
        if std::mem::replace(&mut self.done, true) {
            return Ok(Vec::new());
        }
        let collective = &**read.engine.collective();
        let embeddings = embed_part(read.engine, read.reading, self.ids)?;
        let rows = embeddings.labelled(label)?;
        let per_rank = collective.all_gather_usize(rows.classes.len())?;
        let all = Labelled {
            embeddings: gather_rows(collective, &rows.embeddings.f_to_kind(Kind::Float)?, &per_rank)?,
            classes: gather_i64(collective, &rows.classes, &per_rank)?,
            ids: gather_i64(collective, &rows.ids, &per_rank)?,
        };
        let world = collective.world();
        for &shots in self.config.shots.values() {
            let task = Episodes::new(&all, self.config, shots, self.seed)?;
            let mut accuracies = vec![0.0; self.config.episodes];
            for (episode, accuracy) in accuracies.iter_mut().enumerate() {
                if episode % world.world_size == world.rank {
                    *accuracy = task.accuracy(episode as u64)?;
                }
            }
            // The others' are 0 here, so that the sums have no rounding.
            collective.sum_f64(&mut accuracies)?;
            let found = FewShot::of(task.ways, shots, &accuracies);
            evaluation.metrics.insert(name(found.ways, shots), found.accuracy);
            evaluation.few_shot.push(found);
        }
        Ok(embeddings.left_out)
    }
}

impl FewShot {
    fn of(ways: usize, shots: usize, accuracies: &[f64]) -> Self {
        let n = accuracies.len() as f64;
        let mean = accuracies.iter().sum::<f64>() / n;
        let squares: f64 = accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum();
        let half = Z * (squares / (n - 1.0) / n).sqrt();
        let interval = half.is_finite().then_some(Interval { low: mean - half, high: mean + half });
        Self { ways, shots, episodes: accuracies.len(), accuracy: mean, interval }
    }
}

/// Episodes over rows of embeddings.
struct Episodes {
    /// `[n, D]`, of length 1 each.
    units: Tensor,
    /// Rows of each class that is held out, in the order of their samples' ids.
    rows: Vec<Vec<u32>>,
    ways: usize,
    shots: usize,
    queries: usize,
    seed: u64,
}

impl Episodes {
    /// A class that lacks a sample for a question, because some could not be read, takes no part.
    fn new(all: &Labelled, config: &FewShotConfig, shots: usize, seed: u64) -> Result<Self, TrainError> {
        let mut order: Vec<(i64, i64, u32)> = (0u32..)
            .zip(all.classes.iter().zip(&all.ids))
            .map(|(row, (&class, &id))| (class, id, row))
            .collect();
        order.sort_unstable();
        let of_class = order.chunk_by(|a, b| a.0 == b.0).filter(|rows| rows.len() > shots);
        let rows: Vec<Vec<u32>> = of_class.map(|rows| rows.iter().map(|(.., row)| *row).collect()).collect();
        let ways = config.ways.min(rows.len());
        if ways < 2 {
            return Err(TrainError::config(
                format!("fewer than 2 held-out classes have {} samples that can be read", shots + 1),
                "lower `eval.few_shot.shots`; `trainer.limit_eval_samples` makes them fewer too",
            ));
        }
        let norms = all.embeddings.f_norm_scalaropt_dim(2, [1], true)?;
        let units = all.embeddings.f_div(&norms.f_clamp_min(1e-12)?)?;
        Ok(Self { units, rows, ways, shots, queries: config.queries, seed })
    }

    /// An order of `items` of its own for each episode and class.
    fn shuffled(&self, items: &[u32], episode: u64, class: u64) -> Vec<u32> {
        let seed = self.seed ^ (episode << 24) ^ (class + 1);
        evaluation_batches(items, items.len(), seed).concat()
    }

    /// Share of right answers in an episode.
    fn accuracy(&self, episode: u64) -> Result<f64, TrainError> {
        let classes: Vec<u32> = (0..self.rows.len() as u32).collect();
        let (mut support, mut queries, mut truth) = (Vec::new(), Vec::new(), Vec::new());
        let chosen = self.shuffled(&classes, episode, u64::from(u32::MAX));
        for (way, class) in (0i64..).zip(chosen.into_iter().take(self.ways)) {
            let Some(rows) = self.rows.get(class as usize) else { continue };
            let mut rows = self.shuffled(rows, episode, u64::from(class)).into_iter().map(i64::from);
            support.extend(rows.by_ref().take(self.shots));
            let asked: Vec<i64> = rows.take(self.queries).collect();
            truth.extend(vec![way; asked.len()]);
            queries.extend(asked);
        }
        let pick = |rows: &[i64]| self.units.f_index_select(0, &Tensor::from_slice(rows));
        let width = self.units.size().get(1).copied().unwrap_or(0);
        let support = pick(&support)?.f_view([self.ways as i64, self.shots as i64, width])?;
        let means = support.f_mean_dim([1i64].as_slice(), false, Kind::Float)?;
        // The nearest mean m of a query q has the largest 2 q m - m m.
        let lengths = means.f_square()?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        let nearness =
            pick(&queries)?.f_matmul(&means.transpose(0, 1))?.f_mul_scalar(2.0)?.f_sub(&lengths)?;
        let winners = Vec::<i64>::try_from(nearness.f_argmax(1, false)?)?;
        let right = winners.iter().zip(&truth).filter(|(winner, truth)| winner == truth).count();
        Ok(right as f64 / truth.len().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ways: usize, queries: usize) -> FewShotConfig {
        FewShotConfig { ways, queries, ..FewShotConfig::default() }
    }

    /// `per_class` samples of each class around its direction.
    fn blobs(num_classes: i64, per_class: i64, noise: f64) -> Labelled {
        tch::manual_seed(3);
        let n = num_classes * per_class;
        let classes: Vec<i64> = (0..n).map(|i| i % num_classes).collect();
        let centres = Tensor::eye(num_classes, (Kind::Float, tch::Device::Cpu)) * 5.0;
        let spread = Tensor::randn([n, num_classes], (Kind::Float, tch::Device::Cpu)) * noise;
        let embeddings = centres.index_select(0, &Tensor::from_slice(&classes)) + spread;
        Labelled { embeddings, classes, ids: (100..100 + n).collect() }
    }

    /// The nearest mean, one distance at a time.
    fn naive(task: &Episodes, episode: u64) -> f64 {
        let rows = Vec::<Vec<f32>>::try_from(&task.units).unwrap();
        let classes: Vec<u32> = (0..task.rows.len() as u32).collect();
        let chosen = task.shuffled(&classes, episode, u64::from(u32::MAX));
        let drawn: Vec<Vec<u32>> = chosen[..task.ways]
            .iter()
            .map(|&class| task.shuffled(&task.rows[class as usize], episode, u64::from(class)))
            .collect();
        let width = rows[0].len();
        let mean = |rows_of: &[u32], d: usize| {
            rows_of.iter().map(|&row| f64::from(rows[row as usize][d])).sum::<f64>() / rows_of.len() as f64
        };
        let (mut right, mut total) = (0, 0);
        for (way, of_class) in drawn.iter().enumerate() {
            for &query in of_class[task.shots..].iter().take(task.queries) {
                let distance = |way: &usize| -> f64 {
                    let off = |d| f64::from(rows[query as usize][d]) - mean(&drawn[*way][..task.shots], d);
                    (0..width).map(|d| off(d) * off(d)).sum()
                };
                let nearest = (0..task.ways).min_by(|a, b| distance(a).total_cmp(&distance(b)));
                right += usize::from(nearest == Some(way));
                total += 1;
            }
        }
        right as f64 / total as f64
    }

    #[test]
    fn episodes_are_those_of_the_definition() {
        let all = blobs(6, 9, 3.0);
        for (ways, shots, queries) in [(5, 1, 15), (3, 5, 2), (50, 8, 15)] {
            let task = Episodes::new(&all, &config(ways, queries), shots, 11).unwrap();
            assert_eq!(task.ways, ways.min(6));
            for episode in 0..20 {
                assert_eq!(task.accuracy(episode).unwrap(), naive(&task, episode), "episode {episode}");
            }
        }
    }

    #[test]
    fn more_shots_help_and_episodes_differ() {
        let all = blobs(6, 30, 2.0);
        let mean = |shots| {
            let task = Episodes::new(&all, &config(5, 15), shots, 11).unwrap();
            let accuracies: Vec<f64> = (0..100).map(|episode| task.accuracy(episode).unwrap()).collect();
            assert!(accuracies.windows(2).any(|pair| pair[0] != pair[1]));
            FewShot::of(5, shots, &accuracies)
        };
        let (one, ten) = (mean(1), mean(10));
        assert!(
            one.accuracy > 0.2 && ten.interval.unwrap().low > one.interval.unwrap().high,
            "{one:?} {ten:?}"
        );
    }

    #[test]
    fn the_interval_is_that_of_a_mean() {
        let found = FewShot::of(5, 1, &[0.2, 0.4, 0.6]);
        let Interval { low, high } = found.interval.unwrap();
        let half = 1.959_964 * 0.2 / 3f64.sqrt();
        assert!((low - (0.4 - half)).abs() < 1e-6 && (high - (0.4 + half)).abs() < 1e-6);
        assert_eq!(FewShot::of(5, 1, &[0.2]).interval, None);
    }

    #[test]
    fn classes_without_a_sample_to_ask_about_are_refused() {
        let all = blobs(3, 4, 1.0);
        let error = Episodes::new(&all, &config(3, 15), 4, 1).err().unwrap().to_string();
        assert!(error.contains("fewer than 2 held-out classes have 5 samples"), "{error}");
    }
}
