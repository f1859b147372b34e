//! The parsers of this module as fuzzers call them: bytes in, and whether they were accepted. What is accepted must be
//! readable to its last sample, or name the bad one.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::bytes::Bytes;
use super::cifar::Cifar;
use super::error::FormatProblem;
use super::gzip::inflate;
use super::head::Head;
use super::json::parse_json;
use super::set::{ImageSet, Shard};
use super::shape::{ImageShape, StatedShape};
use super::strictness::Strictness;
use super::{idx, vimh};

pub(crate) use super::vimh::fuzz::{
    binaries as vimh_binary_seeds, infos as vimh_info_seeds, pickles as vimh_pickle_seeds,
};

/// Samples that are read; more show nothing new.
const MAX_READ: usize = 1000;

fn bytes(input: &[u8]) -> Bytes {
    Bytes::owned(Path::new("input"), input.to_vec())
}

/// Opens what a parser accepted.
fn read(shape: ImageShape, heads: Vec<Head>, shard: Shard) -> bool {
    let set = ImageSet::new(Path::new("input"), shape, heads, vec![shard], Vec::new(), Strictness::Strict);
    let Ok(set) = set else { return false };
    let (mut pixels, mut labels) = (vec![0; shape.num_bytes()], vec![0; set.heads().len()]);
    (0..set.num_samples().min(MAX_READ)).all(|index| {
        let is_good = set.pixels(index, &mut pixels).and_then(|()| set.labels(index, &mut labels)).is_ok();
        let in_range = |(label, head): (&u32, &Head)| (*label as usize) < head.num_classes;
        assert!(!is_good || labels.iter().zip(set.heads()).all(in_range));
        is_good
    })
}

/// An IDX file of images.
pub(crate) fn idx_images(input: &[u8]) -> bool {
    let Ok(images) = idx::parse_images(bytes(input)) else { return false };
    let shard = Shard {
        first: 0,
        num_samples: images.num_images as usize,
        pixels: images.pixels,
        labels: Vec::new(),
        fixed: None,
    };
    read(images.shape, Vec::new(), shard)
}

/// An IDX file of labels.
pub(crate) fn idx_labels(input: &[u8]) -> bool {
    idx::parse_labels(bytes(input)).is_ok()
}

/// A gzipped IDX file of images.
pub(crate) fn idx_gzip(input: &[u8]) -> bool {
    inflate(&bytes(input), 16, idx::images_len).and_then(idx::parse_images).is_ok()
}

/// A batch of CIFAR-100.
pub(crate) fn cifar(input: &[u8]) -> bool {
    let shape = ImageShape { channels: 3, height: 32, width: 32 };
    let heads = vec![Head::classes("coarse", 20, ""), Head::classes("fine", 100, "")];
    Cifar::Hundred.shard(bytes(input)).is_ok_and(|shard| read(shape, heads, shard))
}

/// A binary file of VIMH, with the size of its header unknown.
pub(crate) fn vimh_binary(input: &[u8]) -> bool {
    vimh::fuzz::binary(bytes(input)).is_ok_and(|(shape, heads, shard)| read(shape, heads, shard))
}

/// A pickle of VIMH.
pub(crate) fn vimh_pickle(input: &[u8]) -> bool {
    vimh::fuzz::pickle(bytes(input)).is_ok_and(|(shape, heads, shard)| read(shape, heads, shard))
}

/// The metadata of VIMH.
pub(crate) fn vimh_info(input: &[u8]) -> bool {
    let check = |info: vimh::Info| -> Result<(), FormatProblem> {
        info.stated_shape()?;
        for head in vimh::fuzz::heads(&info)? {
            assert!((0..=255).all(|byte| head.class_of(byte).is_none_or(|class| class < head.num_classes)));
            assert!(!head.to_string().is_empty());
        }
        Ok(())
    };
    parse_json(input).and_then(check).is_ok()
}

/// The name of a folder of VIMH.
pub(crate) fn folder_name(input: &[u8]) -> bool {
    std::str::from_utf8(input).is_ok_and(|name| vimh::fuzz::name(name) != StatedShape::default())
}

/// Valid inputs of [`idx_images`].
pub(crate) fn idx_images_seeds() -> Vec<Vec<u8>> {
    let images = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 5][..], &[7; 30]].concat();
    vec![images]
}

/// Valid inputs of [`idx_labels`].
pub(crate) fn idx_labels_seeds() -> Vec<Vec<u8>> {
    vec![[&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat()]
}

/// Valid inputs of [`idx_gzip`]: whatever the compression makes of them, and stored as they are.
pub(crate) fn idx_gzip_seeds() -> Vec<Vec<u8>> {
    let gzip = |level: u32| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        let images = idx_images_seeds().concat();
        encoder.write_all(&images).and_then(|()| encoder.finish()).unwrap_or_default()
    };
    vec![gzip(0), gzip(9)]
}

/// Valid inputs of [`cifar`].
pub(crate) fn cifar_seeds() -> Vec<Vec<u8>> {
    vec![[&[19, 99][..], &[5; 3072], &[0, 0], &[6; 3072]].concat()]
}

/// Valid inputs of [`folder_name`].
pub(crate) fn folder_name_seeds() -> Vec<Vec<u8>> {
    ["vimh-32x32x1_8000Hz_1p0s_256dss_simple_2p", "vimh-28x28"].map(|name| name.as_bytes().to_vec()).to_vec()
}
