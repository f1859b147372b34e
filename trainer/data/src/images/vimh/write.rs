//! Writes a set: both parts, each pickled and binary, and the metadata. The pickles equal those of the format's own
//! writer byte for byte.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use fs_err::File;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::error::{FormatError, FormatProblem};
use super::super::set::ImageSet;
use super::super::shape::ImageShape;
use super::super::split::Split;
use super::INFO_FILE;
use super::binary::METADATA_BYTES;
use super::info::Mapping;
use crate::pickle::PickleWriter;
use crate::progress::Work;

/// Where the samples of a part come from.
pub trait Samples {
    /// How many there are.
    fn num_samples(&self) -> usize;
    /// Fills in the pixels and the label bytes of a sample.
    ///
    /// # Errors
    /// A sample that cannot be read.
    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError>;
    /// Values of pixel 0 and pixel 255, for instance in dB.
    fn scale(&self, index: usize) -> [f32; 2];
}

/// A head, or a parameter that is the same for all samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What its labels stand for.
    pub mapping: Mapping,
}

/// What the metadata say.
#[derive(Debug, Clone, PartialEq)]
pub struct SetMeta {
    /// Shape of every image.
    pub shape: ImageShape,
    /// Heads, in the order of their labels.
    pub heads: Vec<Parameter>,
    /// Parameters without a head.
    pub fixed: Vec<Parameter>,
    /// Further keys of the metadata, such as `sample_rate`.
    pub further: Map<String, Value>,
}

/// The metadata, in the order in which the format's own writer has them.
#[derive(Serialize)]
struct InfoFile<'a> {
    format: &'static str,
    version: &'static str,
    dataset_name: String,
    output_format: &'static str,
    height: usize,
    width: usize,
    channels: usize,
    varying_parameters: usize,
    parameter_names: Vec<&'a str>,
    train_samples: usize,
    test_samples: usize,
    total_samples: usize,
    n_samples: usize,
    image_size: String,
    parameter_mappings: BTreeMap<&'a str, &'a Mapping>,
    fixed_parameters: BTreeMap<&'a str, Value>,
    #[serde(flatten)]
    further: &'a Map<String, Value>,
    label_encoding: Value,
}

/// Writes a set into an existing folder. `name` is its name in the metadata.
///
/// # Errors
/// No space, no permission, a sample that cannot be read.
pub fn write_set(
    folder: &Path,
    name: &str,
    meta: &SetMeta,
    train: &dyn Samples,
    test: &dyn Samples,
) -> Result<(), FormatError> {
    for (split, samples) in [(Split::Train, train), (Split::Test, test)] {
        let write = |name: String, write: fn(&mut dyn Write, &SetMeta, &dyn Samples) -> io::Result<()>| {
            let path = folder.join(name);
            let write_to = |file| {
                let mut out = BufWriter::new(file);
                write(&mut out, meta, samples)?;
                out.flush()
            };
            File::create(&path).and_then(write_to).map_err(|error| FormatProblem::from(error).of(&path))
        };
        write(format!("{}_batch", split.name()), write_pickle)?;
        write(split.name().to_owned(), write_binary)?;
    }
    let path = folder.join(INFO_FILE);
    let json = serde_json::to_vec_pretty(&info(name, meta, train.num_samples(), test.num_samples()));
    json.map_err(io::Error::from)
        .and_then(|json| fs_err::write(&path, json))
        .map_err(|error| FormatProblem::from(error).of(&path))
}

fn info<'a>(name: &str, meta: &'a SetMeta, train: usize, test: usize) -> InfoFile<'a> {
    let SetMeta { shape, heads, fixed, further } = meta;
    let fixed_parameter = |parameter: &'a Parameter| {
        let Mapping { min, description, .. } = &parameter.mapping;
        (parameter.name.as_str(), json!({"value": min, "description": description}))
    };
    InfoFile {
        format: "VIMH",
        version: "2.1",
        dataset_name: name.to_owned(),
        output_format: "both",
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        varying_parameters: heads.len(),
        parameter_names: heads.iter().map(|head| head.name.as_str()).collect(),
        train_samples: train,
        test_samples: test,
        total_samples: train + test,
        n_samples: train + test,
        image_size: shape.to_string(),
        parameter_mappings: heads.iter().chain(fixed).map(|p| (p.name.as_str(), &p.mapping)).collect(),
        fixed_parameters: fixed.iter().map(fixed_parameter).collect(),
        further,
        label_encoding: json!({
            "format": "[height] [width] [channels] [spec_min] [spec_max] [N] [param1_id] [param1_val] ...",
            "metadata_bytes": METADATA_BYTES,
            "N_range": [0, 255],
            "param_id_range": [0, 255],
            "param_val_range": [0, 255],
        }),
    }
}

/// Heads whose labels are classes, with their numbers.
fn counted(meta: &SetMeta) -> Vec<(&str, i64)> {
    let is_class = |head: &&Parameter| head.mapping.kind.as_deref() == Some("classification");
    let classes = |mapping: &Mapping| mapping.num_classes.unwrap_or(0) as i64;
    meta.heads.iter().filter(is_class).map(|head| (head.name.as_str(), classes(&head.mapping))).collect()
}

pub(super) fn write_pickle(out: &mut dyn Write, meta: &SetMeta, samples: &dyn Samples) -> io::Result<()> {
    let counted = counted(meta);
    let keys: &[&str] = if counted.is_empty() {
        &["data", "vimh_labels", "scale_factors", "height", "width", "channels", "image_size"]
    } else {
        &["data", "vimh_labels", "heads_config", "height", "width", "channels", "num_samples"]
    };
    let SetMeta { shape, heads, .. } = meta;
    let num_samples = samples.num_samples();
    let image_len = shape.num_bytes();
    let mut pixels = vec![0; image_len];
    let mut labels = vec![0; heads.len()];
    let num_heads = u8::try_from(heads.len()).map_err(io::Error::other)?;
    let mut writer = PickleWriter::new(out)?;
    writer.dict(keys, |writer, key| match keys.get(key).copied().unwrap_or_default() {
        "data" => writer.array([num_samples, image_len], "|u1", num_samples * image_len, |out| {
            let work = Work::begin("packing images", "samples", num_samples as u64);
            for index in 0..num_samples {
                samples.sample(index, &mut pixels, &mut labels).map_err(io::Error::other)?;
                out.write_all(&pixels)?;
                work.add(1);
            }
            Ok(())
        }),
        "vimh_labels" => {
            let mut row = Vec::with_capacity(1 + 2 * heads.len());
            writer.list(num_samples, |writer, index| {
                samples.sample(index, &mut pixels, &mut labels).map_err(io::Error::other)?;
                row.clear();
                row.push(num_heads);
                row.extend((0..num_heads).zip(&labels).flat_map(|(id, &value)| [id, value]));
                writer.row(&row)
            })
        }
        "scale_factors" => writer.array([num_samples, 2], "<f4", 8 * num_samples, |out| {
            (0..num_samples).try_for_each(|index| {
                let [min, max] = samples.scale(index).map(f32::to_le_bytes);
                out.write_all(&[min, max].concat())
            })
        }),
        "heads_config" => {
            let names: Vec<&str> = counted.iter().map(|(name, _)| *name).collect();
            writer
                .dict(&names, |writer, head| writer.int(counted.get(head).map_or(0, |(_, classes)| *classes)))
        }
        "height" => writer.int(shape.height as i64),
        "width" => writer.int(shape.width as i64),
        "channels" => writer.int(shape.channels as i64),
        "num_samples" => writer.int(num_samples as i64),
        _ => writer.int(image_len as i64),
    })?;
    writer.finish().map(|_| ())
}

pub(super) fn write_binary(out: &mut dyn Write, meta: &SetMeta, samples: &dyn Samples) -> io::Result<()> {
    let SetMeta { shape, heads, .. } = meta;
    let mut pixels = vec![0; shape.num_bytes()];
    let mut labels = vec![0; heads.len()];
    let num_heads = u8::try_from(heads.len()).map_err(io::Error::other)?;
    let mut sides = Vec::new();
    for side in [shape.height, shape.width, shape.channels] {
        sides.extend(u16::try_from(side).map_err(io::Error::other)?.to_le_bytes());
    }
    let work = Work::begin("packing images", "samples", samples.num_samples() as u64);
    for index in 0..samples.num_samples() {
        samples.sample(index, &mut pixels, &mut labels).map_err(io::Error::other)?;
        work.add(1);
        out.write_all(&sides)?;
        for bound in samples.scale(index) {
            out.write_all(&bound.to_le_bytes())?;
        }
        out.write_all(&[num_heads])?;
        for (id, &value) in (0..num_heads).zip(&labels) {
            out.write_all(&[id, value])?;
        }
        out.write_all(&pixels)?;
    }
    Ok(())
}

/// Pixels are what they are: 0 to 255.
impl Samples for ImageSet {
    fn num_samples(&self) -> usize {
        Self::num_samples(self)
    }

    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError> {
        self.pixels(index, pixels)?;
        self.label_bytes(index, labels)
    }

    fn scale(&self, _index: usize) -> [f32; 2] {
        [0.0, 255.0]
    }
}
