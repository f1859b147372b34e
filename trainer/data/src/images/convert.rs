//! Any set of images as VIMH, for instance CIFAR-100-MH.

use std::path::Path;

use serde_json::Map;

use super::error::{FormatError, FormatProblem};
use super::folder::ImageFolder;
use super::head::{Head, Reading};
use super::set::ImageSet;
use super::vimh::{Mapping, Parameter, SetMeta, write_set};

/// Writes `source` as VIMH into the existing folder `out`, pickled and binary. Labels keep their bytes and their
/// meaning.
///
/// # Errors
/// No test part, a bad sample in the source, no space, no permission.
pub fn write_as_vimh(source: &ImageFolder, name: &str, out: &Path) -> Result<(), FormatError> {
    let Some(test) = &source.test else {
        return Err(FormatProblem::NotFound {
            looked_for: "the files of the test part".into(),
            instead: None,
        }
        .of(&source.root));
    };
    for part in [&source.train, test] {
        part.check_all()?;
    }
    write_set(out, name, &meta(&source.train), &source.train, test)
}

/// What makes a reader take the labels as this set does.
pub(super) fn meta(set: &ImageSet) -> SetMeta {
    let heads = set.heads().iter().map(|head| Parameter { name: head.name.clone(), mapping: mapping(head) });
    SetMeta { shape: set.shape(), heads: heads.collect(), fixed: Vec::new(), further: Map::new() }
}

/// As [`meta`], for a head.
fn mapping(head: &Head) -> Mapping {
    let Head { range, scale, description, .. } = head.clone();
    match head.reading {
        Reading::ClassIndex => Mapping {
            min: Some(0.0),
            max: Some(head.num_classes as f64 - 1.0),
            num_classes: Some(head.num_classes as u64),
            kind: Some("classification".into()),
            scale,
            description,
            ..Mapping::default()
        },
        Reading::Steps | Reading::Raw => Mapping {
            min: range.map(|range| range.min),
            max: range.map(|range| range.max),
            step: range.map(|range| range.step),
            scale,
            description,
            ..Mapping::default()
        },
    }
}
