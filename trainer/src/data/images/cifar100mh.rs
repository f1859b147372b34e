//! CIFAR-100-MH: the pickled form of VIMH under other names. A label is the class. There are as many classes as the
//! metadata's `min` and `max` say if they say so for every head, else one more than the largest label. Images are
//! 32x32x3 unless `image_size` says otherwise.

use std::path::Path;

use super::error::{FormatError, FormatProblem};
use super::head::Head;
use super::set::ImageSet;
use super::shape::StatedShape;
use super::split::Split;
use super::vimh::{Family, Form, INFO_FILE, Info, PickledFile, class_heads, open_family};

/// File with the metadata; [`INFO_FILE`] serves where it is missing.
const OWN_INFO_FILE: &str = "cifar100mh_dataset_info.json";

const FAMILY: Family = Family {
    info_files: &[OWN_INFO_FILE, INFO_FILE],
    formats: &["CIFAR-100-MH", "VIMH"],
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
    open_family(&FAMILY, folder, split, Form::Pickle)
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
