//! Sets of images made by seed, and sets in another format.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::confounded::{self, Confounder, Source};
use super::staging::Staging;
use super::{GENERATED_FILE, MAX_SCALE, digits, objects, refuse_occupied, scenes, vimh};
use crate::error::DataError;
use crate::images::ImageFolder;
use crate::images::convert::write_as_vimh;
use crate::images::vimh::check_folder_name;

/// Raised whenever a generator's output changes.
const VERSION: u32 = 1;

/// A generator of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSetKind {
    /// Drawn digits in MNIST's form, with thickness and smoothness.
    Digits,
    /// Spectrograms of struck resonators as VIMH, with note, velocity and decay.
    Vimh,
    /// Drawn objects in CIFAR-10's form.
    Cifar10,
    /// Drawn objects as CIFAR-100-MH, with class, color and size.
    Cifar100mh,
    /// Drawn zeros and eights, with dots on each eight to learn from.
    Confounded08,
    /// Drawn digits with a patch in a corner, whose grey tells the digit in training.
    ConfoundedDecoy,
    /// Drawn digits, with three dots on most eights to learn from.
    ConfoundedDots,
    /// Drawn scenes in image files of many sizes, in ImageNet's folders.
    Images,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReport {
    /// Folder of the set, a `data.root`.
    pub root: PathBuf,
    /// Samples to learn from.
    pub num_train: usize,
    /// Samples to report on.
    pub num_test: usize,
    /// The set was there already.
    pub reused: bool,
}

/// What a set was generated from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Manifest {
    image_kind: ImageSetKind,
    seed: u64,
    scale: f64,
    version: u32,
    num_train: usize,
    num_test: usize,
}

impl ImageSetKind {
    /// The official name of the folder of a set.
    pub fn folder_name(self, scale: f64) -> String {
        match self {
            Self::Digits => "digits".into(),
            Self::Vimh => vimh::folder_name(scale),
            Self::Cifar10 => "cifar10".into(),
            Self::Cifar100mh => "cifar100mh".into(),
            Self::Confounded08 => "confounded-08".into(),
            Self::ConfoundedDecoy => "confounded-decoy".into(),
            Self::ConfoundedDots => "confounded-dots".into(),
            Self::Images => "images".into(),
        }
    }
}

/// Generates a set into the new folder `out`. It appears there at once and complete. The bytes depend on `kind`, `seed`
/// and `scale` only, not on threads.
///
/// # Errors
/// `scale` out of range, `out` exists and is not an empty folder, no space, no permission.
pub fn generate_images(
    kind: ImageSetKind,
    seed: u64,
    scale: f64,
    out: &Path,
) -> Result<ImageReport, DataError> {
    if !(scale > 0.0 && scale <= MAX_SCALE) {
        return Err(DataError::Scale { scale, max: MAX_SCALE });
    }
    refuse_occupied(out)?;
    let staging = Staging::beside(out)?;
    let write = match kind {
        ImageSetKind::Digits => digits::write,
        ImageSetKind::Vimh => vimh::write,
        ImageSetKind::Cifar10 => objects::write_cifar10,
        ImageSetKind::Cifar100mh => objects::write_cifar100mh,
        ImageSetKind::Confounded08 => confounded_08,
        ImageSetKind::ConfoundedDecoy => confounded_decoy,
        ImageSetKind::ConfoundedDots => confounded_dots,
        ImageSetKind::Images => scenes::write,
    };
    let [num_train, num_test] = write(seed, scale, staging.folder())?;
    let manifest = Manifest { image_kind: kind, seed, scale, version: VERSION, num_train, num_test };
    let json = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from)?;
    staging.write(GENERATED_FILE, &json)?;
    let reused = !staging.publish(out)?;
    if reused && read_manifest(out) != Some(manifest) {
        return Err(occupied(out));
    }
    Ok(ImageReport { root: out.to_path_buf(), num_train, num_test, reused })
}

fn confounded_08(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    drawn_with(Confounder::Dots08, seed, scale, folder)
}

fn confounded_decoy(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    drawn_with(Confounder::Decoy, seed, scale, folder)
}

fn confounded_dots(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    drawn_with(Confounder::Dots, seed, scale, folder)
}

/// Drawn digits with a confounder.
fn drawn_with(confounder: Confounder, seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    confounded::write(
        confounder,
        &Source::drawn(seed, digits::lens(scale), confounder.digits()),
        seed,
        folder,
    )
}

/// Writes the digits of MNIST's files in `from` with a confounder into the new folder `out`, which appears complete.
///
/// # Errors
/// No digits there, `out` exists and is not an empty folder, no space, no permission.
pub fn confound(
    confounder: Confounder,
    from: &Path,
    seed: u64,
    out: &Path,
) -> Result<ImageReport, DataError> {
    let source = Source::open(from)?;
    refuse_occupied(out)?;
    let staging = Staging::beside(out)?;
    let [num_train, num_test] = confounded::write(confounder, &source, seed, staging.folder())?;
    if !staging.publish(out)? {
        return Err(occupied(out));
    }
    Ok(ImageReport { root: out.to_path_buf(), num_train, num_test, reused: false })
}

/// Like [`generate_images`], but takes what an earlier call with the same arguments left at `out`.
///
/// # Errors
/// As [`generate_images`]; `out` holds another set, or the set of another version.
pub fn ensure_images(
    kind: ImageSetKind,
    seed: u64,
    scale: f64,
    out: &Path,
) -> Result<ImageReport, DataError> {
    let Some(existing) = read_manifest(out) else { return generate_images(kind, seed, scale, out) };
    let wanted = Manifest { image_kind: kind, seed, scale, version: VERSION, ..existing.clone() };
    if existing == wanted {
        let Manifest { num_train, num_test, .. } = existing;
        return Ok(ImageReport { root: out.to_path_buf(), num_train, num_test, reused: true });
    }
    let Manifest { image_kind, seed: old_seed, scale: old_scale, version, .. } = existing;
    Err(DataError::OutputExists {
        path: out.to_path_buf(),
        found: format!(
            "holds {image_kind:?} of seed {old_seed}, scale {old_scale} and version {version} instead of {kind:?} of seed \
             {seed}, scale {scale} and version {VERSION}"
        ),
    })
}

/// Writes the set of images in `source`, whatever its format, as VIMH into the new folder `out`, which appears complete.
///
/// # Errors
/// A set that cannot be read, `out` exists and is not an empty folder, no space, no permission.
pub fn convert_to_vimh(source: &Path, out: &Path) -> Result<ImageReport, DataError> {
    let set = ImageFolder::open(source)?;
    check_folder_name(out, set.train.shape())?;
    refuse_occupied(out)?;
    let staging = Staging::beside(out)?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    write_as_vimh(&set, &name, staging.folder())?;
    if !staging.publish(out)? {
        return Err(occupied(out));
    }
    let num_test = set.test.as_ref().map_or(0, |test| test.num_samples());
    Ok(ImageReport { root: out.to_path_buf(), num_train: set.train.num_samples(), num_test, reused: false })
}

fn occupied(out: &Path) -> DataError {
    DataError::OutputExists { path: out.to_path_buf(), found: "is not empty".into() }
}

fn read_manifest(root: &Path) -> Option<Manifest> {
    const MAX_BYTES: u64 = 64 << 10;
    let path = root.join(GENERATED_FILE);
    let is_small = fs_err::metadata(&path).is_ok_and(|metadata| metadata.len() <= MAX_BYTES);
    is_small.then(|| serde_json::from_slice(&fs_err::read(&path).ok()?).ok())?
}

#[cfg(test)]
mod tests {
    use super::super::super::images::cifar::Cifar;
    use super::super::super::images::{ImageFormat, Split};
    use super::*;

    const KINDS: [ImageSetKind; 4] =
        [ImageSetKind::Digits, ImageSetKind::Vimh, ImageSetKind::Cifar10, ImageSetKind::Cifar100mh];

    fn contents(root: &Path) -> Vec<(String, Vec<u8>)> {
        let names =
            fs_err::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), fs_err::read(root.join(name)).unwrap())).collect()
    }

    #[test]
    fn bytes_depend_on_the_seed_and_not_on_threads() {
        let dir = tempfile::tempdir().unwrap();
        for kind in KINDS {
            let make = |name: &str, seed: u64, num_threads: usize| {
                let out = dir.path().join(format!("{kind:?}_{name}"));
                let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
                let report = pool.install(|| generate_images(kind, seed, 0.01, &out)).unwrap();
                assert!(!report.reused && report.num_train > report.num_test / 2);
                contents(&out)
            };
            let one = make("one", 5, 1);
            assert_eq!(one, make("two", 5, 2));
            assert_ne!(one, make("other", 6, 2));
        }
    }

    #[test]
    fn generated_sets_open_as_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, format, heads) in [
            (KINDS[0], ImageFormat::Idx, vec![("digit", 10), ("smoothness", 3), ("thickness", 5)]),
            (
                KINDS[1],
                ImageFormat::Vimh,
                vec![("note_number", 13), ("note_velocity", 8), ("log10_decay_time", 8)],
            ),
            (KINDS[2], ImageFormat::Cifar(Cifar::Ten), vec![("class", 10)]),
            (KINDS[3], ImageFormat::Cifar100Mh, vec![("class", 10), ("color", 6), ("size", 3)]),
        ] {
            let out = dir.path().join(kind.folder_name(0.01));
            let report = ensure_images(kind, 0, 0.01, &out).unwrap();
            let set = ImageFolder::open(&out).unwrap();
            assert_eq!((set.format, set.train.num_samples()), (format, report.num_train));
            assert_eq!(set.notes().count(), 0);
            for part in [&set.train, set.test.as_ref().unwrap()] {
                part.check_all().unwrap();
                let found: Vec<(&str, usize)> =
                    part.heads().iter().map(|head| (head.name.as_str(), head.num_classes)).collect();
                assert_eq!(found, heads);
            }
            assert!(ensure_images(kind, 0, 0.01, &out).unwrap().reused);
            let text = ensure_images(kind, 1, 0.01, &out).unwrap_err().to_string();
            assert!(text.contains("of seed 0, scale 0.01 and version 1 instead of"), "{text}");
        }
        let name = ImageSetKind::Vimh.folder_name(1.0);
        assert_eq!(name, "vimh-32x32x1_8000Hz_1p0s_4096dss_resonator_3p");
    }

    #[test]
    fn a_set_of_another_format_becomes_vimh() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("digits");
        generate_images(ImageSetKind::Digits, 0, 0.01, &source).unwrap();
        let wrong =
            convert_to_vimh(&source, &dir.path().join("vimh-32x32x1_digits")).unwrap_err().to_string();
        assert!(
            wrong.contains("another name for images of 28x28x1, found one that states 32x32x1"),
            "{wrong}"
        );
        let out = dir.path().join("vimh-28x28x1_digits");
        let report = convert_to_vimh(&source, &out).unwrap();
        let (before, after) = (ImageFolder::open(&source).unwrap(), ImageFolder::open(&out).unwrap());
        assert_eq!((after.format, report.num_train), (ImageFormat::Vimh, before.train.num_samples()));
        let read = |set: &ImageFolder| {
            let (mut pixels, mut labels) = (vec![0; 784], vec![0; 3]);
            set.train.pixels(7, &mut pixels).unwrap();
            set.train.labels(7, &mut labels).unwrap();
            (pixels, labels, set.train.heads().iter().map(|head| head.num_classes).collect::<Vec<_>>())
        };
        assert_eq!(read(&before), read(&after));
        let binary = super::super::super::images::vimh::Form::Binary;
        let binary =
            super::super::super::images::vimh::open_split(&out, Split::Test, binary).unwrap().unwrap();
        assert_eq!(binary.num_samples(), report.num_test);
        assert!(matches!(convert_to_vimh(&source, &out), Err(DataError::OutputExists { .. })));
    }
}
