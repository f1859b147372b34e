//! Files of `torch.save` as fuzzers call them: bytes in, and whether they were accepted. What is accepted must be readable to
//! its last tensor.
#![allow(clippy::expect_used, reason = "seeds are made of constants, and a check fails by panicking")]

use std::path::Path;

use super::{TensorToWrite, TorchFile, write};
use crate::dtype::Dtype;

/// Parses a file and reads every tensor.
pub(crate) fn parse(input: &[u8]) -> bool {
    let Ok(file) = TorchFile::parse(Path::new("input"), input.to_vec()) else { return false };
    let Ok(tensors) = file.tensors() else { return false };
    for (name, tensor) in tensors {
        let bytes = tensor.bytes().expect("a tensor that was checked");
        let expected = tensor.shape().iter().product::<u64>() * tensor.dtype().num_bytes();
        assert_eq!(bytes.len() as u64, expected, "{name}");
    }
    true
}

/// A file of each form.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let tensors = [
        TensorToWrite { name: "conv1.weight", dtype: Dtype::F32, shape: &[2, 1, 3, 3] },
        TensorToWrite { name: "steps", dtype: Dtype::I64, shape: &[] },
    ];
    let mut zipped = Vec::new();
    write(&mut zipped, &tensors, |index, writer| writer.write_all(&vec![7; [72, 8][index]]))
        .expect("memory takes everything");
    vec![
        zipped,
        include_bytes!("../../fixtures/torch/legacy.pth").to_vec(),
        include_bytes!("../../fixtures/torch/lightning.ckpt").to_vec(),
        include_bytes!("../../fixtures/torch/malicious.pth").to_vec(),
    ]
}
