//! The formats of folders of images.

use std::path::Path;

use super::cifar::Cifar;
use super::error::FormatError;
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

impl ImageFormat {
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

    pub(super) fn open_with(
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

    /// The parts of a folder beside training and test, by name, sorted.
    pub(super) fn open_own_parts(
        self,
        folder: &Path,
        strictness: Strictness,
    ) -> Result<Vec<(String, ImageSet)>, FormatError> {
        let names = if self == Self::Idx { idx::own_parts(folder) } else { Vec::new() };
        let open = |name: String| Ok((name.clone(), idx::open_own_part(folder, &name, strictness)?));
        names.into_iter().map(open).collect()
    }

    /// Mean and standard deviation of red, green and blue that the format's own programs use.
    pub fn usual_scale(self) -> Option<[[f64; 3]; 2]> {
        (self == Self::Cifar100Mh).then_some([[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]])
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
