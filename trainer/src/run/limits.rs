//! Runs on a part of the data: quick looks, and the test that a network can learn a few samples by heart.

use std::borrow::Cow;

use dtrain_configs::schema::TrainerConfig;

use crate::data::Dataset;

/// At most `most` of `ids`, evenly spaced: ids follow paths, and the first ones would be of a few classes.
pub fn spread(ids: &[u32], most: usize) -> Cow<'_, [u32]> {
    if ids.len() <= most {
        return Cow::Borrowed(ids);
    }
    (0..most).filter_map(|i| ids.get(i * ids.len() / most).copied()).collect()
}

/// Cuts the parts down to what the settings ask for.
pub(super) fn limit(dataset: &mut Dataset, config: &TrainerConfig) {
    let cut = |ids: &mut Vec<u32>, most: Option<usize>| {
        if let Some(most) = most {
            *ids = spread(ids, most).into_owned();
        }
    };
    cut(&mut dataset.train, config.limit_train_samples);
    if config.overfit {
        dataset.val = dataset.train.clone();
        dataset.test = dataset.train.clone();
    }
    cut(&mut dataset.val, config.limit_eval_samples);
    cut(&mut dataset.test, config.limit_eval_samples);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_look_spreads_over_all_samples() {
        let ids: Vec<u32> = (0..10).collect();
        assert_eq!(*spread(&ids, 4), [0, 2, 5, 7]);
        assert_eq!(*spread(&ids, 10), ids);
        assert!(spread(&ids, 0).is_empty());
    }
}
