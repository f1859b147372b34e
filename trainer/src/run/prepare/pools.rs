//! Pools of the settings as samples of the train part.

use dtrain_configs::RunConfig;
use dtrain_configs::choice_hint;
use dtrain_configs::schema::PoolConfig;
use dtrain_data::{Dataset, PoolShare};

use crate::error::TrainError;

/// The samples of each of `data.pools`, of those in `ids`.
///
/// # Errors
/// A label or a value that the data do not have.
pub(super) fn shares(
    config: &RunConfig,
    dataset: &Dataset,
    ids: &[u32],
) -> Result<Vec<PoolShare>, TrainError> {
    let share = |(index, pool): (usize, &PoolConfig)| {
        let PoolConfig { label: name, values, count } = pool;
        let key = format!("data.pools[{index}]");
        let Some(label) = dataset.label(name) else {
            let known = dataset.labels.iter().map(|label| label.name.as_str());
            return Err(TrainError::config(
                format!("`{key}.label` names `{name}`, which is not a label of `{}`", config.data.name),
                choice_hint(name, known),
            ));
        };
        let class = |value: &String| {
            label.classes.iter().position(|class| class == value).ok_or_else(|| {
                TrainError::config(
                    format!("`{key}.values` names `{value}`, which no sample has as its `{name}`"),
                    choice_hint(value, label.classes.iter().map(String::as_str)),
                )
            })
        };
        let classes = values.iter().map(class).collect::<Result<Vec<usize>, _>>()?;
        let is_of_it = |id: &u32| {
            let own = label.of_sample.get(*id as usize).copied().flatten();
            own.is_some_and(|own| classes.contains(&(own as usize)))
        };
        let ids = ids.iter().copied().filter(is_of_it).collect();
        Ok(PoolShare { name: format!("{name}={}", values.join("|")), ids, count: *count })
    };
    config.data.pools.iter().enumerate().map(share).collect()
}
