//! Checks of images and label maps, and of what there is to evaluate.

use crate::checks::Checks;
use crate::schema::{DataConfig, DataKind, Encoder, RunConfig};

/// Most classes of a label that is derived from another one.
const MAX_CLASSES: u64 = 1 << 16;
/// Largest side of a view of an image.
const MAX_SIDE: u64 = 1 << 12;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    check_images(config, checks);
    check_label_maps(&config.data, checks);
    let name = config.method.name();
    checks.require(
        config.encoder() == Encoder::Online || config.method.facts().teacher.is_some(),
        ["eval.encoder", "method.name"],
        || format!("`eval.encoder` is `teacher`, but `method.name` = {name} has none"),
        "`eval.encoder=auto`",
    );
    checks.require(
        config.eval.embeddings || config.method.facts().labels.classifies(),
        ["eval.embeddings", "method.name"],
        || format!("`eval.embeddings` is false, but `method.name` = {name} has nothing else to evaluate"),
        "`eval.embeddings=true`, or switch evaluation off: `eval.every_epochs=0`",
    );
}

fn check_images(config: &RunConfig, checks: &mut Checks) {
    let (data, images) = (&config.data, &config.data.images);
    checks.require(
        data.kind == DataKind::Sound
            || config.method.facts().views.total() == 1
            || config.augment.image.changes_anything(),
        ["method.name", "augment.image"],
        || {
            let name = config.method.name();
            format!("`method.name` = {name} compares random views, and `augment.image` makes all views of an image alike")
        },
        "`augment=image_simclr` makes views that differ",
    );
    checks.below_one("data.images.val_fraction", images.val_fraction);
    if let Some(size) = images.size {
        checks.count("data.images.size", size as u64, 1, MAX_SIDE);
        checks.require(
            images.val_fraction == 0.0,
            ["data.images.val_fraction", "data.images.size"],
            || "`data.images.val_fraction` is of sets in one file, and `data.images.size` asks for image files".into(),
            "image files are held out by their split, such as `data.splits.default.val_fraction=0.1`",
        );
    }
    checks.require(
        [1, 3].contains(&images.channels),
        ["data.images.channels"],
        || format!("`data.images.channels` is 3 for colours or 1 for grey, not {}", images.channels),
        None,
    );
    checks.require(
        images.eval_crop > 0.0 && images.eval_crop <= 1.0,
        ["data.images.eval_crop"],
        || format!("`data.images.eval_crop` must be above 0 and at most 1, not {}", images.eval_crop),
        None,
    );
    for (key, values) in [("data.images.mean", &images.mean), ("data.images.std", &images.std)] {
        let finite = values.iter().flatten().all(|value| value.is_finite());
        checks.require(finite, [key], || format!("`{key}` holds a value that is not finite"), None);
    }
    for value in images.std.iter().flatten().filter(|value| value.is_finite()) {
        checks.positive("data.images.std", *value);
    }
    let lengths = images.mean.as_ref().map(Vec::len).zip(images.std.as_ref().map(Vec::len));
    checks.require(
        lengths.is_none_or(|(mean, std)| mean == std),
        ["data.images.mean", "data.images.std"],
        || "`data.images.mean` and `data.images.std` are not of the same length".into(),
        "both have one number for each channel",
    );
}

fn check_label_maps(data: &DataConfig, checks: &mut Checks) {
    let keys = ["data.label_maps"];
    for (name, map) in &data.label_maps {
        let key = format!("data.label_maps.{name}");
        checks.require(
            !map.of.is_empty(),
            keys,
            || format!("`{key}.of` names no label"),
            "the label that it follows from",
        );
        checks.require(
            !data.label_maps.contains_key(&map.of),
            keys,
            || format!("`{key}.of` names `{}`, which is itself in `data.label_maps`", map.of),
            "a map starts from a label of the data",
        );
        checks.require(
            !map.classes.is_empty(),
            keys,
            || format!("`{key}.classes` is empty"),
            "it lists a class for each class of the label in `of`",
        );
        let needed = map.classes.iter().map(|&class| u64::from(class) + 1).max().unwrap_or(0);
        let num_classes = map.num_classes.map_or(needed, |number| number as u64);
        checks.require(
            needed <= num_classes && num_classes <= MAX_CLASSES,
            keys,
            || {
                let largest = needed.saturating_sub(1);
                format!("`{key}` has class {largest}, but {num_classes} classes (at most {MAX_CLASSES})")
            },
            "classes are counted from 0",
        );
        checks.require(
            map.names.is_empty() || map.names.len() as u64 == num_classes,
            keys,
            || format!("`{key}.names` has {} names for {num_classes} classes", map.names.len()),
            "name all classes, or none",
        );
    }
}
