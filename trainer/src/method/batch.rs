//! What a method is given: views of samples, and what is known about the samples.

use std::ops::Range;

use tch::{TchError, Tensor};

use super::Targets;
use crate::batch::ViewGroup;

/// This rank's samples of a global batch, or a part of them.
#[derive(Debug)]
pub struct LocalBatch {
    /// One entry for each shape of view; every method has the first.
    groups: Vec<ViewGroup>,
    /// What the method may know about the samples.
    pub targets: Targets,
}

impl LocalBatch {
    /// Views of one shape: `inputs` is `[num_views * n, ...]`, view-major.
    pub fn new(num_views: u32, inputs: Tensor, targets: Targets) -> Self {
        Self { groups: vec![ViewGroup::new(num_views, inputs)], targets }
    }

    /// The views of `groups`, of which there is one at least, as the loader has them.
    ///
    /// # Errors
    /// There is none.
    pub fn of_groups(groups: Vec<ViewGroup>, targets: Targets) -> Result<Self, TchError> {
        match groups.is_empty() {
            true => Err(TchError::Shape("a batch without a group of views".into())),
            false => Ok(Self { groups, targets }),
        }
    }

    /// The same samples with views of another shape besides.
    #[must_use]
    pub fn with(mut self, group: ViewGroup) -> Self {
        self.groups.push(group);
        self
    }

    /// Samples.
    pub fn num_samples(&self) -> usize {
        self.targets.num_samples()
    }

    /// Views of every shape.
    pub fn groups(&self) -> &[ViewGroup] {
        &self.groups
    }

    /// The rows of the first group, `[num_views * n, ...]`.
    pub fn inputs(&self) -> &Tensor {
        &self.groups[0].rows
    }

    /// The samples `range`, all of their views; a copy, unless these are all samples.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn narrow(&self, range: &Range<usize>) -> Result<Self, TchError> {
        let n = self.num_samples();
        let groups = self.groups.iter().map(|group| group.narrow(range, n)).collect::<Result<_, _>>()?;
        Ok(Self { groups, targets: self.targets.narrow(range) })
    }
}

#[cfg(test)]
mod tests {
    use dtrain_data::Values;
    use tch::{Device, Kind};

    use super::*;

    /// Views of two shapes: in each group a row is `100 view + sample`.
    fn batch(n: i64) -> LocalBatch {
        let rows = |views: i64, width: i64| {
            let views = Tensor::arange(views, (Kind::Int64, Device::Cpu)).unsqueeze(1) * 100;
            let samples = Tensor::arange(n, (Kind::Int64, Device::Cpu)).unsqueeze(0);
            (views + samples).view([-1, 1]).expand([-1, width], false).contiguous()
        };
        let targets = Targets::new((0..n).collect(), n as u64).unwrap();
        let mut small = ViewGroup::new(4, rows(4, 2));
        let drawn = Vec::try_from(small.rows.select(1, 0)).unwrap();
        small.drawn.put("shift", 1, Values::I64(drawn)).unwrap();
        LocalBatch::new(2, rows(2, 3), targets).with(small)
    }

    #[test]
    fn a_part_has_the_same_samples_in_every_group() {
        for range in [0..5, 1..4, 4..5, 2..2] {
            let part = batch(5).narrow(&range).unwrap();
            assert_eq!(part.targets.sample_ids(), range.clone().map(|i| i as i64).collect::<Vec<_>>());
            for (group, (views, width)) in part.groups().iter().zip([(2, 3), (4, 2)]) {
                let expected: Vec<i64> =
                    (0..views).flat_map(|v| range.clone().map(move |i| 100 * v + i as i64)).collect();
                assert_eq!(group.rows.size(), [expected.len() as i64, width]);
                assert_eq!(Vec::<i64>::try_from(group.rows.select(1, 0)).unwrap(), expected);
                assert_eq!(group.drawn.num_rows(), expected.len());
                assert!(group.drawn.i64("shift").is_none_or(|drawn| drawn == expected));
            }
        }
    }
}
