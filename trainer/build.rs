//! Compiles the C++ files over libtorch and tells dependents where libtorch is.

use std::path::Path;

// Two units, one for each core of a small machine: reading libtorch's headers takes most of the time of a file compiled
// alone, and a unit reads them once. Two files of a unit cannot give one name to two things.
const UNITS: [(&str, &[&str]); 2] = [
    (
        "separate",
        &[
            "affine",
            "batch_norm",
            "fused_norm",
            "gradients",
            "moments",
            "optimizer",
            "rows",
            "sum_over_ranks",
        ],
    ),
    ("pooled", &["block_pool", "convolution", "cuda", "cuda_contract", "pooled_norm", "precision"]),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    let lib = Path::new(&lib);
    let root = lib.parent().unwrap_or(lib);
    let out = std::env::var("OUT_DIR")?;
    let mut units = Vec::new();
    for (name, files) in UNITS {
        let unit = Path::new(&out).join(format!("{name}.cpp"));
        std::fs::write(
            &unit,
            files.iter().map(|file| format!("#include \"{file}.cpp\"\n")).collect::<String>(),
        )?;
        units.push(unit);
    }
    println!("cargo:rerun-if-changed=cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(units)
        .include("cpp")
        .flag(format!("-isystem{}", root.join("include").display()))
        .flag(format!("-isystem{}", root.join("include/torch/csrc/api/include").display()))
        // See operators.h.
        .define("AT_PER_OPERATOR_HEADERS", None)
        // As libtorch is built: it decides about members of its classes.
        .define("NDEBUG", None)
        // GCC reports it inside libtorch's own headers.
        .flag_if_supported("-Wno-maybe-uninitialized")
        .opt_level(3)
        .compile("dtrain_torch_extra");
    println!("cargo:libtorch={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    Ok(())
}
