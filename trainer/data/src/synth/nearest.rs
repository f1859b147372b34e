//! Nearest neighbours, by which tests ask whether generated labels can be learned at all.

/// Share of `test` whose nearest neighbour in `train` has its label.
pub fn accuracy(train: &[Vec<f32>], train_labels: &[u8], test: &[Vec<f32>], test_labels: &[u8]) -> f64 {
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>();
    let right = test.iter().zip(test_labels).filter(|(sample, label)| {
        let nearest = train
            .iter()
            .zip(train_labels)
            .min_by(|(a, _), (b, _)| distance(a, sample).total_cmp(&distance(b, sample)));
        nearest.is_some_and(|(_, found)| found == *label)
    });
    right.count() as f64 / test.len() as f64
}
