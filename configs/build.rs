//! Embeds new YAML files (without this, only changes of files that were there before are seen), and hands the comments of
//! the schema to the program.
#![allow(clippy::print_stdout)]

#[path = "build/comments.rs"]
mod comments;

use std::path::Path;
use std::process::ExitCode;

const SCHEMA: &str = "src/schema";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=train.yaml");
    println!("cargo:rerun-if-changed={SCHEMA}");
    for group in
        ["augment", "data", "eval", "experiment", "method", "model", "optimizer", "schedule", "trainer"]
    {
        println!("cargo:rerun-if-changed={group}");
    }
    let written = comments::table(Path::new(SCHEMA)).and_then(|table| {
        let folder = std::env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
        std::fs::write(Path::new(&folder).join("comments.rs"), table).map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo:warning=the comments of the schema: {error}");
            ExitCode::FAILURE
        }
    }
}
