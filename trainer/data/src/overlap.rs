//! What two data sets have in common, so that nothing is judged on what it was trained on: samples of the same bytes, whatever
//! they are called, and recordings of the same name. Sizes are compared first, so that most files are not read.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::progress::Work;

/// A sample of one set with the one of the other that it is.
pub type Pair = (u32, u32);

/// Each sample of `other` that has the bytes of one of `ids` of `dataset`, with the first such one. What cannot be read is none.
pub fn of_content(dataset: &Dataset, ids: &[u32], other: &Dataset) -> Vec<Pair> {
    let sizes_of = |dataset: &Dataset, ids: &[u32]| -> Vec<(u32, u64)> {
        ids.par_iter().filter_map(|&id| Some((id, dataset.source.size_of(id)?))).collect()
    };
    let own = sizes_of(dataset, ids);
    let sizes: HashSet<u64> = own.iter().map(|(_, size)| *size).collect();
    let all: Vec<u32> = (0u32..).take(other.num_samples()).collect();
    let mut candidates = sizes_of(other, &all);
    candidates.retain(|(_, size)| sizes.contains(size));
    let sizes: HashSet<u64> = candidates.iter().map(|(_, size)| *size).collect();
    let own: Vec<(u32, u64)> = own.into_iter().filter(|(_, size)| sizes.contains(size)).collect();

    let work =
        Work::begin("comparing samples of equal size", "samples", (own.len() + candidates.len()) as u64);
    let hashes_of = |dataset: &Dataset, samples: &[(u32, u64)]| -> Vec<(u32, u128)> {
        let hash = |&(id, _): &(u32, u64)| {
            work.add(1);
            Some((id, dataset.source.hash_of(id)?))
        };
        samples.par_iter().filter_map(hash).collect()
    };
    let mut known: HashMap<u128, u32> = HashMap::new();
    for (id, hash) in hashes_of(dataset, &own) {
        known.entry(hash).or_insert(id);
    }
    let same = |(id, hash): (u32, u128)| Some((id, *known.get(&hash)?));
    hashes_of(other, &candidates).into_iter().filter_map(same).collect()
}

/// The recordings of `other`, by its label `of_other`, whose names are those of recordings of `ids` of `dataset`, by its label
/// `of_dataset`. None where a set has no such label.
pub fn of_recordings(
    (dataset, ids, of_dataset): (&Dataset, &[u32], &str),
    (other, of_other): (&Dataset, &str),
) -> Vec<String> {
    let (Some(own), Some(others)) = (dataset.label(of_dataset), other.label(of_other)) else {
        return Vec::new();
    };
    let known: HashSet<&str> = ids.iter().filter_map(|&id| own.class_name(id)).collect();
    others.classes.iter().filter(|name| known.contains(name.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dtrain_configs::schema::{DataConfig, LabelsConfig};

    use super::*;
    use crate::dataset::LabelAccess;

    /// Recordings of constant value and of this many samples.
    fn write(folder: &Path, files: &[(&str, i16, u32)]) {
        for (name, value, samples) in files {
            let path = folder.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            let spec = hound::WavSpec {
                channels: 1,
                sample_rate: 8000,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let mut writer = hound::WavWriter::create(path, spec).unwrap();
            (0..*samples).for_each(|_| writer.write_sample(*value).unwrap());
            writer.finalize().unwrap();
        }
    }

    fn open(root: &Path) -> Dataset {
        let labels = LabelsConfig { folders: vec!["class".into(), "take".into()], ..LabelsConfig::default() };
        let config = DataConfig { labels, ..DataConfig::default() };
        Dataset::open(&config, root, LabelAccess::All).unwrap()
    }

    #[test]
    fn the_same_bytes_are_found_under_any_name_and_the_same_size_is_not_enough() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write(
            &a,
            &[("x/1/p.wav", 1, 100), ("x/2/q.wav", 2, 100), ("y/3/r.wav", 3, 70), ("y/4/s.wav", 4, 50)],
        );
        write(
            &b,
            &[("z/1/t.wav", 2, 100), ("z/7/u.wav", 9, 100), ("z/8/v.wav", 3, 71), ("w/9/p.wav", 4, 50)],
        );
        let (a, b) = (open(&a), open(&b));
        let name = |dataset: &Dataset, id: u32| dataset.name_of(id).unwrap();
        let found = |ids: &[u32]| -> Vec<(String, String)> {
            of_content(&a, ids, &b).into_iter().map(|(b_id, a_id)| (name(&b, b_id), name(&a, a_id))).collect()
        };
        let pair = |bank: &str, own: &str| (bank.to_owned(), own.to_owned());
        assert_eq!(found(&[0, 1, 2, 3]), [pair("w/9/p.wav", "y/4/s.wav"), pair("z/1/t.wav", "x/2/q.wav")]);
        // Only what is asked for counts.
        assert_eq!(found(&[0, 3]), [pair("w/9/p.wav", "y/4/s.wav")]);
        assert_eq!(found(&[]), []);
        assert_eq!(of_recordings((&a, &[0, 1], "take"), (&b, "take")), ["1"]);
        assert_eq!(of_recordings((&a, &[1, 2], "take"), (&b, "take")), Vec::<String>::new());
        assert_eq!(of_recordings((&a, &[0], "take"), (&b, "nothing")), Vec::<String>::new());
    }
}
