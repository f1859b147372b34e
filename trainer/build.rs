//! Compiles the C++ files over libtorch and tells dependents where libtorch is.

use std::path::Path;

const FILES: [&str; 12] = [
    "affine",
    "batch_norm",
    "block_pool",
    "convolution",
    "cuda",
    "fused_norm",
    "gradients",
    "moments",
    "optimizer",
    "pooled_norm",
    "precision",
    "rows",
];

fn main() -> Result<(), std::env::VarError> {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    let lib = Path::new(&lib);
    let root = lib.parent().unwrap_or(lib);
    println!("cargo:rerun-if-changed=cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(FILES.map(|name| format!("cpp/{name}.cpp")))
        .flag(format!("-isystem{}", root.join("include").display()))
        .flag(format!("-isystem{}", root.join("include/torch/csrc/api/include").display()))
        // GCC reports it inside libtorch's own headers.
        .flag_if_supported("-Wno-maybe-uninitialized")
        .opt_level(3)
        .compile("dtrain_torch_extra");
    println!("cargo:libtorch={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    Ok(())
}
