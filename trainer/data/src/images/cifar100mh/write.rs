//! Writes a set: both parts pickled, and the metadata.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use fs_err::File;
use serde::Serialize;

use super::super::error::{FormatError, FormatProblem};
use super::super::shape::ImageShape;
use super::super::split::Split;
use super::super::vimh::{Mapping, Parameter, Samples};
use super::{FORMAT, OWN_INFO_FILE};
use crate::pickle::PickleWriter;

#[derive(Serialize)]
struct InfoFile<'a> {
    format: &'static str,
    version: &'static str,
    image_size: String,
    varying_parameters: usize,
    parameter_names: Vec<&'a str>,
    parameter_mappings: BTreeMap<&'a str, &'a Mapping>,
    train_samples: usize,
    test_samples: usize,
}

/// Writes a set into an existing folder. A label of the heads, which are in the order of the labels, is the class.
///
/// # Errors
/// No space, no permission, a sample that cannot be read.
pub fn write_set(
    folder: &Path,
    shape: ImageShape,
    heads: &[Parameter],
    train: &dyn Samples,
    test: &dyn Samples,
) -> Result<(), FormatError> {
    for (split, samples) in [(Split::Train, train), (Split::Test, test)] {
        let path = folder.join(format!("{}_batch", split.name()));
        let write = |file| write_pickle(BufWriter::new(file), shape, heads.len(), samples);
        File::create(&path).and_then(write).map_err(|error| FormatProblem::from(error).of(&path))?;
    }
    let info = InfoFile {
        format: FORMAT,
        version: "1.0",
        image_size: shape.to_string(),
        varying_parameters: heads.len(),
        parameter_names: heads.iter().map(|head| head.name.as_str()).collect(),
        parameter_mappings: heads.iter().map(|head| (head.name.as_str(), &head.mapping)).collect(),
        train_samples: train.num_samples(),
        test_samples: test.num_samples(),
    };
    let path = folder.join(OWN_INFO_FILE);
    let json = serde_json::to_vec_pretty(&info).map_err(io::Error::from);
    json.and_then(|json| fs_err::write(&path, json)).map_err(|error| FormatProblem::from(error).of(&path))
}

fn write_pickle(
    out: impl Write,
    shape: ImageShape,
    num_heads: usize,
    samples: &dyn Samples,
) -> io::Result<()> {
    let (num_samples, image_len) = (samples.num_samples(), shape.num_bytes());
    let mut pixels = vec![0; image_len];
    let mut labels = vec![0; num_heads];
    let num_heads = u8::try_from(num_heads).map_err(io::Error::other)?;
    let mut row = Vec::with_capacity(1 + 2 * labels.len());
    let mut writer = PickleWriter::new(out)?;
    writer.dict(&["data", "cifar100mh_labels"], |writer, key| match key {
        0 => writer.array([num_samples, image_len], "|u1", num_samples * image_len, |out| {
            (0..num_samples).try_for_each(|index| {
                samples.sample(index, &mut pixels, &mut labels).map_err(io::Error::other)?;
                out.write_all(&pixels)
            })
        }),
        _ => writer.list(num_samples, |writer, index| {
            samples.sample(index, &mut pixels, &mut labels).map_err(io::Error::other)?;
            row.clear();
            row.push(num_heads);
            row.extend((0..num_heads).zip(&labels).flat_map(|(id, &class)| [id, class]));
            writer.row(&row)
        }),
    })?;
    writer.finish()?.flush()
}
