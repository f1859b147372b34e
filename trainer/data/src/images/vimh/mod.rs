//! VIMH, "variable image multi-head": images of any size whose labels are parameters, such as those of a synthesizer.
//! A folder holds `vimh_dataset_info.json`, and for each part a pickle (`train_batch`, `test_batch`), a binary file
//! (`train`, `test`), or both; pickles go first. CIFAR-100-MH is the same with other names ([`super::cifar100mh`]).
//!
//! Both forms store planes of rows. The format's own reader takes pickled pixels as rows of pixels with interleaved
//! channels, which scrambles images of three channels; this one does not.

mod binary;
mod folder_name;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod info;
mod labels;
mod pickled;
mod write;

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::error::{FormatError, FormatProblem};
use super::head::Head;
use super::json::read_json;
use super::set::{ImageSet, Shard, StatedBy};
use super::shape::{ImageShape, StatedShape};
use super::split::Split;
use super::strictness::Strictness;
use binary::BinaryFile;

pub use folder_name::folder_name;
pub use info::{Info, Mapping};
pub(super) use labels::class_heads;
pub(super) use pickled::PickledFile;
pub use write::{Parameter, Samples, SetMeta, write_set};

/// File with the metadata.
pub const INFO_FILE: &str = "vimh_dataset_info.json";

/// Which form of a part to open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// The pickle if there is one, else the binary file.
    #[default]
    Any,
    /// `train_batch`
    Pickle,
    /// `train`
    Binary,
}

/// What a set of this family decides for itself.
pub(super) struct Family {
    /// Metadata files, in this order.
    pub info_files: &'static [&'static str],
    /// What `format` must be, where it is stated.
    pub formats: &'static [&'static str],
    /// The shape where no source states one.
    pub default_shape: StatedShape,
    /// The heads of a pickle.
    pub heads: fn(&Info, &PickledFile) -> Result<Vec<Head>, FormatProblem>,
}

const FAMILY: Family = Family {
    info_files: &[INFO_FILE],
    formats: &["VIMH"],
    default_shape: StatedShape { height: None, width: None, channels: None },
    heads: |info, file| labels::heads(info, &file.ids, &file.heads_config),
};

/// True where a folder is of this format.
pub(super) fn is_vimh(folder: &Path) -> bool {
    folder.join(INFO_FILE).is_file()
}

/// # Errors
/// The name of a folder states another shape than its set will have.
pub fn check_folder_name(folder: &Path, shape: ImageShape) -> Result<(), FormatError> {
    let (stated, found) = (folder_name::stated_shape(folder), binary::stated(shape));
    match stated.agrees_with(found) {
        true => Ok(()),
        false => {
            let expected = format!("a folder of another name for images of {shape}");
            Err(FormatProblem::key("name", expected, format!("one that states {stated}")).of(folder))
        }
    }
}

/// Opens one part of a folder; nothing where it has none in this form.
///
/// # Errors
/// Files that are not of the format, sources that disagree on the shape, heads that differ between samples.
pub fn open_split(folder: &Path, split: Split, form: Form) -> Result<Option<ImageSet>, FormatError> {
    open_with(folder, split, form, Strictness::Strict)
}

/// As [`open_split`].
pub(super) fn open_with(
    folder: &Path,
    split: Split,
    form: Form,
    strictness: Strictness,
) -> Result<Option<ImageSet>, FormatError> {
    open_family(&FAMILY, folder, split, form, strictness)
}

pub(super) fn open_family(
    family: &Family,
    folder: &Path,
    split: Split,
    form: Form,
    strictness: Strictness,
) -> Result<Option<ImageSet>, FormatError> {
    let existing = |name: String| Some(folder.join(name)).filter(|path| path.is_file());
    let pickle = existing(format!("{}_batch", split.name())).filter(|_| form != Form::Binary);
    let binary = existing(split.name().to_owned()).filter(|_| form != Form::Pickle);
    let mut notes = Vec::new();
    let info_path = family.info_files.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let info: Info = match &info_path {
        Some(path) => read_json(path)?,
        None => {
            notes.push(format!("`{}` has no `{}`: heads are named by number", folder.display(), INFO_FILE));
            Info::default()
        }
    };
    let info_path = info_path.unwrap_or_else(|| folder.join(INFO_FILE));
    if let Some(format) = info.format.as_ref().filter(|format| !family.formats.contains(&format.as_str())) {
        let expected = family.formats.join(" or ");
        return Err(FormatProblem::key("format", expected, format!("`{format}`")).of(&info_path));
    }
    if let (Some(pickle), Some(_)) = (&pickle, &binary)
        && info.output_format.as_deref() != Some("both")
    {
        notes.push(format!(
            "`{}` is read and the binary file beside it is not; one may be stale, since the metadata do not say \
             `output_format` = `both`",
            pickle.display()
        ));
    }
    let part = Part { family, folder, info: &info, info_path: &info_path, strictness };
    let Opened { path, stated, shape, heads, shard } = match (pickle, binary) {
        (Some(path), _) => part.open_pickle(path)?,
        (None, Some(path)) => part.open_binary(path)?,
        (None, None) => return Ok(None),
    };
    if let Some(stated) = info.num_samples(split).filter(|&stated| stated != shard.num_samples as u64) {
        notes.push(format!(
            "`{}` states {stated} samples, `{}` holds {}",
            info_path.display(),
            path.display(),
            shard.num_samples
        ));
    }
    let set = ImageSet::new(&path, shape, heads, vec![shard], notes, strictness)?;
    Ok(Some(set.described(stated, info.sample_rate.is_some())))
}

/// What opening a file of a set needs.
struct Part<'a> {
    family: &'a Family,
    folder: &'a Path,
    info: &'a Info,
    info_path: &'a Path,
    strictness: Strictness,
}

/// A file of a set.
struct Opened {
    path: PathBuf,
    /// What the sources say about the shape.
    stated: Vec<StatedBy>,
    shape: ImageShape,
    heads: Vec<Head>,
    shard: Shard,
}

impl Part<'_> {
    fn open_pickle(&self, path: PathBuf) -> Result<Opened, FormatError> {
        let at = |problem: FormatProblem| problem.of(&path);
        let bytes = Bytes::map_plain(&path)?;
        let file = PickledFile::parse(bytes.clone()).map_err(at)?;
        let (shape, stated) = self.shape(file.stated, &path)?;
        if shape.num_bytes() as u64 != file.image_len {
            let expected = format!("rows of {} bytes for images of {shape}", shape.num_bytes());
            return Err(at(FormatProblem::key("data", expected, format!("rows of {}", file.image_len))));
        }
        let heads = (self.family.heads)(self.info, &file).map_err(|problem| problem.of(self.info_path))?;
        let shard = file.shard(&heads, self.strictness).map_err(at)?;
        bytes.check_intact().map_err(at)?;
        Ok(Opened { path, stated, shape, heads, shard })
    }

    fn open_binary(&self, path: PathBuf) -> Result<Opened, FormatError> {
        let metadata_bytes = self.info.label_encoding.metadata_bytes;
        let file = BinaryFile::parse(&Bytes::map_plain(&path)?, metadata_bytes)
            .map_err(|problem| problem.of(&path))?;
        let (shape, stated) = self.shape(file.stated_shape(), &path)?;
        let heads = labels::heads(self.info, &file.ids, &labels::HeadsConfig::new())
            .map_err(|problem| problem.of(self.info_path))?;
        Ok(Opened { path, stated, shape, heads, shard: file.shard })
    }

    /// The shape on which the folder's name, the metadata and the file agree, and what each of them says.
    fn shape(&self, file: StatedShape, path: &Path) -> Result<(ImageShape, Vec<StatedBy>), FormatError> {
        let folder = folder_name::stated_shape(self.folder);
        let json = self.info.stated_shape().map_err(|problem| problem.of(self.info_path))?;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(folder.agrees_with(json) && json.agrees_with(file) && folder.agrees_with(file)) {
            let problem = FormatProblem::ShapesDisagree {
                folder: Box::new(folder),
                json_name: name(self.info_path),
                json: Box::new(json),
                file_name: name(path),
                file: Box::new(file),
            };
            return Err(problem.of(self.folder));
        }
        let at = |problem: FormatProblem| problem.of(path);
        let by = |source: String, shape: StatedShape| StatedBy { source, shape };
        let mut stated = vec![by("the folder's name".into(), folder)];
        stated.push(by(name(self.info_path), json));
        stated.push(by(name(path), file));
        let default = self.family.default_shape;
        if default != StatedShape::default() {
            stated.push(by("the format, where nothing else does".into(), default));
        }
        match file.or(json).or(folder).or(default) {
            StatedShape { height: Some(height), width: Some(width), channels: Some(channels) } => Ok((
                ImageShape::new(height, width, channels).map_err(|impossible| at(impossible.into()))?,
                stated,
            )),
            _ => Err(at(FormatProblem::ShapeUnknown)),
        }
    }
}

#[cfg(test)]
mod tests;
