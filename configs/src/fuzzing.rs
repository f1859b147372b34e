//! The parsers of this crate, as fuzzers and property tests call them. Nothing else uses this module, and a build without
//! tests or the feature `fuzzing` has none of it.

use std::path::Path;

use dtrain_fuzz_kit::{Parse, Target};

use crate::{ComposeOptions, compose, files, load, to_yaml};

/// All parsers of this crate.
pub const TARGETS: [Target; 2] = [YAML, OVERRIDES];

/// A `config.yaml`.
pub const YAML: Target = Target {
    name: "yaml",
    parse: Parse::File(parse_file),
    seeds: || composed().map(String::into_bytes).collect(),
    words: &[
        "&a",
        "*a",
        "!!str",
        "<<: ",
        "? ",
        "- ",
        "| \n",
        "> \n",
        "{",
        "}",
        "[",
        "]",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        ".nan",
        "1e400",
        "010",
        "0x7f",
        "~",
        "null",
        "data:\n",
        "  splits:\n",
        "name: simclr\n",
        "\t",
    ],
    bytes_per_input_byte: 400,
    constant_bytes: 4 << 20,
};

/// Words of the command line, one a line.
pub const OVERRIDES: Target = Target {
    name: "overrides",
    parse: Parse::Bytes(parse_overrides),
    seeds: || {
        let mut seeds: Vec<Vec<u8>> = files("experiment", &ComposeOptions::default())
            .into_iter()
            .flatten()
            .map(|experiment| format!("experiment={}\nseed=1", experiment.name).into_bytes())
            .collect();
        let more = "optimizer=sgd\ntags=[a, b]\n+data.splits.mine={by: recording}\n++trainer.batch_size=8\n~eval.knn.k";
        seeds.push(more.as_bytes().to_vec());
        seeds
    },
    words: &[
        "=",
        "+",
        "++",
        "~",
        "experiment=",
        "data=",
        "model=resnet18",
        "method=supcon",
        "method.name=",
        "null",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "\n",
        "trainer.batch_size=",
        "data.splits.x.by=",
        "99999999999999999999",
    ],
    bytes_per_input_byte: 400,
    constant_bytes: 4 << 20,
};

fn parse_file(path: &Path) -> bool {
    match load(path) {
        Ok(config) => !to_yaml(&config).is_empty(),
        Err(errors) => {
            assert!(errors.to_string().starts_with("error: "), "{errors}");
            false
        }
    }
}

fn parse_overrides(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    match compose(&words, &ComposeOptions::default()) {
        Ok(composition) => !composition.render(true).is_empty(),
        Err(errors) => {
            assert!(errors.to_string().starts_with("error: "), "{errors}");
            false
        }
    }
}

/// The settings of every experiment, whole.
fn composed() -> impl Iterator<Item = String> {
    files("experiment", &ComposeOptions::default()).into_iter().flatten().filter_map(|experiment| {
        let chosen = [format!("experiment={}", experiment.name)];
        Some(compose(&chosen, &ComposeOptions::default()).ok()?.render(false))
    })
}

#[cfg(test)]
mod tests {
    use dtrain_fuzz_kit::{Counting, holds_for_mutations};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn settings_files_withstand_damage() {
        holds_for_mutations(&YAML, 600);
    }

    #[test]
    fn command_lines_withstand_damage() {
        holds_for_mutations(&OVERRIDES, 600);
    }
}
