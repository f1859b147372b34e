//! Safetensors files, whole and by their header.

use std::collections::BTreeMap;
use std::io::Cursor;

use dtrain_fuzz_kit::{Parse, Target};

use crate::checkpoint::{Dtype, TensorFile, TensorReader, TensorSpec, write_tensors};

const WORDS: &[&str] = &[
    "__metadata__",
    "\"dtype\":\"F32\"",
    "\"shape\":[1]",
    "\"data_offsets\":[0,4]",
    "U8",
    "F64",
    "[0,0]",
    "18446744073709551615",
    "-1",
    "1e9",
];

/// A whole file in memory, as weights are imported and checkpoints read.
pub const SAFETENSORS: Target = Target {
    name: "safetensors",
    parse: Parse::Bytes(parse_file),
    seeds,
    words: WORDS,
    bytes_per_input_byte: 24,
    constant_bytes: 64 << 10,
};

/// The header of a file that is far longer than what was read of it.
pub const TENSOR_INDEX: Target = Target {
    name: "tensor_index",
    parse: Parse::Bytes(parse_index),
    seeds: seeds_of_index,
    words: WORDS,
    bytes_per_input_byte: 24,
    constant_bytes: 64 << 10,
};

fn parse_file(input: &[u8]) -> bool {
    let Ok(file) = TensorFile::parse(input.to_vec()) else { return false };
    let mut covered = 0;
    for tensor in file.tensors() {
        assert_eq!(tensor.spec.num_bytes(), Some(tensor.bytes.len() as u64), "`{}`", tensor.spec.name);
        let found = file.tensor(&tensor.spec.name).expect("a tensor that is listed can be found");
        assert_eq!(found.bytes.as_ptr(), tensor.bytes.as_ptr());
        covered += tensor.bytes.len();
    }
    assert!(covered <= input.len());
    true
}

/// Bytes 0..8 are how many bytes follow the input in the file.
fn parse_index(input: &[u8]) -> bool {
    let Some((more, input)) = input.split_first_chunk::<8>() else { return false };
    let Some(file_bytes) = u64::from_le_bytes(*more).checked_add(input.len() as u64) else { return false };
    let Ok(reader) = TensorReader::new(Cursor::new(input), file_bytes) else { return false };
    let sizes = reader.specs().map(|spec| spec.num_bytes().expect("a listed tensor has a size"));
    let total = sizes.fold(0u64, |sum, bytes| sum.checked_add(bytes).expect("all fit the file"));
    assert!(total <= file_bytes);
    true
}

fn seeds() -> Vec<Vec<u8>> {
    let spec =
        |name: &str, dtype, shape: &[u64]| TensorSpec { name: name.into(), dtype, shape: shape.into() };
    let model = [
        spec("backbone.conv1.weight", Dtype::F32, &[4, 3, 1, 1]),
        spec("backbone.bn1.num_batches_tracked", Dtype::I64, &[]),
        spec("fc.bias", Dtype::F64, &[3]),
    ];
    let words = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    vec![
        written(&model, &BTreeMap::new()),
        written(&model, &words),
        written(&[spec("empty", Dtype::Bf16, &[0, 7])], &words),
        written(&[], &BTreeMap::new()),
    ]
}

fn seeds_of_index() -> Vec<Vec<u8>> {
    let whole = seeds().into_iter().map(|file| [&[0; 8], file.as_slice()].concat());
    // One tensor of a terabyte, of which nothing is there.
    let header = br#"{"w":{"dtype":"F32","shape":[262144,1048576],"data_offsets":[0,1099511627776]}}"#;
    let mut large = (1u64 << 40).to_le_bytes().to_vec();
    large.extend_from_slice(&(header.len() as u64).to_le_bytes());
    large.extend_from_slice(header);
    whole.chain([large]).collect()
}

fn written(specs: &[TensorSpec], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, specs, metadata, |index, writer| {
        let len = specs.get(index).and_then(TensorSpec::num_bytes).unwrap_or(0);
        writer.write_all(&vec![index as u8; len as usize])
    })
    .expect("memory takes a file");
    bytes
}
