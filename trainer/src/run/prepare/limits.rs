//! Runs on a part of the data: quick looks, and the test that a network can learn a few samples by heart.

use dtrain_configs::schema::TrainerConfig;
use dtrain_data::{Dataset, spread};

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
    for part in &mut dataset.own_parts {
        cut(&mut part.ids, config.limit_eval_samples);
    }
}
