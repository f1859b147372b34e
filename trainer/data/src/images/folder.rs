//! A folder of images, whatever its format.

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::cifar::Cifar;
use super::error::{FormatError, FormatProblem};
use super::look_around::instead;
use super::set::ImageSet;
use super::split::Split;
use super::strictness::Strictness;
use super::{cifar100mh, idx, vimh};

/// A format of folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// MNIST and its kin.
    Idx,
    /// CIFAR-10 or CIFAR-100, binary.
    Cifar(Cifar),
    /// VIMH.
    Vimh,
    /// CIFAR-100-MH.
    Cifar100Mh,
}

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

    /// The format of a folder, where it has one.
    pub(super) fn known(folder: &Path) -> Option<Self> {
        if vimh::is_vimh(folder) {
            Some(Self::Vimh)
        } else if idx::has_images(folder) {
            Some(Self::Idx)
        } else if let Some(cifar) = Cifar::of_folder(folder) {
            Some(Self::Cifar(cifar))
        } else {
            cifar100mh::is_cifar100mh(folder).then_some(Self::Cifar100Mh)
        }
    }

    /// What such a folder holds, in a sentence.
    pub(super) fn of_what(self) -> &'static str {
        match self {
            Self::Idx => "IDX files, as MNIST's",
            Self::Cifar(Cifar::Ten) => "CIFAR-10",
            Self::Cifar(Cifar::Hundred) => "CIFAR-100",
            Self::Vimh => "a VIMH set",
            Self::Cifar100Mh => "CIFAR-100-MH",
        }
    }

    /// Opens one part of a folder; nothing where it has none.
    ///
    /// # Errors
    /// Files that are not of the format.
    pub fn open_split(self, folder: &Path, split: Split) -> Result<Option<ImageSet>, FormatError> {
        self.open_with(folder, split, Strictness::Strict)
    }

    fn open_with(
        self,
        folder: &Path,
        split: Split,
        strictness: Strictness,
    ) -> Result<Option<ImageSet>, FormatError> {
        match self {
            Self::Idx => idx::open_split(folder, split, strictness),
            Self::Cifar(cifar) => cifar.open_split(folder, split, strictness),
            Self::Vimh => vimh::open_with(folder, split, vimh::Form::Any, strictness),
            Self::Cifar100Mh => cifar100mh::open_with(folder, split, strictness),
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idx => "IDX",
            Self::Cifar(Cifar::Ten) => "CIFAR-10",
            Self::Cifar(Cifar::Hundred) => "CIFAR-100",
            Self::Vimh => "VIMH",
            Self::Cifar100Mh => "CIFAR-100-MH",
        }
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
