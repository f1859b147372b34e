//! The same numbers as torchvision: `fixtures/image_augment.json`, written by `fixtures/make_image_augment.py`.

use std::collections::BTreeMap;

use dtrain_configs::schema::Interpolation;
use serde::Deserialize;

use super::jitter::Change;
use super::padded_crop::PaddedCrop;
use super::resize::{Rectangle, resize};
use super::{Image, ImageScratch, SourceImage, blur, colour, flip, solarize};

#[derive(Deserialize)]
struct Fixture {
    height: usize,
    width: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    arguments: Vec<f64>,
    channels: usize,
    values: Vec<f32>,
}

/// `image` of make_image_augment.py, its first channels.
fn image(len: usize) -> Vec<u8> {
    let mut state = 12_345u64;
    let byte = |i: usize| {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        ((i as u64 * 5 + (state >> 24)) % 256) as u8
    };
    (0..len).map(byte).collect()
}

/// The change of a case, made here.
fn changed(case: &Case, source: &SourceImage<'_>) -> Vec<f32> {
    let SourceImage { bytes, height, width } = *source;
    let number = |at: usize| case.arguments[at] as f32;
    let whole = |at: usize| case.arguments[at] as usize;
    let (to_height, to_width) =
        if case.name.starts_with("resized") { (whole(4), whole(5)) } else { (height, width) };
    let mut pixels: Vec<f32> = match case.name.as_str() {
        "resized" | "resized_bicubic" => vec![f32::NAN; case.channels * to_height * to_width],
        _ => bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
    };
    let scratch = &mut ImageScratch::default();
    let mut view = Image { pixels: &mut pixels, height: to_height, width: to_width, scratch };
    match case.name.as_str() {
        "resized" | "resized_bicubic" => {
            let part = Rectangle { top: whole(0), left: whole(1), height: whole(2), width: whole(3) };
            let interpolation = match case.name.as_str() {
                "resized" => Interpolation::Bilinear,
                _ => Interpolation::Bicubic,
            };
            resize(source, part, interpolation, &mut view);
        }
        "flip" => flip::flip(&mut view),
        "padded" => PaddedCrop { padding: 2 }.copy([whole(0), whole(1)], source, &mut view),
        "brightness" => Change::Brightness(number(0)).make(view.pixels, case.channels),
        "contrast" => Change::Contrast(number(0)).make(view.pixels, case.channels),
        "saturation" => Change::Saturation(number(0)).make(view.pixels, case.channels),
        "hue" => Change::Hue(number(0)).make(view.pixels, case.channels),
        "grayscale" => colour::grayscale(view.pixels, case.channels == 3),
        "blur" => blur::blur(&mut view, case.arguments[1], whole(0) / 2),
        "solarize" => solarize::solarize(view.pixels, number(0)),
        other => panic!("an unknown change: {other}"),
    }
    pixels
}

#[test]
fn changes_of_images_equal_those_of_torchvision() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../../fixtures/image_augment.json")).unwrap();
    let mut counts = BTreeMap::new();
    for case in &fixture.cases {
        let bytes = image(case.channels * fixture.height * fixture.width);
        let source = SourceImage { bytes: &bytes, height: fixture.height, width: fixture.width };
        let found = changed(case, &source);
        assert_eq!(found.len(), case.values.len());
        for (at, (found, expected)) in found.iter().zip(&case.values).enumerate() {
            let Case { name, arguments, channels, .. } = case;
            assert!(
                (found - expected).abs() < 3e-6,
                "{name} {arguments:?} of {channels} at {at}: {found} {expected}"
            );
        }
        *counts.entry(case.name.as_str()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 11, "{counts:?}");
}
