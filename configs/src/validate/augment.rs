//! Checks of `augment`.

use crate::checks::Checks;
use crate::schema::{ByView, DataConfig, DataKind, RunConfig, SpecAugmentConfig, TransformsConfig};

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    check_other_kind(config, checks);
    let has_small_views = config.method.facts().views.num_specs() > 1;
    match config.data.kind {
        DataKind::Images => {
            check_images(config, checks);
            if has_small_views {
                check_small_images(config, checks);
            }
        }
        DataKind::Sound => {
            check_sound(config, checks);
            if has_small_views {
                check_small_sound(config, checks);
            }
        }
    }
}

/// What a recipe for other data brings along is left unused; who asks for it should know.
fn check_other_kind(config: &RunConfig, checks: &mut Checks) {
    let (augment, image) = (&config.augment, &config.augment.image);
    let (what, kind, hint, changes) = match config.data.kind {
        DataKind::Images => (
            "recordings",
            "images",
            "`augment=none`, or one for images, such as `augment=image_light`",
            vec![
                ("augment", augment.changes_sound()),
                ("augment.random_crop", augment.random_crop),
                ("augment.pitch_probability", augment.pitch_probability != 0.0),
                ("augment.stretch_probability", augment.stretch_probability != 0.0),
                ("augment.max_shift_fraction", augment.max_shift_fraction != 0.0),
                ("augment.gain_db", augment.gain_db.is_some()),
                ("augment.noise_probability", augment.noise_probability != 0.0),
                ("augment.spec_augment.num_freq_masks", augment.spec_augment.num_freq_masks > 0),
                ("augment.spec_augment.num_time_masks", augment.spec_augment.num_time_masks > 0),
            ],
        ),
        DataKind::Sound => (
            "images",
            "sound",
            "`augment=none`, or one for recordings, such as `augment=audio_light`",
            vec![
                ("augment", image.changes_anything()),
                ("augment.image.crop_scale", image.crop_scale.is_some()),
                ("augment.image.crop_padding", image.crop_padding > 0),
                ("augment.image.flip_probability", image.flip_probability != 0.0),
                ("augment.image.jitter_probability", image.jitter_probability != 0.0),
                ("augment.image.grayscale_probability", image.grayscale_probability != 0.0),
                ("augment.image.blur_probability", !image.blur_probability.is_zero()),
                ("augment.image.solarize_probability", !image.solarize_probability.is_zero()),
            ],
        ),
    };
    for (key, is_on) in changes {
        let message = || format!("`{key}` changes {what}, but `data.kind` is `{kind}`");
        checks.require_of_asked(!is_on, [key, "data.kind"], message, hint);
    }
}

fn check_sound(config: &RunConfig, checks: &mut Checks) {
    let (augment, spec) = (&config.augment, &config.augment.spec_augment);
    check_pitch_and_time(config, checks);
    checks.below_one("augment.max_shift_fraction", augment.max_shift_fraction);
    if let Some(gain) = augment.gain_db {
        checks.range("augment.gain_db", gain);
    }
    checks.fraction("augment.noise_probability", augment.noise_probability);
    checks.range("augment.noise_snr_db", augment.noise_snr_db);
    if let Some(transforms) = &augment.transforms {
        check_transforms(transforms, checks);
    }
    checks.count("augment.spec_augment.num_freq_masks", spec.num_freq_masks as u64, 0, 100);
    checks.count("augment.spec_augment.num_time_masks", spec.num_time_masks as u64, 0, 100);
    check_freq_width("augment.spec_augment.max_freq_width", spec, &config.data, checks);
    let clip_secs = config.data.audio.clip_secs;
    check_time_width("augment.spec_augment.max_time_width", spec, clip_secs, &config.data, checks);
}

fn check_pitch_and_time(config: &RunConfig, checks: &mut Checks) {
    let augment = &config.augment;
    checks.fraction("augment.pitch_probability", augment.pitch_probability);
    checks.fraction("augment.stretch_probability", augment.stretch_probability);
    for (key, [low, high], [least, most], hint) in [
        (
            "augment.pitch_semitones",
            augment.pitch_semitones,
            [-24.0, 24.0],
            "12 semitones are an octave; species are told by their pitch, so that a few are enough",
        ),
        (
            "augment.stretch_speed",
            augment.stretch_speed,
            [0.25, 4.0],
            "2 is twice as fast, and 0.5 half as fast",
        ),
    ] {
        checks.require(
            least <= low && low <= high && high <= most,
            [key],
            || format!("`{key}` is a range from low to high within [{least}, {most}], not [{low}, {high}]"),
            hint,
        );
    }
}

/// Shares that lie between 0 and 1, and begin above 0: what cannot be told from no change teaches nothing.
fn check_transforms(transforms: &TransformsConfig, checks: &mut Checks) {
    for (key, [low, high], most) in [
        ("augment.transforms.shift", transforms.shift, 0.9),
        ("augment.transforms.pitch", transforms.pitch, 0.9),
        ("augment.transforms.time_mask", transforms.time_mask, 0.9),
        ("augment.transforms.freq_mask", transforms.freq_mask, 0.9),
        ("augment.transforms.noise", transforms.noise, 100.0),
    ] {
        checks.require(
            low > 0.0 && low <= high && high <= most,
            [key],
            || format!("`{key}` is a range from low to high within (0, {most}], not [{low}, {high}]"),
            "a change of no strength could not be told from none",
        );
    }
}

fn check_freq_width(key: &'static str, spec: &SpecAugmentConfig, data: &DataConfig, checks: &mut Checks) {
    let (width, n_mels) = (spec.max_freq_width, data.features.n_mels);
    checks.require(
        spec.num_freq_masks == 0 || width < n_mels || n_mels == 0,
        [key, "data.features.n_mels"],
        || format!("`{key}` = {width} can mask all of `data.features.n_mels` = {n_mels}"),
        "use narrower masks, or `augment.spec_augment.num_freq_masks=0`",
    );
}

/// In views of `clip_secs`.
fn check_time_width(
    key: &'static str,
    spec: &SpecAugmentConfig,
    clip_secs: f64,
    data: &DataConfig,
    checks: &mut Checks,
) {
    let samples = clip_secs * f64::from(data.audio.sample_rate);
    let frames = (samples / data.features.hop_length.max(1) as f64).floor() + 1.0;
    let width = spec.max_time_width;
    checks.require(
        spec.num_time_masks == 0 || !frames.is_finite() || frames <= 0.0 || (width as f64) < frames,
        [key, "data.audio.clip_secs", "data.features.hop_length"],
        || format!("`{key}` = {width} can mask all {frames} frames of a clip"),
        "use narrower masks, or `augment.spec_augment.num_time_masks=0`",
    );
}

/// Small views of recordings, which the method asks for.
fn check_small_sound(config: &RunConfig, checks: &mut Checks) {
    const FRACTION: &str = "augment.small_views.clip_fraction";
    let (data, small_views) = (&config.data, &config.augment.small_views);
    let fraction = small_views.clip_fraction;
    let is_share = fraction > 0.0 && fraction <= 1.0;
    let message = || format!("`{FRACTION}` must be above 0 and at most 1, not {fraction}");
    checks.require(is_share, [FRACTION], message, None);
    if !is_share {
        return;
    }
    let clip_secs = small_views.audio(&data.audio).clip_secs;
    let samples_of = |clip_secs: f64| (clip_secs * f64::from(data.audio.sample_rate)).floor();
    let half = (data.features.n_fft / 2) as f64;
    checks.require(
        // Another check tells of large views that are too short themselves.
        samples_of(data.audio.clip_secs) <= half || samples_of(clip_secs) > half,
        [FRACTION, "data.audio.clip_secs", "data.features.n_fft"],
        || {
            let (samples, n_fft) = (samples_of(clip_secs), data.features.n_fft);
            format!(
                "a small view is shorter than one frame: `{FRACTION}` = {fraction} of a clip is {samples} samples, half \
                 of `data.features.n_fft` = {n_fft} is {half}"
            )
        },
        "use a larger share, longer clips, or a shorter transform",
    );
    if let Some(shift) = small_views.max_shift_fraction {
        checks.below_one("augment.small_views.max_shift_fraction", shift);
    }
    if let Some(gain) = small_views.gain_db {
        checks.range("augment.small_views.gain_db", gain);
    }
    if let Some(probability) = small_views.noise_probability {
        checks.fraction("augment.small_views.noise_probability", probability);
    }
    if let Some(snr) = small_views.noise_snr_db {
        checks.range("augment.small_views.noise_snr_db", snr);
    }
    let spec = config.augment.of_small_views().spec_augment;
    if small_views.max_freq_width.is_some() {
        check_freq_width("augment.small_views.max_freq_width", &spec, data, checks);
    }
    check_time_width("augment.small_views.max_time_width", &spec, clip_secs, data, checks);
}

fn check_images(config: &RunConfig, checks: &mut Checks) {
    let image = &config.augment.image;
    if let Some(scale) = image.crop_scale {
        check_area("augment.image.crop_scale", scale, checks);
    }
    checks.require(
        image.crop_scale.is_none() || image.crop_padding == 0,
        ["augment.image.crop_scale", "augment.image.crop_padding"],
        || "`augment.image.crop_scale` and `augment.image.crop_padding` are two ways to crop".into(),
        "choose one of them: `augment.image.crop_scale=null` or `augment.image.crop_padding=0`",
    );
    checks.count("augment.image.crop_padding", image.crop_padding as u64, 0, 1 << 12);
    check_above_zero("augment.image.crop_ratio", image.crop_ratio, checks);
    checks.fraction("augment.image.flip_probability", image.flip_probability);
    checks.fraction("augment.image.jitter_probability", image.jitter_probability);
    checks.not_negative("augment.image.brightness", image.brightness);
    checks.not_negative("augment.image.contrast", image.contrast);
    checks.not_negative("augment.image.saturation", image.saturation);
    let hue = image.hue;
    checks.require(
        (0.0..=0.5).contains(&hue),
        ["augment.image.hue"],
        || format!("`augment.image.hue` must be from 0 to 0.5, half of the circle of colours, not {hue}"),
        None,
    );
    checks.fraction("augment.image.grayscale_probability", image.grayscale_probability);
    check_by_view("augment.image.blur_probability", &image.blur_probability, checks);
    check_above_zero("augment.image.blur_sigma", image.blur_sigma, checks);
    if let Some(kernel) = image.blur_kernel {
        checks.require(
            kernel % 2 == 1,
            ["augment.image.blur_kernel"],
            || format!("`augment.image.blur_kernel` is an odd number of pixels, not {kernel}"),
            None,
        );
    }
    check_by_view("augment.image.solarize_probability", &image.solarize_probability, checks);
    checks.fraction("augment.image.solarize_threshold", image.solarize_threshold);
}

/// Small views of images, which the method asks for.
fn check_small_images(config: &RunConfig, checks: &mut Checks) {
    const FRACTION: &str = "augment.small_views.side_fraction";
    let small_views = &config.augment.small_views;
    let fraction = small_views.side_fraction;
    let is_share = fraction > 0.0 && fraction <= 1.0;
    let message = || format!("`{FRACTION}` must be above 0 and at most 1, not {fraction}");
    checks.require(is_share, [FRACTION], message, None);
    check_area("augment.small_views.crop_scale", small_views.crop_scale, checks);
    if let Some(probability) = &small_views.blur_probability {
        check_by_view("augment.small_views.blur_probability", probability, checks);
    }
    if let Some(probability) = &small_views.solarize_probability {
        check_by_view("augment.small_views.solarize_probability", probability, checks);
    }
}

/// A range of shares of an image's area.
fn check_area(key: &'static str, [low, high]: [f64; 2], checks: &mut Checks) {
    let holds = low > 0.0 && low <= high && high <= 1.0;
    let message = || format!("`{key}` is a range of shares above 0 and at most 1, not [{low}, {high}]");
    checks.require(holds, [key], message, None);
}

/// A range of numbers above zero.
fn check_above_zero(key: &'static str, [low, high]: [f64; 2], checks: &mut Checks) {
    let holds = low > 0.0 && low <= high && high.is_finite();
    let message = || format!("`{key}` is a range of numbers above 0, not [{low}, {high}]");
    checks.require(holds, [key], message, None);
}

/// A share of views, for each view of a sample.
fn check_by_view(key: &'static str, shares: &ByView, checks: &mut Checks) {
    checks.require(!shares.all().is_empty(), [key], || format!("`{key}` is an empty list"), None);
    shares.all().iter().for_each(|&share| checks.fraction(key, share));
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;
    use crate::schema::SmallViewsConfig;

    #[test]
    fn small_views_of_recordings_hold_a_frame_and_their_masks() {
        assert_eq!(messages(check_small_sound, |_| ()), Vec::<String>::new());
        for (small_views, part) in [
            (
                SmallViewsConfig { clip_fraction: 0.0, ..Default::default() },
                "`augment.small_views.clip_fraction` must be above 0 and at most 1, not 0",
            ),
            (
                // 256 of 16,000 samples: half of a transform, to its last sample.
                SmallViewsConfig { clip_fraction: 0.016, max_time_width: Some(0), ..Default::default() },
                "`augment.small_views.clip_fraction` = 0.016 of a clip is 256 samples, half of `data.features.n_fft` = 512 is 256",
            ),
            (
                SmallViewsConfig { max_time_width: Some(43), ..Default::default() },
                "`augment.small_views.max_time_width` = 43 can mask all 43 frames",
            ),
            (
                SmallViewsConfig { max_freq_width: Some(64), ..Default::default() },
                "`augment.small_views.max_freq_width` = 64 can mask all of `data.features.n_mels` = 64",
            ),
            (
                SmallViewsConfig { gain_db: Some([3.0, -3.0]), ..Default::default() },
                "`augment.small_views.gain_db` is a range",
            ),
            (
                SmallViewsConfig { noise_probability: Some(2.0), ..Default::default() },
                "`augment.small_views.noise_probability` is a fraction",
            ),
        ] {
            let found = messages(check_small_sound, |config| config.augment.small_views = small_views);
            assert!(found.len() == 1 && found[0].contains(part), "{found:?}: {part}");
        }
    }

    #[test]
    fn small_views_of_images_have_a_side_and_an_area() {
        assert_eq!(messages(check_small_images, |_| ()), Vec::<String>::new());
        for (small_views, part) in [
            (
                SmallViewsConfig { side_fraction: 1.5, ..Default::default() },
                "`augment.small_views.side_fraction`",
            ),
            (
                SmallViewsConfig { crop_scale: [0.0, 0.4], ..Default::default() },
                "`augment.small_views.crop_scale`",
            ),
            (
                SmallViewsConfig { blur_probability: Some(Vec::new().into()), ..Default::default() },
                "`augment.small_views.blur_probability` is an empty list",
            ),
        ] {
            let found = messages(check_small_images, |config| config.augment.small_views = small_views);
            assert!(found.len() == 1 && found[0].contains(part), "{found:?}: {part}");
        }
    }
}
