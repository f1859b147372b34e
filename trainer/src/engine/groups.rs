//! Which group of the optimizer each parameter belongs to. A group may be scattered over the flat buffers: an update moves the
//! stretches of each group with one fused call, as it does those that decay and those that do not.

use dtrain_configs::schema::GroupConfig;

use super::flat::Flat;
use crate::model::freeze::is_below;

/// Index of the first group whose patterns cover a name; `None`: none does.
pub fn group_of(groups: &[GroupConfig], name: &str) -> Option<usize> {
    groups.iter().position(|group| is_below(name, &group.parameters))
}

/// For each of [`Flat::segments`] the place of its rates among those of a step: 0 where no group covers it, else 1 more than the
/// index of its group.
pub fn places(groups: &[GroupConfig], flat: &Flat) -> Vec<usize> {
    let place = |name: &str| group_of(groups, name).map_or(0, |group| group + 1);
    flat.segments().iter().map(|segment| place(&segment.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_that_covers_a_name_has_it() {
        let group = |parameters: &[&str]| GroupConfig {
            parameters: parameters.iter().map(|&pattern| pattern.to_owned()).collect(),
            ..GroupConfig::default()
        };
        let groups = [group(&["*.bias"]), group(&["predictor", "backbone.layer4"]), group(&["predictor.0"])];
        for (name, expected) in [
            ("predictor.0.bias", Some(0)),
            ("predictor.0.weight", Some(1)),
            ("backbone.layer4.1.conv1.weight", Some(1)),
            ("backbone.layer40.conv1.weight", None),
            ("backbone.conv1.weight", None),
        ] {
            assert_eq!(group_of(&groups, name), expected, "{name}");
        }
        assert_eq!(group_of(&[], "predictor"), None);
    }
}
