//! Runs on a part of the data: quick looks, and the test that a network can learn a few samples by heart.

use dtrain_configs::schema::TrainerConfig;
use dtrain_data::{Dataset, spread};

/// Cuts the parts down to what the settings ask for. Copies that a user has corrected stay: `data.corrections.size` says how many
/// there are.
pub(super) fn limit(dataset: &mut Dataset, config: &TrainerConfig) {
    let cut = |ids: &mut Vec<u32>, most: Option<usize>| {
        if let Some(most) = most {
            *ids = spread(ids, most).into_owned();
        }
    };
    let first_copy = dataset.num_samples() - dataset.num_copies();
    let copies = dataset.train.partition_point(|&id| (id as usize) < first_copy);
    let copies = dataset.train.split_off(copies);
    cut(&mut dataset.train, config.limit_train_samples);
    dataset.train.extend(copies);
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
