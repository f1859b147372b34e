//! The same pixels as PIL: `fixtures/images`, written by `fixtures/make_images.py`; and files that give no image.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    name: String,
    /// How far a pixel may be off.
    tolerance: i32,
    height: usize,
    width: usize,
    rgb: Vec<u8>,
    grey: Vec<u8>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images").join(name)
}

#[test]
fn pixels_are_pil_s() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../fixtures/images.json")).unwrap();
    assert!(cases.len() > 20);
    let mut image = DecodedImage::default();
    for Case { name, tolerance, height, width, rgb, grey } in cases {
        for (channels, expected) in [(3, rgb), (1, grey)] {
            decode(&fixture(&name), channels, &mut image).unwrap();
            assert_eq!((image.height, image.width), (height, width), "{name}");
            assert_eq!(image.pixels.len(), expected.len(), "{name}");
            let off = |(a, b): (&u8, &u8)| (i32::from(*a) - i32::from(*b)).abs();
            let worst = image.pixels.iter().zip(&expected).map(off).max().unwrap();
            assert!(worst <= tolerance, "{name} with {channels} channels is off by {worst}");
        }
        let ([rows, columns], num_bytes) = survey(&fixture(&name)).unwrap();
        assert_eq!(rows as usize * columns as usize, height * width, "{name}");
        assert_eq!(num_bytes, std::fs::metadata(fixture(&name)).unwrap().len());
    }
}

fn problem(path: &Path) -> ImageFileProblem {
    let error = decode(path, 3, &mut DecodedImage::default()).unwrap_err();
    assert_eq!(error.path, path);
    error.problem
}

#[test]
fn what_is_no_image_is_told_by_its_bytes_and_not_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let written = |bytes: &[u8]| {
        let path = folder.path().join("named.png");
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let said = |bytes: &[u8]| problem(&written(bytes)).to_string();
    assert_eq!(said(b""), "the file is empty");
    assert_eq!(said(b"<!DOCTYPE html><html></html>"), "a web page, as a failed download leaves it");
    assert_eq!(
        said(b"version https://git-lfs.github.com/spec/v1\n"),
        "a Git LFS pointer, which stands for a file that has not been fetched"
    );
    assert_eq!(said(b"\x12\x01\xfe\x9c\x00\x07"), "not an image");
    assert_eq!(problem(&fixture("bad.gif")), ImageFileProblem::OtherFormat("GIF"));
    assert_eq!(problem(&fixture("bad.tif")), ImageFileProblem::OtherFormat("TIFF"));
    assert_eq!(problem(&fixture("bad_animated.png")), ImageFileProblem::Animated);
    assert_eq!(problem(&fixture("bad_animated.webp")), ImageFileProblem::Animated);
    assert!(matches!(problem(&folder.path().join("no.png")), ImageFileProblem::Unreadable(_)));
    for name in ["bad.gif", "bad_animated.png", "bad_animated.webp"] {
        assert!(survey(&fixture(name)).is_err());
    }
    // A PNG under another name is one.
    std::fs::copy(fixture("rgb.png"), folder.path().join("a.jpg")).unwrap();
    decode(&folder.path().join("a.jpg"), 3, &mut DecodedImage::default()).unwrap();
}

/// Wherever a file ends too early, that is said, and no image of it is used.
#[test]
fn truncated_files_give_no_image() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rgb.jpg", "progressive.jpg", "turned_6.jpg", "rgb.png", "lossless.webp", "rgb.bmp"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for share in [0.3, 0.6, 0.9] {
            let path = folder.path().join(name);
            std::fs::write(&path, &whole[..(whole.len() as f64 * share) as usize]).unwrap();
            let problem = problem(&path);
            assert!(
                matches!(problem, ImageFileProblem::Truncated | ImageFileProblem::Damaged(_)),
                "{name} {share} {problem}"
            );
            assert!(problem.advice().is_some());
        }
    }
}

/// Headers that state sizes which nobody has memory for, before anything is allocated.
#[test]
fn sizes_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.bmp");
    let mut bytes = std::fs::read(fixture("rgb.bmp")).unwrap();
    bytes[18..22].copy_from_slice(&60_000_i32.to_le_bytes());
    bytes[22..26].copy_from_slice(&60_000_i32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(problem(&path), ImageFileProblem::TooLarge { width: 60_000, height: 60_000 });
    assert!(survey(&path).is_err());
}
