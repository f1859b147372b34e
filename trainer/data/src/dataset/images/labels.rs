//! The labels of a data set of images: those that the data bring, and those that follow from them.

use dtrain_configs::schema::DataConfig;

use crate::error::DataError;
use crate::images::{Head, LabelRule, Reading};
use crate::labels::LabelColumn;
use crate::labels::map::{Origin, mapped};

/// The labels of the data in their order, then those that follow from them. One of the same name takes the place of the
/// data's.
pub(super) fn labels(
    config: &DataConfig,
    heads: &[Head],
    warnings: &mut Vec<String>,
) -> Result<(Vec<LabelColumn>, Vec<LabelRule>), DataError> {
    let origins: Vec<Origin<'_>> =
        heads.iter().map(|head| Origin { name: &head.name, num_classes: head.num_classes }).collect();
    let mut labels: Vec<LabelColumn> = heads.iter().map(label_of).collect();
    let mut rules: Vec<LabelRule> = (0..heads.len()).map(LabelRule::Head).collect();
    for (name, map) in &config.label_maps {
        let (label, origin) = mapped(name, map, &origins)?;
        let rule = LabelRule::Map(origin, map.classes.clone());
        match labels.iter().position(|known| known.name == *name).zip(Some(label.clone())) {
            Some((at, label)) => {
                warnings.push(format!(
                    "`data.label_maps.{name}` takes the place of the data's own `{name}`; leave it out with \
                     `~data.label_maps.{name}`"
                ));
                if let (Some(known), Some(known_rule)) = (labels.get_mut(at), rules.get_mut(at)) {
                    (*known, *known_rule) = (label, rule);
                }
            }
            None => {
                labels.push(label);
                rules.push(rule);
            }
        }
    }
    Ok((labels, rules))
}

fn label_of(head: &Head) -> LabelColumn {
    let numbers = || (0..head.num_classes).map(|class| class.to_string()).collect();
    let values = match head.reading {
        Reading::ClassIndex => Vec::new(),
        Reading::Steps | Reading::Raw => {
            (0..head.num_classes).filter_map(|class| head.class_value(class)).collect()
        }
    };
    LabelColumn {
        name: head.name.clone(),
        classes: if head.class_names.is_empty() { numbers() } else { head.class_names.clone() },
        values,
        of_sample: Vec::new(),
    }
}
