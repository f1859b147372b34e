//! Changes of recordings and of images: which go with which data, and what their files say.

use dtrain_configs::schema::{AugmentConfig, ByView, RunConfig};
use dtrain_configs::{ComposeOptions, compose};

fn composed(words: &[&str]) -> Result<RunConfig, String> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let composed = compose(&words, &ComposeOptions::default()).map_err(|errors| errors.to_string());
    composed.map(|composition| composition.config)
}

fn refused(words: &[&str]) -> String {
    composed(words).unwrap_err()
}

#[test]
fn images_stay_as_they_are_until_a_change_is_chosen() {
    for words in
        [&["experiment=cnn_mnist"][..], &["experiment=null", "data=digits", "method=multihead", "eval=heads"]]
    {
        assert!(!composed(words).unwrap().augment.image.changes_anything(), "{words:?}");
    }
    assert!(!AugmentConfig::default().image.changes_anything());
}

#[test]
fn methods_that_compare_views_want_images_that_change() {
    let error = refused(&["experiment=simclr_cifar10", "augment=none"]);
    for part in [
        "`method.name` = simclr",
        "`augment.image` makes all views of an image alike",
        "`augment=image_simclr`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let config = composed(&["experiment=simclr_cifar10"]).unwrap();
    assert!(config.augment.image.changes_anything() && !config.augment.changes_sound());
}

/// What a recipe brings along is left unused; what is asked for and has no effect is refused.
#[test]
fn changes_of_the_other_kind_of_data_are_refused_where_they_are_asked_for() {
    let error = refused(&["experiment=cnn_mnist", "augment.gain_db=[-3, 3]"]);
    assert!(error.contains("`augment.gain_db` changes recordings, but `data.kind` is `images`"), "{error}");
    assert!(error.matches("changes recordings").count() == 1, "{error}");
    let error = refused(&["experiment=cnn_mnist", "augment=audio_strong"]);
    assert!(error.contains("`augment` changes recordings, but `data.kind` is `images`"), "{error}");
    let error = refused(&["experiment=simclr_fsdd", "augment=image_simclr"]);
    assert!(error.contains("`augment` changes images, but `data.kind` is `sound`"), "{error}");
    let error = refused(&["experiment=simclr_fsdd", "augment.image.flip_probability=0.5"]);
    assert!(error.contains("`augment.image.flip_probability` changes images"), "{error}");
}

#[test]
fn a_list_has_a_share_for_each_view() {
    let byol = composed(&["experiment=simclr_cifar10", "augment=image_byol"]).unwrap().augment.image;
    assert_eq!([0, 1, 2].map(|index| byol.blur_probability.of(index)), [1.0, 0.1, 0.1]);
    assert_eq!([0, 1].map(|index| byol.solarize_probability.of(index)), [0.0, 0.2]);
    let words = ["experiment=simclr_cifar10", "augment.image.blur_probability=1"];
    assert_eq!(composed(&words).unwrap().augment.image.blur_probability, ByView::from(1.0));

    let dino = composed(&["experiment=simclr_cifar10", "augment=image_dino"]).unwrap().augment;
    let small = dino.of_small_views().image;
    assert_eq!((dino.image.crop_scale, small.crop_scale), (Some([0.4, 1.0]), Some([0.05, 0.4])));
    assert_eq!([small.blur_probability.of(0), small.blur_probability.of(1)], [0.5, 0.5]);
    assert!(small.solarize_probability.is_zero());
}

#[test]
fn values_that_make_no_sense_are_named() {
    for (word, reason) in [
        ("augment.image.crop_scale=[0.5, 0.2]", "`augment.image.crop_scale` is a range of shares"),
        ("augment.image.crop_scale=[0, 1]", "`augment.image.crop_scale` is a range of shares"),
        ("augment.image.crop_padding=4", "`augment.image.crop_padding` are two ways to crop"),
        ("augment.image.crop_ratio=[0, 1]", "`augment.image.crop_ratio` is a range of numbers above 0"),
        ("augment.image.flip_probability=1.5", "`augment.image.flip_probability` is a fraction"),
        ("augment.image.hue=0.6", "`augment.image.hue` must be from 0 to 0.5"),
        ("augment.image.brightness=-1", "`augment.image.brightness` must be at least 0"),
        ("augment.image.blur_kernel=4", "`augment.image.blur_kernel` is an odd number"),
        ("augment.image.blur_sigma=[0, 1]", "`augment.image.blur_sigma` is a range of numbers above 0"),
        ("augment.image.blur_probability=[]", "`augment.image.blur_probability` is an empty list"),
        ("augment.image.blur_probability=[1, 2]", "`augment.image.blur_probability` is a fraction"),
        ("augment.image.blur_probability=often", "must be a number, or a list with one for each view"),
    ] {
        let error = refused(&["experiment=simclr_cifar10", word]);
        assert!(error.contains(reason), "{word}: {error}");
    }
}

/// Without a method that asks for them, nothing about small views is checked.
#[test]
fn small_views_that_nobody_asks_for_are_not_checked() {
    for word in ["augment.small_views.clip_fraction=0.001", "augment.small_views.max_time_width=1000"] {
        assert!(composed(&["experiment=simclr_fsdd", word]).is_ok(), "{word}");
    }
}
