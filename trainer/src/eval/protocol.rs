//! How a label can be asked for. Classes that the training part has too are transferred from it; classes that live in
//! one part only, such as recordings when the split goes by recording, are asked for within that part.

use dtrain_comm::{Collective, CollectiveExt};
use tch::Tensor;

use super::Labelled;
use crate::engine::gather_i64;
use crate::error::TrainError;

/// Where the answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// From the training part.
    Transfer,
    /// From the other samples of the same part: kNN leaves one sample out; the linear probe learns on every other
    /// sample of a class and is asked for the rest.
    WithinPart,
}

/// What guessing reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baselines {
    /// One over the number of classes that are asked for.
    pub chance: f64,
    /// Always the most frequent class of the part.
    pub majority: f64,
}

/// Samples per class over all ranks.
pub struct ClassCounts {
    train: Vec<f64>,
    queries: Vec<f64>,
}

/// Counts both parts over all ranks.
pub fn count_classes(
    collective: &dyn Collective,
    train: &[i64],
    queries: &[i64],
    num_classes: usize,
) -> Result<ClassCounts, TrainError> {
    let mut counts = vec![0.0; 2 * num_classes];
    for (offset, classes) in [(0, train), (num_classes, queries)] {
        for class in classes {
            if let Some(count) = counts.get_mut(offset + *class as usize) {
                *count += 1.0;
            }
        }
    }
    collective.sum_f64(&mut counts)?;
    let queries = counts.split_off(num_classes);
    Ok(ClassCounts { train: counts, queries })
}

impl ClassCounts {
    /// Transfer if most of the questions are about classes that the training part has.
    pub fn protocol(&self) -> Protocol {
        let asked: f64 = self.queries.iter().sum();
        let known: f64 =
            self.train.iter().zip(&self.queries).filter(|(t, _)| **t > 0.0).map(|(_, q)| q).sum();
        if known * 2.0 >= asked { Protocol::Transfer } else { Protocol::WithinPart }
    }

    /// Samples of each class that the answers come from.
    pub fn answering(&self, protocol: Protocol) -> &[f64] {
        match protocol {
            Protocol::Transfer => &self.train,
            Protocol::WithinPart => &self.queries,
        }
    }

    /// Samples of each class that are asked about.
    pub fn asked(&self) -> &[f64] {
        &self.queries
    }

    /// Chance and majority over the classes that are asked for.
    pub fn baselines(&self) -> Baselines {
        Baselines::of(&self.queries)
    }
}

impl Baselines {
    /// Of questions counted by their class.
    pub fn of(counts: &[f64]) -> Self {
        let classes = counts.iter().filter(|count| **count > 0.0).count();
        let total: f64 = counts.iter().sum();
        let largest = counts.iter().copied().fold(0.0, f64::max);
        Self { chance: 1.0 / classes as f64, majority: largest / total }
    }
}

/// Every other sample of each class (by id, over all ranks) in the first half, the rest in the second.
pub fn halves(collective: &dyn Collective, rows: &Labelled) -> Result<(Labelled, Labelled), TrainError> {
    hold_out(collective, rows, 2)
}

/// Holds out every `nth` sample of each class (by id, over all ranks): the others, then those.
pub fn hold_out(
    collective: &dyn Collective,
    rows: &Labelled,
    nth: usize,
) -> Result<(Labelled, Labelled), TrainError> {
    let per_rank = collective.all_gather_usize(rows.ids.len())?;
    let ids = gather_i64(collective, &rows.ids, &per_rank)?;
    let classes = gather_i64(collective, &rows.classes, &per_rank)?;
    let mut order: Vec<(i64, i64)> = classes.into_iter().zip(ids).collect();
    order.sort_unstable();
    let mut second = std::collections::HashSet::new();
    let (mut previous, mut place) = (None, 0);
    for (class, id) in order {
        place = if previous == Some(class) { place + 1 } else { 1 };
        previous = Some(class);
        if place % nth == 0 {
            second.insert(id);
        }
    }
    let pick = |wanted: bool| {
        let at: Vec<usize> = (0..rows.ids.len())
            .filter(|&i| rows.ids.get(i).is_some_and(|id| second.contains(id) == wanted))
            .collect();
        let index: Vec<i64> = at.iter().map(|&i| i as i64).collect();
        let column = |values: &[i64]| at.iter().filter_map(|&i| values.get(i).copied()).collect::<Vec<i64>>();
        Labelled {
            embeddings: rows.embeddings.index_select(0, &Tensor::from_slice(&index)),
            classes: column(&rows.classes),
            ids: column(&rows.ids),
        }
    };
    Ok((pick(false), pick(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtrain_comm::Single;

    #[test]
    fn halves_split_every_class_by_id() {
        let rows = Labelled {
            embeddings: Tensor::arange(5, (tch::Kind::Float, tch::Device::Cpu)).view([5, 1]),
            classes: vec![0, 1, 0, 0, 1],
            ids: vec![10, 11, 12, 13, 14],
        };
        let (first, second) = halves(&Single::new(), &rows).unwrap();
        assert_eq!(first.ids, [10, 11, 13]);
        assert_eq!(second.ids, [12, 14]);
        assert_eq!(Vec::<f32>::try_from(second.embeddings.flatten(0, 1)).unwrap(), [2.0, 4.0]);
        let (rest, third) = hold_out(&Single::new(), &rows, 3).unwrap();
        assert_eq!((rest.ids, third.ids), (vec![10, 11, 12, 14], vec![13]));
    }

    #[test]
    fn unknown_classes_are_asked_within_their_part() {
        let counts = count_classes(&Single::new(), &[0, 0, 1], &[2, 2, 3], 4).unwrap();
        assert_eq!(counts.protocol(), Protocol::WithinPart);
        let counts = count_classes(&Single::new(), &[0, 0, 1], &[0, 1, 1], 4).unwrap();
        assert_eq!(counts.protocol(), Protocol::Transfer);
        assert_eq!(counts.baselines(), Baselines { chance: 0.5, majority: 2.0 / 3.0 });
    }
}
