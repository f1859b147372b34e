//! A folder of images, whatever its format.

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::error::{FormatError, FormatProblem};
use super::format::ImageFormat;
use super::look_around::instead;
use super::set::ImageSet;
use super::split::Split;
use super::strictness::Strictness;

/// The parts of a set.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    /// Where it is.
    pub root: PathBuf,
    /// What it is.
    pub format: ImageFormat,
    /// To learn from.
    pub train: ImageSet,
    /// To report on, where there is such a part.
    pub test: Option<ImageSet>,
    /// Further parts by their names, sorted: `val` to choose by, and what else there is to report on.
    pub own_parts: Vec<(String, ImageSet)>,
}

impl ImageFormat {
    /// The format of a folder, by the names of its files.
    ///
    /// # Errors
    /// No known one.
    pub fn of_folder(folder: &Path) -> Result<Self, FormatError> {
        if folder.is_file() {
            // An archive, or one file of the set.
            Bytes::map_plain(folder)?;
        }
        if !folder.is_dir() {
            return Err(FormatProblem::NoFolder.of(folder));
        }
        Self::known(folder).ok_or_else(|| {
            let looked_for = "`train-images-idx3-ubyte`, `data_batch_1.bin`, `train.bin`, `vimh_dataset_info.json` and \
                              `cifar100mh_dataset_info.json`";
            FormatProblem::NotFound { looked_for: looked_for.into(), instead: instead(folder) }.of(folder)
        })
    }
}

impl ImageFolder {
    /// Opens a folder. Headers are read, and the first and last sample of each file.
    ///
    /// # Errors
    /// An unknown format, no part to train on, parts of different shapes or heads.
    pub fn open(root: &Path) -> Result<Self, FormatError> {
        Self::open_with(root, Strictness::Strict)
    }

    /// As [`ImageFolder::open`], but bad samples are left to whoever reads them.
    ///
    /// # Errors
    /// An unknown format, no part to train on, parts of different shapes or heads.
    pub fn open_to_inspect(root: &Path) -> Result<Self, FormatError> {
        Self::open_with(root, Strictness::Lenient)
    }

    fn open_with(root: &Path, strictness: Strictness) -> Result<Self, FormatError> {
        let format = ImageFormat::of_folder(root)?;
        let Some(train) = format.open_with(root, Split::Train, strictness)? else {
            return Err(FormatProblem::NotFound {
                looked_for: "the files of the training part".into(),
                instead: None,
            }
            .of(root));
        };
        let test = format.open_with(root, Split::Test, strictness)?;
        if let Some(test) = &test {
            check_alike(&train, test, "test").map_err(|problem| problem.of(root))?;
        }
        let own_parts = format.open_own_parts(root, strictness)?;
        for (name, set) in &own_parts {
            check_alike(&train, set, name).map_err(|problem| problem.of(root))?;
        }
        Ok(Self { root: root.to_path_buf(), format, train, test, own_parts })
    }

    /// The sets of all parts in the order of their samples, each with its name.
    pub fn sets(&self) -> impl Iterator<Item = (&str, &ImageSet)> {
        let own = self.own_parts.iter().map(|(name, set)| (name.as_str(), set));
        self.parts().map(|(split, set)| (split.name(), set)).chain(own)
    }

    /// Whether any sample has a mask.
    pub fn has_masks(&self) -> bool {
        self.sets().any(|(_, set)| set.has_masks())
    }

    /// Training and test, as far as they are there.
    pub fn parts(&self) -> impl Iterator<Item = (Split, &ImageSet)> {
        let test = self.test.iter().map(|test| (Split::Test, test));
        std::iter::once((Split::Train, &self.train)).chain(test)
    }

    /// Things worth knowing about the parts.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.sets().flat_map(|(_, set)| set.notes())
    }
}

fn check_alike(train: &ImageSet, part: &ImageSet, name: &str) -> Result<(), FormatProblem> {
    let heads = |set: &ImageSet| {
        let heads: Vec<String> = set
            .heads()
            .iter()
            .map(|head| format!("`{}` of {} classes", head.name, head.num_classes))
            .collect();
        format!("{} with {}", set.shape(), heads.join(", "))
    };
    match (heads(train), heads(part)) {
        (expected, found) if expected == found => Ok(()),
        (expected, found) => Err(FormatProblem::key(name, format!("{expected}, as for training"), found)),
    }
}
