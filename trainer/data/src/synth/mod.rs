//! Recordings and images made by seed, so that a first run needs no download. Each set has the trap built in that its recipe is
//! about.

mod birdsong;
mod confounded;
mod digits;
mod dsp;
mod environmental_sounds;
mod image_sets;
mod machine_sounds;
#[cfg(test)]
mod nearest;
mod objects;
mod scenes;
mod spoken_digits;
mod staging;
mod vimh;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::progress::Work;
pub use confounded::Confounder;
pub use image_sets::{ImageReport, ImageSetKind, confound, convert_to_vimh, ensure_images, generate_images};
use staging::Staging;

/// Largest size, as a factor of a generator's own.
pub const MAX_SCALE: f64 = 1000.0;

/// File in a generated folder that says what it was generated from.
pub const GENERATED_FILE: &str = "dtrain-generated.json";

/// A generator of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingSetKind {
    /// Species with their own syllables.
    Birdsong,
    /// Digits of several speakers in the layout of the Free Spoken Digit Dataset.
    SpokenDigits,
    /// Ten classes of sounds in the layout of ESC-50.
    EnvironmentalSounds,
    /// Machines of one type with known faults, in the layout of MIMII.
    MachineSounds,
}

impl RecordingSetKind {
    /// Raised whenever the generator's output changes.
    fn version(self) -> u32 {
        match self {
            Self::Birdsong => 2,
            Self::SpokenDigits | Self::EnvironmentalSounds | Self::MachineSounds => 1,
        }
    }
}

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateReport {
    /// Folder of the set, a `data.root`.
    pub root: PathBuf,
    /// Recordings.
    pub num_recordings: usize,
    /// Length of all recordings, in seconds.
    pub duration_secs: f64,
    /// The set was there already.
    pub reused: bool,
}

/// What a set was generated from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Manifest {
    kind: RecordingSetKind,
    seed: u64,
    scale: f64,
    version: u32,
    num_recordings: usize,
    duration_secs: f64,
}

impl Manifest {
    fn has_source_of(&self, other: &Self) -> bool {
        let source = |manifest: &Self| (manifest.kind, manifest.seed, manifest.scale, manifest.version);
        source(self) == source(other)
    }

    fn report(&self, root: &Path, reused: bool) -> GenerateReport {
        let Self { num_recordings, duration_secs, .. } = *self;
        GenerateReport { root: root.to_path_buf(), num_recordings, duration_secs, reused }
    }
}

/// A set of recordings as a function.
struct Collection {
    sample_rate: u32,
    /// Paths below the root.
    recordings: Vec<String>,
    /// Further files with their contents.
    tables: Vec<(&'static str, String)>,
    /// The samples of the i-th recording, within (-1, 1).
    render: Box<dyn Fn(usize) -> Vec<f64> + Sync>,
}

/// Generates a set into the new folder `out`. It appears there at once and complete. The bytes depend on `kind`,
/// `seed` and `scale` only, not on threads.
///
/// # Errors
/// `scale` out of range, `out` exists and is not an empty folder, no space, no permission.
pub fn generate(
    kind: RecordingSetKind,
    seed: u64,
    scale: f64,
    out: &Path,
) -> Result<GenerateReport, DataError> {
    if !(scale > 0.0 && scale <= MAX_SCALE) {
        return Err(DataError::Scale { scale, max: MAX_SCALE });
    }
    refuse_occupied(out)?;
    let collection = match kind {
        RecordingSetKind::Birdsong => birdsong::collection(seed, scale),
        RecordingSetKind::SpokenDigits => spoken_digits::collection(seed, scale),
        RecordingSetKind::EnvironmentalSounds => environmental_sounds::collection(seed, scale),
        RecordingSetKind::MachineSounds => machine_sounds::collection(seed, scale),
    };
    let staging = Staging::beside(out)?;
    for relative in &collection.recordings {
        staging.make_folder_of(relative)?;
    }
    let work = Work::begin("generating recordings", "files", collection.recordings.len() as u64);
    let num_frames: u64 = collection
        .recordings
        .par_iter()
        .enumerate()
        .map(|(i, relative)| {
            let samples = (collection.render)(i);
            staging.write(relative, &wav_bytes(&samples, collection.sample_rate)?)?;
            work.add(1);
            Ok(samples.len() as u64)
        })
        .sum::<Result<u64, DataError>>()?;
    for (relative, text) in &collection.tables {
        staging.make_folder_of(relative)?;
        staging.write(relative, text.as_bytes())?;
    }
    let manifest = Manifest {
        kind,
        seed,
        scale,
        version: kind.version(),
        num_recordings: collection.recordings.len(),
        duration_secs: num_frames as f64 / f64::from(collection.sample_rate),
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from)?;
    staging.write(GENERATED_FILE, &json)?;
    if staging.publish(out)? {
        return Ok(manifest.report(out, false));
    }
    // Another process was faster: its set serves if it is the same one.
    match read_manifest(out)? {
        Some(existing) if existing.has_source_of(&manifest) => Ok(existing.report(out, true)),
        _ => Err(DataError::OutputExists { path: out.to_path_buf(), found: "is not empty".into() }),
    }
}

/// Like [`generate`], but takes what an earlier call with the same arguments left at `out`.
///
/// # Errors
/// As [`generate`]; `out` holds another set, or the set of another version.
pub fn ensure(
    kind: RecordingSetKind,
    seed: u64,
    scale: f64,
    out: &Path,
) -> Result<GenerateReport, DataError> {
    let Some(existing) = read_manifest(out)? else { return generate(kind, seed, scale, out) };
    let wanted = Manifest { kind, seed, scale, version: kind.version(), ..existing.clone() };
    if existing.has_source_of(&wanted) {
        return Ok(existing.report(out, true));
    }
    let Manifest { kind: old_kind, seed: old_seed, scale: old_scale, version, .. } = existing;
    Err(DataError::OutputExists {
        path: out.to_path_buf(),
        found: format!(
            "holds {old_kind:?} of seed {old_seed}, scale {old_scale} and version {version} instead of {kind:?} of \
             seed {seed}, scale {scale} and version {}",
            kind.version()
        ),
    })
}

/// The progress of drawing that many images.
fn drawing(num_images: usize) -> Work {
    Work::begin("generating images", "images", num_images as u64)
}

/// Size of a part of the default size `default`, at least `least`.
fn scaled(default: usize, scale: f64, least: usize) -> usize {
    ((default as f64 * scale).round() as usize).max(least)
}

fn refuse_occupied(out: &Path) -> Result<(), DataError> {
    let found = match fs_err::symlink_metadata(out) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.is_dir() => "is not a folder",
        Ok(_) if fs_err::read_dir(out)?.next().is_none() => return Ok(()),
        Ok(_) => "is not empty",
    };
    Err(DataError::OutputExists { path: out.to_path_buf(), found: found.into() })
}

fn read_manifest(root: &Path) -> Result<Option<Manifest>, DataError> {
    const MAX_BYTES: u64 = 64 << 10;
    let path = root.join(GENERATED_FILE);
    match fs_err::metadata(&path) {
        Ok(metadata) if metadata.len() <= MAX_BYTES => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let bytes = fs_err::read(&path)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// A WAV file of one channel in 16 bits.
fn wav_bytes(samples: &[f64], sample_rate: u32) -> Result<Vec<u8>, DataError> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::with_capacity(2 * samples.len() + 64));
    let failed = |error: hound::Error| std::io::Error::other(error);
    let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(failed)?;
    for sample in samples {
        writer.write_sample((sample * 32_767.0).round() as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const KINDS: [RecordingSetKind; 3] =
        [RecordingSetKind::Birdsong, RecordingSetKind::SpokenDigits, RecordingSetKind::EnvironmentalSounds];

    fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.strip_prefix(root).unwrap().to_path_buf(), fs_err::read(path).unwrap());
                }
            }
        }
        files
    }

    #[test]
    fn bytes_depend_on_the_seed_and_not_on_threads() {
        let dir = tempfile::tempdir().unwrap();
        for kind in KINDS {
            let make = |name: &str, seed: u64, num_threads: usize| {
                let out = dir.path().join(format!("{kind:?}_{name}"));
                let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
                let report = pool.install(|| generate(kind, seed, 0.1, &out)).unwrap();
                assert!(!report.reused && report.duration_secs > 0.0);
                contents(&out)
            };
            let one = make("one", 5, 1);
            assert_eq!(one, make("two", 5, 2));
            let other = make("other", 6, 2);
            assert!(one.keys().eq(other.keys()));
            assert!(one.iter().filter(|(name, bytes)| other[*name] == **bytes).count() <= 1);
        }
    }

    #[test]
    fn an_existing_set_is_reused_and_another_one_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("deep/er/set");
        let [kind, other_kind, _] = KINDS;
        let first = ensure(kind, 0, 0.05, &out).unwrap();
        let second = ensure(kind, 0, 0.05, &out).unwrap();
        assert_eq!(second, GenerateReport { reused: true, ..first });
        for (kind, seed, scale) in [(kind, 1, 0.05), (kind, 0, 0.06), (other_kind, 0, 0.05)] {
            let error = ensure(kind, seed, scale, &out).unwrap_err();
            assert!(error.to_string().contains("holds Birdsong of seed 0, scale 0.05"), "{error}");
            assert!(error.hint().unwrap().contains("remove"));
        }
        assert!(matches!(generate(kind, 0, 0.05, &out), Err(DataError::OutputExists { .. })));
        let names: Vec<_> =
            fs_err::read_dir(out.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["set"]);
    }

    #[test]
    fn foreign_folders_and_wrong_scales_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("mine");
        fs_err::create_dir(&out).unwrap();
        fs_err::write(out.join("thesis.txt"), "precious").unwrap();
        assert!(matches!(ensure(KINDS[0], 0, 0.05, &out), Err(DataError::OutputExists { .. })));
        assert_eq!(contents(&out).len(), 1);
        for scale in [0.0, -1.0, f64::NAN, 1e9] {
            assert!(matches!(generate(KINDS[0], 0, scale, &out), Err(DataError::Scale { .. })));
        }
        fs_err::remove_file(out.join("thesis.txt")).unwrap();
        assert!(ensure(KINDS[0], 0, 0.05, &out).is_ok());
    }

    #[test]
    fn what_cannot_be_written_says_where_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("file"), "").unwrap();
        let error = generate(KINDS[1], 0, 0.1, &dir.path().join("file/set")).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }
}
