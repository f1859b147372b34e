//! Recordings that are named one by one or by their folders, without labels: what a trained network is asked about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtrain_configs::schema::{DataConfig, DataKind};
use xxhash_rust::xxh3::Xxh3Default;

use super::cut::pieces_of_file;
use super::{Begin, Dataset, Recordings, Sample, SkippedFile, image_files, images};
use crate::error::DataError;
use crate::scan::{Family, find_files, read_headers};

impl Dataset {
    /// Opens `paths` in their order, of the kind that `config` reads: recordings or image files, and folders of them, which are
    /// walked, or one folder with a set of images. All of them are in the test part, and no label is known. Recordings
    /// that cannot be read are skipped, however many; there may be none left.
    ///
    /// # Errors
    /// A path that does not exist, a folder without recordings, a set of images that cannot be read.
    pub fn of_files(config: &DataConfig, paths: &[PathBuf]) -> Result<Self, DataError> {
        match (config.kind, paths) {
            (DataKind::Sound, _) => of_recordings(config, paths),
            (DataKind::Images, _) if config.images.size.is_some() => {
                image_files::open_unlabelled(config, paths)
            }
            (DataKind::Images, [root]) => images::open_unlabelled(config, root),
            (DataKind::Images, _) => Err(DataError::SeveralImageSets { num_paths: paths.len() }),
        }
    }
}

fn of_recordings(config: &DataConfig, paths: &[PathBuf]) -> Result<Dataset, DataError> {
    let mut named: Vec<PathBuf> = Vec::new();
    let mut skipped: Vec<SkippedFile> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            named.push(path.clone());
            continue;
        }
        let tree = find_files(path, Family::Recordings)?;
        named.extend(tree.files.iter().map(|relative| path.join(relative)));
        skipped.extend(tree.unprintable.into_iter().map(SkippedFile::unprintable));
    }
    let mut hash = Xxh3Default::new();
    let (mut samples, mut files) = (Vec::new(), Vec::new());
    for (path, header) in named.iter().zip(read_headers(&named, config.audio.channel)) {
        let relative = shown(path);
        hash.update(&(relative.len() as u64).to_le_bytes());
        hash.update(relative.as_bytes());
        match header {
            Ok(header) => {
                hash.update(&header.num_bytes.to_le_bytes());
                let (path, relative): (Arc<Path>, Arc<str>) = (path.as_path().into(), relative.into());
                let sample = |begin, num_frames| Sample {
                    path: path.clone(),
                    relative: relative.clone(),
                    begin,
                    num_frames,
                    sample_rate: header.sample_rate,
                };
                let pieces = pieces_of_file(&header, &config.audio);
                let before = samples.len();
                match pieces {
                    None => samples.push(sample(None, header.num_frames)),
                    Some(pieces) => samples.extend(
                        pieces.iter().map(|piece| sample(Some(piece.start), piece.end - piece.start)),
                    ),
                }
                let file = files.last().map_or(0, |last| last + 1);
                files.extend(vec![file; samples.len() - before]);
            }
            Err(error) => skipped.push(SkippedFile {
                path: relative,
                reason: error.problem.to_string(),
                advice: error.problem.advice(),
            }),
        }
    }
    if u32::try_from(samples.len()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: samples.len() });
    }
    let begin = |(sample, &timeline): (&Sample, &u32)| {
        let secs = sample.begin? as f64 / f64::from(sample.sample_rate.max(1));
        Some(Begin { timeline, micros: (secs * 1e6).round() as i64 })
    };
    let begins = samples.iter().zip(&files).map(begin).collect();
    let ids: Vec<u32> = (0u32..).take(samples.len()).collect();
    Ok(Dataset {
        name: config.name.clone(),
        root: PathBuf::new(),
        source: Arc::new(Recordings(samples)),
        labels: Vec::new(),
        recordings: files,
        train: Vec::new(),
        val: Vec::new(),
        test: ids,
        set_aside: Vec::new(),
        anomalies: Vec::new(),
        begins,
        own_parts: Vec::new(),
        skipped,
        warnings: Vec::new(),
        fingerprint: hash.digest(),
    })
}

/// As it was typed.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::recordings::tests::birds;
    use super::*;

    #[test]
    fn files_keep_their_order_and_folders_are_walked() {
        let (dir, config) = birds();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("rook/broken.wav"), b"RIFF").unwrap();
        let asked = [at("wren/wren3_1.wav"), at("rook"), at("koel/koel0_0.wav")];
        let dataset = Dataset::of_files(&config, &asked).unwrap();
        let names: Vec<String> =
            (0..dataset.num_samples() as u32).filter_map(|id| dataset.name_of(id)).collect();
        assert_eq!(names.len(), 10);
        assert_eq!(names.first(), Some(&asked[0].display().to_string()));
        assert_eq!(names[1], at("rook/rook0_0.wav").display().to_string());
        assert_eq!(names.last(), Some(&asked[2].display().to_string()));
        assert_eq!((dataset.test.len(), dataset.skipped.len()), (10, 1));
        assert_eq!(dataset.skipped[0].path, at("rook/broken.wav").display().to_string());
    }

    #[test]
    fn nothing_readable_is_no_error_and_an_empty_folder_is_one() {
        let (dir, config) = birds();
        let broken = dir.path().join("broken.wav");
        std::fs::write(&broken, b"no sound").unwrap();
        let dataset = Dataset::of_files(&config, &[broken, dir.path().join("gone.wav")]).unwrap();
        assert_eq!((dataset.num_samples(), dataset.skipped.len()), (0, 2));
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        assert!(matches!(Dataset::of_files(&config, &[empty]), Err(DataError::NoRecordings { .. })));
    }

    #[test]
    fn images_come_as_one_set() {
        let (dir, config) = birds();
        let config = DataConfig { kind: DataKind::Images, ..config };
        let two = [dir.path().to_owned(), dir.path().to_owned()];
        let error = Dataset::of_files(&config, &two).unwrap_err();
        assert!(error.to_string().contains("2 paths"), "{error}");
        assert!(error.hint().is_some());
    }
}
