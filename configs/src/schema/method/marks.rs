//! Values that a loss is known to have before anything is trained: that of a network that tells nothing, and the smallest one
//! there is.

/// A global batch, as far as a loss depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFacts {
    /// Samples of each target class that the batch holds.
    pub class_counts: Vec<usize>,
    /// Samples without a target label.
    pub unlabelled: usize,
    /// Classes that the target has.
    pub num_classes: usize,
}

impl BatchFacts {
    /// Samples of all classes and of none.
    pub fn num_samples(&self) -> usize {
        self.class_counts.iter().sum::<usize>() + self.unlabelled
    }
}

/// What is known of the loss of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossMarks {
    /// Of a network that gives all samples the same answer.
    pub chance: Option<f64>,
    /// The smallest that a network can reach, where it is not zero and nearing it teaches nothing any more.
    pub minimum: Option<f64>,
}

/// What a method puts out as a probability distribution, without labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntropyFacts {
    /// The mean entropy of the output among the method's figures, without `train/`.
    pub metric: &'static str,
    /// Classes of the distribution.
    pub num_classes: usize,
}

/// Marks of a contrastive loss over `num_views` rows of each sample whose positives are the other rows of its group, given the
/// samples of each group, the temperature and the rows of a memory queue.
///
/// Where all rows are the same, each anchor's softmax is uniform over the other rows. The minimum has each group in one point and
/// the points of G groups at the corners of a regular simplex, cosine -1/(G - 1) apart; an anchor with r rows in its group out of
/// M then has loss `ln(r - 1 + (M - r) exp(-(1 + 1/(G - 1)) / t))`. With single samples this is NT-Xent's
/// `ln(1 + (2N - 2) exp(-(1 + 1/(N - 1)) / t))`. Graf et al., "Dissecting Supervised Contrastive Learning" (2021), theorem 2,
/// which holds for groups of one size; for others the mean over anchors stands in, from which the true minimum hardly differs. In
/// fewer than G - 1 dimensions there is no such simplex, and the loss stays above.
pub(super) fn of_contrast(
    samples_of_groups: &[usize],
    num_views: u32,
    temperature: f64,
    queue_size: usize,
) -> LossMarks {
    let views = f64::from(num_views);
    let rows: f64 = samples_of_groups.iter().map(|&samples| samples as f64 * views).sum();
    let others = rows - 1.0 + queue_size as f64;
    let chance = (others > 1.0).then(|| others.ln());
    let groups = samples_of_groups.len() as f64;
    if queue_size > 0 || groups < 2.0 {
        return LossMarks { chance, minimum: None };
    }
    let apart = (-(1.0 + 1.0 / (groups - 1.0)) / temperature).exp();
    let sum: f64 = samples_of_groups
        .iter()
        .map(|&samples| samples as f64 * views)
        .map(|own| own * (own - 1.0 + (rows - own) * apart).ln())
        .sum();
    LossMarks { chance, minimum: Some(sum / rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss by its definition (SupCon's "out" form), from the cosines of all pairs of rows.
    fn loss(group_of: &[usize], cosine: impl Fn(usize, usize) -> f64, temperature: f64) -> f64 {
        let rows = group_of.len();
        let of_anchor = |i: usize| {
            let others = (0..rows).filter(|&j| j != i);
            let sum: f64 = others.clone().map(|j| (cosine(i, j) / temperature).exp()).sum();
            let positives: Vec<usize> = others.filter(|&j| group_of[j] == group_of[i]).collect();
            let mean: f64 = positives.iter().map(|&j| cosine(i, j)).sum::<f64>() / positives.len() as f64;
            sum.ln() - mean / temperature
        };
        (0..rows).map(of_anchor).sum::<f64>() / rows as f64
    }

    fn rows_of(samples: &[usize], views: usize) -> Vec<usize> {
        samples.iter().enumerate().flat_map(|(group, &n)| vec![group; n * views]).collect()
    }

    #[test]
    fn marks_are_the_loss_of_a_point_and_of_a_simplex() {
        for (samples, temperature) in
            [(vec![1; 2], 0.5), (vec![1; 8], 0.1), (vec![3; 4], 0.07), (vec![2, 2, 2], 0.5)]
        {
            let group_of = rows_of(&samples, 2);
            let apart = -1.0 / (samples.len() as f64 - 1.0);
            let marks = of_contrast(&samples, 2, temperature, 0);
            let collapsed = loss(&group_of, |_, _| 1.0, temperature);
            let simplex = |i: usize, j: usize| if group_of[i] == group_of[j] { 1.0 } else { apart };
            let least = loss(&group_of, simplex, temperature);
            assert!((marks.chance.unwrap() - collapsed).abs() < 1e-9, "{samples:?}");
            assert!((marks.minimum.unwrap() - least).abs() < 1e-9, "{samples:?}");
        }
    }

    #[test]
    fn nt_xent_has_the_minimum_of_its_formula() {
        let (n, t) = (128.0_f64, 0.1);
        let expected = (1.0 + (2.0 * n - 2.0) * (-(1.0 + 1.0 / (n - 1.0)) / t).exp()).ln();
        let minimum = of_contrast(&[1; 128], 2, t, 0).minimum.unwrap();
        assert!((minimum - expected).abs() < 1e-12 && minimum > 0.009, "{minimum} and {expected}");
    }

    /// No arrangement of groups of unequal size that gradient descent finds is better by more than a few percent.
    #[test]
    fn unequal_groups_are_nearly_bounded() {
        let (samples, t) = (vec![1, 2, 3], 0.5);
        let group_of = rows_of(&samples, 2);
        let minimum = of_contrast(&samples, 2, t, 0).minimum.unwrap();
        // Three points on a circle: the angles of the second and third against the first.
        let mut best = f64::INFINITY;
        for a in 0..180 {
            for b in 0..180 {
                let angles = [0.0, f64::from(a) * 2.0, f64::from(b) * 2.0].map(f64::to_radians);
                let cosine = |i: usize, j: usize| (angles[group_of[i]] - angles[group_of[j]]).cos();
                best = best.min(loss(&group_of, cosine, t));
            }
        }
        assert!((minimum - best).abs() < 0.03 * best, "{minimum} and {best}");
    }

    #[test]
    fn a_queue_or_a_single_group_has_no_minimum_that_is_known() {
        assert_eq!(of_contrast(&[1; 4], 2, 0.1, 8), LossMarks { chance: Some(15.0_f64.ln()), minimum: None });
        assert_eq!(of_contrast(&[4], 2, 0.1, 0).minimum, None);
        assert_eq!(of_contrast(&[], 2, 0.1, 0), LossMarks::default());
    }
}
