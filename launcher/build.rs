//! Writes the libtorch folder into the binary (rpath), so that it runs with no variable set, also when copied.

fn main() {
    let lib = std::env::var("DEP_DTRAIN_TORCH_LIBTORCH").expect("dtrain-trainer gives the libtorch folder");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rerun-if-changed=build.rs");
}
