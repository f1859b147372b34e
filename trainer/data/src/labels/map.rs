//! Labels that are a function of another one, such as the thickness of a digit's strokes.

use dtrain_configs::schema::LabelMapConfig;

use super::LabelColumn;
use crate::error::DataError;

/// A label without its samples: what a map needs of the one that it starts from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its name.
    pub name: &'a str,
    /// Number of its classes.
    pub num_classes: usize,
}

/// The label `name` by its map, without samples.
///
/// # Errors
/// The map starts from a label that is not in `origins`, or has more or fewer entries than that has classes.
pub fn mapped(
    name: &str,
    map: &LabelMapConfig,
    origins: &[Origin<'_>],
) -> Result<(LabelColumn, usize), DataError> {
    let Some(at) = origins.iter().position(|origin| origin.name == map.of) else {
        return Err(DataError::UnknownLabel {
            key: format!("data.label_maps.{name}.of"),
            label: map.of.clone(),
            labels: origins.iter().map(|origin| origin.name.to_owned()).collect(),
        });
    };
    let num_origin = origins.get(at).map_or(0, |origin| origin.num_classes);
    if map.classes.len() != num_origin {
        return Err(DataError::LabelMapLength {
            label: name.to_owned(),
            num_entries: map.classes.len(),
            of: map.of.clone(),
            num_classes: num_origin,
        });
    }
    let needed = map.classes.iter().map(|&class| class as usize + 1).max().unwrap_or(0);
    let num_classes = map.num_classes.unwrap_or(needed).max(needed);
    let classes = if map.names.is_empty() {
        (0..num_classes).map(|class| class.to_string()).collect()
    } else {
        map.names.clone()
    };
    Ok((LabelColumn { name: name.to_owned(), classes, values: Vec::new(), of_sample: Vec::new() }, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINS: [Origin<'_>; 2] =
        [Origin { name: "speaker", num_classes: 2 }, Origin { name: "digit", num_classes: 3 }];

    fn map(of: &str, classes: &[u32]) -> LabelMapConfig {
        LabelMapConfig { of: of.into(), classes: classes.to_vec(), ..LabelMapConfig::default() }
    }

    #[test]
    fn classes_follow_from_the_map_or_are_stated() {
        let (label, at) = mapped("odd", &map("digit", &[0, 1, 0]), &ORIGINS).unwrap();
        assert_eq!((at, label.classes), (1, vec!["0".to_owned(), "1".to_owned()]));
        let stated = LabelMapConfig { num_classes: Some(5), ..map("digit", &[0, 4, 0]) };
        assert_eq!(mapped("odd", &stated, &ORIGINS).unwrap().0.classes.len(), 5);
    }

    #[test]
    fn a_map_that_does_not_fit_says_so() {
        let text = |map| mapped("odd", &map, &ORIGINS).unwrap_err().to_string();
        assert_eq!(
            text(map("digit", &[0, 1])),
            "`data.label_maps.odd.classes` has 2 entries, but `digit` has 3 classes"
        );
        assert!(text(map("word", &[0])).contains("`data.label_maps.odd.of`"));
    }
}
