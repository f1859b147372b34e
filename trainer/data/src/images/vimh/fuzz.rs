//! VIMH as fuzzers call it. See [`super::super::fuzz`].

use serde_json::{Map, json};

use super::super::bytes::Bytes;
use super::super::error::{FormatError, FormatProblem};
use super::super::head::Head;
use super::super::set::Shard;
use super::super::shape::{ImageShape, StatedShape};
use super::super::strictness::Strictness;
use super::binary::BinaryFile;
use super::labels::HeadsConfig;
use super::pickled::PickledFile;
use super::write::{write_binary, write_pickle};
use super::{Info, Mapping, Parameter, Samples, SetMeta, folder_name, labels};

type Parsed = (ImageShape, Vec<Head>, Shard);

/// A binary file without metadata.
pub fn binary(bytes: Bytes) -> Result<Parsed, FormatProblem> {
    let file = BinaryFile::parse(&bytes, None)?;
    let heads = labels::heads(&Info::default(), &file.ids, &HeadsConfig::new())?;
    Ok((file.shape, heads, file.shard))
}

/// A pickle without metadata.
pub fn pickle(bytes: Bytes) -> Result<Parsed, FormatProblem> {
    let file = PickledFile::parse(bytes)?;
    let stated = file.stated.or(StatedShape::whole(1, 1, file.image_len));
    let StatedShape { height: Some(height), width: Some(width), channels: Some(channels) } = stated else {
        return Err(FormatProblem::ShapeUnknown);
    };
    let shape = ImageShape::new(height, width, channels)?;
    if shape.num_bytes() as u64 != file.image_len {
        return Err(FormatProblem::ShapeUnknown);
    }
    let heads = labels::heads(&Info::default(), &file.ids, &file.heads_config)?;
    let shard = file.shard(&heads, Strictness::Strict)?;
    Ok((shape, heads, shard))
}

/// Heads of the first ids.
pub fn heads(info: &Info) -> Result<Vec<Head>, FormatProblem> {
    let ids: Vec<u8> = (0..info.parameter_names.len().min(8) as u8).collect();
    labels::heads(info, &ids, &HeadsConfig::new())
}

/// What a folder's name states.
pub fn name(name: &str) -> StatedShape {
    folder_name::parse(name)
}

/// Samples that are functions of their number.
struct Ramp(usize);

impl Samples for Ramp {
    fn num_samples(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError> {
        pixels.iter_mut().enumerate().for_each(|(at, pixel)| *pixel = (index + at) as u8);
        labels.iter_mut().enumerate().for_each(|(head, label)| *label = (index % 3 + head) as u8);
        Ok(())
    }

    fn scale(&self, index: usize) -> [f32; 2] {
        [-(index as f32), 1.0]
    }
}

fn meta(is_classes: bool) -> SetMeta {
    let mapping = if is_classes {
        Mapping { kind: Some("classification".into()), num_classes: Some(9), ..Mapping::default() }
    } else {
        Mapping { min: Some(0.0), max: Some(1.0), step: Some(0.1), ..Mapping::default() }
    };
    let heads = ["param_0", "param_1"].map(|name| Parameter { name: name.into(), mapping: mapping.clone() });
    SetMeta {
        shape: ImageShape { channels: 1, height: 3, width: 4 },
        heads: heads.to_vec(),
        fixed: Vec::new(),
        further: Map::new(),
    }
}

fn written(write: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match write(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Pickles with and without classes, of one sample and of many.
pub fn pickles() -> Vec<Vec<u8>> {
    let pickle = |is_classes, num| written(|out| write_pickle(out, &meta(is_classes), &Ramp(num)));
    let lists = b"\x80\x04}(\x8c\x04data](](K\x01K\x02e](K\x03K\x04ee\x8c\x06labels](](K\x01K\x00K\x05e](K\x01K\x00K\x06eeu.";
    vec![pickle(false, 1), pickle(false, 5), pickle(true, 40), lists.to_vec()]
}

/// Binary files with both headers.
pub fn binaries() -> Vec<Vec<u8>> {
    let new = written(|out| write_binary(out, &meta(false), &Ramp(5)));
    let old = new.chunks(new.len() / 5).flat_map(|record| [&record[..6], &record[14..]].concat()).collect();
    vec![new, old]
}

/// Metadata of both kinds.
pub fn infos() -> Vec<Vec<u8>> {
    let info = |mapping: serde_json::Value| {
        let info = json!({
            "format": "VIMH", "height": 3, "width": 4, "channels": 1, "image_size": "3x4x1",
            "parameter_names": ["a"], "parameter_mappings": {"a": mapping}, "train_samples": 5,
            "label_encoding": {"metadata_bytes": 14},
        });
        info.to_string().into_bytes()
    };
    vec![
        info(json!({"min": -2.0, "max": 0.3, "step": 0.1, "num_classes": 24})),
        info(json!({"min": 0, "max": 9, "type": "classification"})),
        info(json!({"min": 0, "max": 1})),
    ]
}
