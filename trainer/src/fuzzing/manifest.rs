//! `manifest.json`.

use std::collections::BTreeMap;
use std::path::Path;

use dtrain_fuzz_kit::{Parse, Target};

use crate::checkpoint::{FileEntry, Manifest, ManifestInfo, REQUIRED_FILES, Validation, manifest};

/// The text as it is, and with a checksum that is right, so that what stands behind it is reached.
pub const MANIFEST: Target = Target {
    name: "manifest",
    parse: Parse::Bytes(parse),
    seeds,
    words: &[
        "\"format_version\": 1",
        "\"files\": {",
        "\"metadata\": {",
        "\"bytes\": ",
        "\"xxh3_128\": \"",
        "../",
        "null",
        "1e400",
        "[[[[",
    ],
    // Metadata are any JSON: an element of a list takes two bytes, and 32 in memory.
    bytes_per_input_byte: 100,
    constant_bytes: 64 << 10,
};

fn parse(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let as_it_is = parse_text(text);
    let sealed = parse_text(&manifest::seal(text.strip_suffix("\n}").unwrap_or(text)));
    as_it_is || sealed
}

fn parse_text(text: &str) -> bool {
    let Ok(manifest) = Manifest::decode(text) else { return false };
    let nowhere = Path::new("/nowhere");
    assert!(manifest.check(nowhere, Validation::Full).is_err(), "files were found where there is no folder");
    true
}

fn seeds() -> Vec<Vec<u8>> {
    let entry = FileEntry { bytes: 5000, xxh3_128: format!("{:032x}", 7) };
    let files = || REQUIRED_FILES.iter().map(|name| ((*name).to_owned(), entry.clone())).collect();
    let info = ManifestInfo {
        epoch: 3,
        metrics: BTreeMap::from([("val/knn_top1".to_owned(), 0.5), ("train/loss".to_owned(), 1e-3)]),
        metadata: BTreeMap::from([
            ("world_size".to_owned(), 8.into()),
            ("nested".to_owned(), serde_json::json!({ "a": [1, { "b": null }], "c": "}\n" })),
        ]),
    };
    let text = |info| Manifest::new(1200, info, files()).encode().expect("a manifest is JSON").into_bytes();
    let whole = text(info);
    // Without its checksum, as mutations that shall get past it begin.
    let json = serde_json::to_string_pretty(&Manifest::new(5, ManifestInfo::default(), files()))
        .expect("a manifest is JSON");
    vec![whole, text(ManifestInfo::default()), json.into_bytes()]
}
