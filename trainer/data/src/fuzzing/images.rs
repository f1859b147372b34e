//! Files of images with labels.

use dtrain_fuzz_kit::{Parse, Target};

use crate::images::fuzz;

/// Bytes for each byte of a file that is read in place: the input is copied into memory once.
const IN_PLACE: usize = 2;
/// An image, labels, columns, messages.
const CONSTANT: usize = 64 << 10;

const fn target(
    name: &'static str,
    parse: fn(&[u8]) -> bool,
    seeds: fn() -> Vec<Vec<u8>>,
    words: &'static [&'static str],
) -> Target {
    Target {
        name,
        parse: Parse::Bytes(parse),
        seeds,
        words,
        bytes_per_input_byte: IN_PLACE,
        constant_bytes: CONSTANT,
    }
}

/// IDX images.
pub const IDX_IMAGES: Target =
    target("idx_images", fuzz::idx_images, fuzz::idx_images_seeds, &["\0\0\u{8}\u{3}"]);

/// IDX labels.
pub const IDX_LABELS: Target =
    target("idx_labels", fuzz::idx_labels, fuzz::idx_labels_seeds, &["\0\0\u{8}\u{1}"]);

/// Gzipped IDX images.
pub const IDX_GZIP: Target = Target {
    // Deflate shrinks by up to 1032, and what grows is doubled.
    bytes_per_input_byte: 2100,
    constant_bytes: 128 << 10,
    ..target("idx_gzip", fuzz::idx_gzip, fuzz::idx_gzip_seeds, &["\u{1f}"])
};

/// CIFAR batches.
pub const CIFAR: Target = target("cifar", fuzz::cifar, fuzz::cifar_seeds, &[]);

/// VIMH, binary.
pub const VIMH_BINARY: Target =
    target("vimh_binary", fuzz::vimh_binary, fuzz::vimh_binary_seeds, &["\u{2}\0\u{1}\0"]);

/// VIMH, pickled.
pub const VIMH_PICKLE: Target = Target {
    // A value is 16 bytes; it may wait on the stack, be remembered and be an item, in vectors of twice that size.
    bytes_per_input_byte: 100,
    constant_bytes: 256 << 10,
    ..target(
        "vimh_pickle",
        fuzz::vimh_pickle,
        fuzz::vimh_pickle_seeds,
        &[
            "data",
            "labels",
            "vimh_labels",
            "](",
            "K\u{1}",
            "e",
            "}",
            "(",
            "t",
            "N",
            "s.",
            "cos\nsystem\n",
            "R",
            "b",
        ],
    )
};

/// Metadata of VIMH.
pub const VIMH_INFO: Target = Target {
    // A short name is a text, a list of them a vector of twice that size.
    bytes_per_input_byte: 100,
    ..target(
        "vimh_info",
        fuzz::vimh_info,
        fuzz::vimh_info_seeds,
        &[
            "\"min\": ",
            "\"max\": ",
            "\"step\": ",
            "1e308",
            "-1",
            "null",
            "\"a\",",
            "{\"a\":",
            "[",
            "\"type\": \"classification\",",
        ],
    )
};

/// Name of a folder of VIMH.
pub const VIMH_NAME: Target = target(
    "vimh_name",
    fuzz::folder_name,
    fuzz::folder_name_seeds,
    &["vimh-", "x", "_", "99999999999999999999"],
);
