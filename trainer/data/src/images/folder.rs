//! A folder of images, whatever its format.

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::error::{FormatError, FormatProblem};
use super::format::ImageFormat;
use super::look_around::instead;
use super::set::ImageSet;
use super::split::Split;
use super::strictness::Strictness;

/// Both parts of a set.
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
            check_alike(&train, test).map_err(|problem| problem.of(root))?;
        }
        Ok(Self { root: root.to_path_buf(), format, train, test })
    }

    /// The parts that there are.
    pub fn parts(&self) -> impl Iterator<Item = (Split, &ImageSet)> {
        let test = self.test.iter().map(|test| (Split::Test, test));
        std::iter::once((Split::Train, &self.train)).chain(test)
    }

    /// Things worth knowing about both parts.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.train.notes().iter().chain(self.test.iter().flat_map(ImageSet::notes))
    }
}

fn check_alike(train: &ImageSet, test: &ImageSet) -> Result<(), FormatProblem> {
    let heads = |set: &ImageSet| {
        let heads: Vec<String> = set
            .heads()
            .iter()
            .map(|head| format!("`{}` of {} classes", head.name, head.num_classes))
            .collect();
        format!("{} with {}", set.shape(), heads.join(", "))
    };
    match (heads(train), heads(test)) {
        (expected, found) if expected == found => Ok(()),
        (expected, found) => Err(FormatProblem::key("test", format!("{expected}, as for training"), found)),
    }
}
