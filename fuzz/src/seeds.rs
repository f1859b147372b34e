//! Writes what the fuzzers begin with: `seeds FOLDER` makes `FOLDER/<target>/` with the valid inputs of each target and
//! `FOLDER/<target>.dict` with its words, and prints the targets' names.

// Its counters: what is linked to the parsers here is instrumented like the fuzzers themselves.
use libfuzzer_sys as _;

use std::fs;
use std::path::Path;

use dtrain_fuzz_kit::Target;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("usage: seeds FOLDER"))?;
    let of_crates = [
        &dtrain_comm::fuzzing::TARGETS[..],
        &dtrain_configs::fuzzing::TARGETS,
        &dtrain_data::fuzzing::TARGETS,
        &dtrain_trainer::fuzzing::TARGETS,
    ];
    for target in of_crates.concat() {
        write(&target, Path::new(&folder))?;
        println!("{}", target.name);
    }
    Ok(())
}

fn write(target: &Target, folder: &Path) -> std::io::Result<()> {
    let inputs = folder.join(target.name);
    fs::create_dir_all(&inputs)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(inputs.join(format!("seed_{number:02}")), seed)?;
    }
    let words: String = target.words.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect();
    fs::write(folder.join(format!("{}.dict", target.name)), words)
}

/// As libFuzzer reads dictionaries.
fn escaped(word: &str) -> String {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02X}"),
    };
    word.bytes().map(byte).collect()
}
