//! Embeds new YAML files: without this, only changes of files that were there before are seen.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=train.yaml");
    for group in
        ["augment", "data", "eval", "experiment", "method", "model", "optimizer", "schedule", "trainer"]
    {
        println!("cargo:rerun-if-changed={group}");
    }
}
