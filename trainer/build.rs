//! Compiles the C++ file over libtorch and tells dependents where libtorch is.

use std::path::PathBuf;

fn main() {
    let lib = PathBuf::from(std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys gives the libtorch folder"));
    // The wheel and the zip both have lib/ and include/ beside each other.
    let root = if lib.ends_with("lib") { lib.parent().map(PathBuf::from).unwrap_or(lib.clone()) } else { lib.clone() };
    let lib = if lib.ends_with("lib") { lib } else { root.join("lib") };
    println!("cargo:rerun-if-changed=cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("cpp/torch_extra.cpp")
        .include("cpp")
        .flag(format!("-isystem{}", root.join("include").display()))
        .flag(format!("-isystem{}", root.join("include/torch/csrc/api/include").display()))
        .flag_if_supported("-Wno-unused-parameter")
        .opt_level(2)
        .compile("dtrain_torch_extra");
    println!("cargo:libtorch={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
