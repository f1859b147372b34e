//! Shapes of the views that a method is given, and those that are too small for the network.

use dtrain_configs::schema::ModelConfig;
use dtrain_data::Views;

use crate::error::TrainError;
use crate::method::Method;

/// Channels, height and width of the views of each group of the method's.
///
/// # Errors
/// The method has more groups than the data are made into.
pub(super) fn view_shapes(method: &dyn Method, maker: &dyn Views) -> Result<Vec<[usize; 3]>, TrainError> {
    let groups = method.view_groups();
    let shapes: Option<Vec<[usize; 3]>> = groups.iter().map(|group| maker.shape_of(group.spec)).collect();
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

/// Whether the network has something to look at in views of `shape` (C, H, W).
///
/// # Errors
/// It has not.
pub(super) fn check(model: &ModelConfig, [_, height, width]: [usize; 3]) -> Result<(), TrainError> {
    let least = model.network.facts().min_side;
    if height >= least && width >= least {
        return Ok(());
    }
    let name = model.name();
    Err(TrainError::config(
        format!("views are {height} x {width}, and `model.name` = {name} needs at least {least} x {least}"),
        "choose another `model=`, or larger views",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_says_what_it_needs() {
        for model in ModelConfig::all() {
            let least = model.network.facts().min_side;
            assert!(check(&model, [1, least, least]).is_ok());
            for shape in [[1, least - 1, 100], [3, 100, least - 1]] {
                let error = check(&model, shape).unwrap_err().to_string();
                let [_, height, width] = shape;
                for part in
                    [format!("{height} x {width}"), model.name().to_owned(), format!("{least} x {least}")]
                {
                    assert!(error.contains(&part), "{error}");
                }
            }
        }
    }
}
