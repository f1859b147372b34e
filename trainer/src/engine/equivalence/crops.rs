//! Views of two shapes (multi-crop) in every method that compares views of a sample: ranks and micro-batches change nothing, and
//! neither does a limit on the gradient of each parameter.

use super::*;

/// Every method with small views besides its two large ones, on views that a small network has room for.
fn cases() -> impl Iterator<Item = (String, Case)> {
    MethodConfig::all().into_iter().filter_map(|config| {
        let mut values = serde_json::to_value(config.for_proofs(&heads::LABELS)).unwrap();
        *values.get_mut("small_views")? = 2.into();
        let config: MethodConfig = serde_json::from_value(values).unwrap();
        assert_eq!(config.facts().views.groups(), [2, 2], "{}", config.name());
        let name = config.name().to_owned();
        let task = Task::of_classes([1, 2 * SIZE, 2 * SIZE], CLASSES);
        let build = move |p: &mut Parameters| method::build(&config, &backbone("cnn_small"), &task, p);
        let case = Case { size: 2 * SIZE, ..whole(adamw(), built_by(build)) };
        Some((name, Case { grad_clip: Some(Clip { max_norm: 0.05, of: ClipNorm::Parameter }), ..case }))
    })
}

#[test]
fn small_views_are_of_the_global_batch() {
    let mut found = Vec::new();
    for (name, case) in cases() {
        let alone = train(&case, &batches(1));
        assert_moved(&name, &alone, &case);
        for (world_size, way) in [
            (2, Way { overlap: true, bucket_bytes: 4096, ..PLAIN_WAY }),
            (3, Way { shard_optimizer: true, deferred: true, bucket_bytes: 4096, ..PLAIN_WAY }),
        ] {
            let what = format!("{name} with small views over {world_size} ranks");
            let case = Case { way, ..case.clone() };
            assert_same_training(&what, &train(&case, &batches(world_size)), &alone);
        }
        found.push(name);
    }
    assert_eq!(found, ["simclr", "supcon", "byol", "simsiam", "dino"]);
}
