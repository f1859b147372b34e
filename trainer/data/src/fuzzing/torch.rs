//! Files of `torch.save`.

use dtrain_fuzz_kit::{Parse, Target};

use crate::torch_file::fuzz;

/// Files of `torch.save`, both forms.
pub const TORCH_FILE: Target = Target {
    name: "torch_file",
    parse: Parse::Bytes(fuzz::parse),
    seeds: fuzz::seeds,
    words: &[
        "PK\u{3}\u{4}",
        "PK\u{1}\u{2}",
        "archive/data.pkl",
        "archive/data/0",
        "ctorch._utils\n_rebuild_tensor_v2\n",
        "ctorch\nFloatStorage\n",
        "ccollections\nOrderedDict\n",
        "cos\nsystem\n",
        "storage",
        "}",
        "(",
        "t",
        "tQ",
        ")R",
        "K\u{1}",
        "K\0",
        "e",
        "u.",
        "b",
    ],
    // A value of 16 bytes takes one byte; it may be remembered, an item, and a node of the tree with its key.
    bytes_per_input_byte: 400,
    constant_bytes: 1 << 20,
};
