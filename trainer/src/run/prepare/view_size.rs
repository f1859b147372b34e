//! Shapes of the views that a method is given, and those that are too small for the network.

use dtrain_configs::RunConfig;
use dtrain_configs::schema::DataKind;
use dtrain_data::{GroupRequest, Views};

use crate::error::TrainError;
use crate::method::Method;

/// Channels, height and width of the views of each group of the method's.
///
/// # Errors
/// The method has more groups than the data are made into.
pub(super) fn view_shapes(method: &dyn Method, maker: &dyn Views) -> Result<Vec<[usize; 3]>, TrainError> {
    let groups = method.view_groups();
    let of_group = |group: &GroupRequest| match maker.shape_of(group.spec) {
        // Of an empty group no view has it.
        None if group.num_views == 0 => Some(maker.shape()),
        shape => shape,
    };
    let shapes: Option<Vec<[usize; 3]>> = groups.iter().map(of_group).collect();
    shapes.ok_or_else(|| {
        TrainError::config(
            format!(
                "the method asks for views of {} kinds, and these data are not made into as many",
                groups.len()
            ),
            "choose another `method=`, or data of another kind: `data=`",
        )
    })
}

/// Whether the network has something to look at in views of `shape` (C, H, W), of the group of number `group`.
///
/// # Errors
/// It has not.
pub(super) fn check(
    config: &RunConfig,
    group: usize,
    [_, height, width]: [usize; 3],
) -> Result<(), TrainError> {
    let least = config.model.network.facts().min_side;
    let patches = config.method.facts().patches.max(1) as usize;
    if height >= least && width / patches >= least {
        return Ok(());
    }
    if patches > 1 && height >= least {
        return Err(TrainError::config(
            format!(
                "{patches} patches of views of {height} x {width} are {height} x {}, and `model.name` = {} needs at least \
                 {least} x {least}",
                width / patches,
                config.model.name()
            ),
            "use fewer patches, `method.num_patches=1`, or longer views",
        ));
    }
    let (views, hint) = match (group, config.data.kind) {
        (0, _) => ("views", "choose another `model=`, or larger views"),
        (_, DataKind::Sound) => {
            ("small views", "choose another `model=`, or raise `augment.small_views.clip_fraction`")
        }
        (_, DataKind::Images) => {
            ("small views", "choose another `model=`, or raise `augment.small_views.side_fraction`")
        }
    };
    let name = config.model.name();
    Err(TrainError::config(
        format!("{views} are {height} x {width}, and `model.name` = {name} needs at least {least} x {least}"),
        hint,
    ))
}

/// Whether the network can see views of the shapes (C, H, W) of all groups.
///
/// # Errors
/// It sees those of one size only, and there are others.
pub(super) fn check_one_size(config: &RunConfig, shapes: &[[usize; 3]]) -> Result<(), TrainError> {
    let sizes = || shapes.iter().map(|[_, height, width]| [height, width]);
    let other =
        sizes().next().and_then(|first| sizes().find(|size| *size != first).map(|other| [first, other]));
    match other.filter(|_| config.model.network.facts().one_size) {
        None => Ok(()),
        Some([[height, width], [other_height, other_width]]) => Err(TrainError::config(
            format!(
                "`model.name` = {} sees views of one size, and they are {height} x {width} and {other_height} x {other_width}",
                config.model.name()
            ),
            "do without small views, `method.small_views=0`, or choose another `model=`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{DataConfig, ModelConfig};

    use super::*;

    fn config(model: ModelConfig, kind: DataKind) -> RunConfig {
        RunConfig { model, data: DataConfig { kind, ..DataConfig::default() }, ..RunConfig::default() }
    }

    #[test]
    fn every_network_says_what_it_needs() {
        for model in ModelConfig::all() {
            let (least, name) = (model.network.facts().min_side, model.name());
            let config = config(model, DataKind::Sound);
            assert!(check(&config, 0, [1, least, least]).is_ok());
            for shape in [[1, least - 1, 100], [3, 100, least - 1]] {
                let error = check(&config, 0, shape).unwrap_err().to_string();
                let [_, height, width] = shape;
                for part in [format!("{height} x {width}"), name.to_owned(), format!("{least} x {least}")] {
                    assert!(error.contains(&part), "{error}");
                }
            }
        }
    }

    #[test]
    fn views_of_two_sizes_are_not_for_every_network() {
        let config = |name: &str| config(ModelConfig::named(name).unwrap(), DataKind::Images);
        let two = [[1, 28, 28], [1, 12, 12]];
        let error = check_one_size(&config("mlp"), &two).unwrap_err();
        assert!(error.to_string().ends_with("they are 28 x 28 and 12 x 12"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("`method.small_views=0`")));
        assert!(
            check_one_size(&config("mlp"), &two[..1]).is_ok()
                && check_one_size(&config("cnn_small"), &two).is_ok()
        );
    }

    #[test]
    fn small_views_that_are_too_small_name_their_setting() {
        let model = || ModelConfig::named("cnn_small").unwrap();
        for (kind, setting) in [(DataKind::Sound, "clip_fraction"), (DataKind::Images, "side_fraction")] {
            let error = check(&config(model(), kind), 1, [1, 64, 1]).unwrap_err();
            assert!(error.to_string().starts_with("small views are 64 x 1"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains(setting)), "{error:?}");
        }
    }
}
