//! CIFAR-100-MH: the pickled form of VIMH under other names. A label is the class. There are as many classes as the
//! metadata's `min` and `max` say if they say so for every head, else one more than the largest label. Images are
//! 32x32x3 unless `image_size` says otherwise.

mod write;

use std::path::Path;

use super::error::{FormatError, FormatProblem};
use super::head::Head;
use super::set::ImageSet;
use super::shape::StatedShape;
use super::split::Split;
use super::strictness::Strictness;
use super::vimh::{Family, Form, INFO_FILE, Info, PickledFile, class_heads, open_family};

pub use write::write_set;

/// File with the metadata; [`INFO_FILE`] serves where it is missing.
const OWN_INFO_FILE: &str = "cifar100mh_dataset_info.json";

const FORMAT: &str = "CIFAR-100-MH";

const FAMILY: Family = Family {
    info_files: &[OWN_INFO_FILE, INFO_FILE],
    formats: &[FORMAT, "VIMH"],
    default_shape: StatedShape { height: Some(32), width: Some(32), channels: Some(3) },
    heads,
};

/// True where a folder is of this format. One without metadata is, if it has no other format's.
pub(super) fn is_cifar100mh(folder: &Path) -> bool {
    folder.join(OWN_INFO_FILE).is_file()
        || (!folder.join(INFO_FILE).is_file() && folder.join("train_batch").is_file())
}

/// Opens one part of a folder; nothing where it has none.
///
/// # Errors
/// As [`super::vimh::open_split`].
pub fn open_split(folder: &Path, split: Split) -> Result<Option<ImageSet>, FormatError> {
    open_with(folder, split, Strictness::Strict)
}

/// As [`open_split`].
pub(super) fn open_with(
    folder: &Path,
    split: Split,
    strictness: Strictness,
) -> Result<Option<ImageSet>, FormatError> {
    open_family(&FAMILY, folder, split, Form::Pickle, strictness)
}

fn heads(info: &Info, file: &PickledFile) -> Result<Vec<Head>, FormatProblem> {
    let stated = |id: u8| {
        let mapping = info.parameter_mappings.get(&info.name_of(id))?;
        Some(mapping.max? - mapping.min? + 1.0)
    };
    let (classes, source): (Vec<f64>, _) =
        match file.ids.iter().map(|&id| stated(id)).collect::<Option<Vec<f64>>>() {
            Some(classes) => (classes, "`max` - `min` + 1"),
            None => (
                file.largest().into_iter().map(|largest| f64::from(largest) + 1.0).collect(),
                "the largest label",
            ),
        };
    class_heads(info, &file.ids, &classes, source)
}

#[cfg(test)]
mod tests {
    use super::super::{ImageFolder, ImageFormat};
    use super::*;
    use crate::pickle::PickleWriter;

    /// Writes a part whose rows of labels are `[2, 0, coarse, 1, fine]`.
    fn write_part(path: &Path, labels: &[[u8; 2]], image_len: usize) {
        let mut writer = PickleWriter::new(fs_err::File::create(path).unwrap()).unwrap();
        writer
            .dict(&["data", "cifar100mh_labels"], |writer, key| match key {
                0 => writer.array([labels.len(), image_len], "|u1", labels.len() * image_len, |out| {
                    (0..labels.len()).try_for_each(|sample| out.write_all(&vec![sample as u8; image_len]))
                }),
                _ => writer.list(labels.len(), |writer, sample| {
                    let [coarse, fine] = labels[sample];
                    writer.row(&[2, 0, coarse, 1, fine])
                }),
            })
            .unwrap();
        writer.finish().unwrap();
    }

    fn lines(set: &ImageSet) -> Vec<String> {
        set.heads().iter().map(|head| format!("{} {} {}", head.name, head.num_classes, head.source)).collect()
    }

    #[test]
    fn without_metadata_shape_and_classes_have_defaults() {
        let dir = tempfile::tempdir().unwrap();
        write_part(&dir.path().join("train_batch"), &[[3, 99], [19, 0]], 3072);
        assert_eq!(ImageFormat::of_folder(dir.path()).unwrap(), ImageFormat::Cifar100Mh);
        let set = ImageFolder::open(dir.path()).unwrap().train;
        assert_eq!((set.shape().to_string(), set.notes().len()), ("32x32x3".into(), 1));
        assert_eq!(lines(&set), ["param_0 20 the largest label", "param_1 100 the largest label"]);
        write_part(&dir.path().join("train_batch"), &[[3, 99]], 784);
        let text = open_split(dir.path(), Split::Train).unwrap_err().to_string();
        let expected = "key `data`: expected rows of 3072 bytes for images of 32x32x3, found rows of 784";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn metadata_count_the_classes_of_all_heads_or_of_none() {
        let dir = tempfile::tempdir().unwrap();
        write_part(&dir.path().join("train_batch"), &[[3, 9]], 12);
        let opened = |mappings: &str| {
            let json = format!(
                r#"{{"format": "CIFAR-100-MH", "version": "1.0", "image_size": "2x2x3",
                    "parameter_names": ["coarse", "fine"], "parameter_mappings": {mappings}}}"#
            );
            fs_err::write(dir.path().join(OWN_INFO_FILE), json).unwrap();
            open_split(dir.path(), Split::Train).map(Option::unwrap)
        };
        let set = opened(r#"{"coarse": {"min": 0, "max": 19}, "fine": {"min": 0, "max": 99}}"#).unwrap();
        assert_eq!(lines(&set), ["coarse 20 `max` - `min` + 1", "fine 100 `max` - `min` + 1"]);
        assert_eq!(set.shape().to_string(), "2x2x3");
        let set = opened(r#"{"coarse": {"min": 0, "max": 19}}"#).unwrap();
        assert_eq!(lines(&set), ["coarse 4 the largest label", "fine 10 the largest label"]);
        let text = opened(r#"{"coarse": {"min": 0, "max": 19}, "fine": {"min": 0, "max": 5}}"#).unwrap_err();
        assert!(
            text.to_string().ends_with("label 9 of head `fine` is out of range, it has 6 classes"),
            "{text}"
        );
    }
}
