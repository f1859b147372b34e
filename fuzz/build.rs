//! Writes the libtorch folder into the fuzzers (rpath), as the launcher does for itself.

fn main() {
    let Ok(lib) = std::env::var("DEP_DTRAIN_TORCH_LIBTORCH") else {
        println!("cargo::error=the build of dtrain-trainer gave no libtorch folder");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rerun-if-changed=build.rs");
}
