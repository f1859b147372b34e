//! The real NCCL on a machine that need not have a GPU: symbols, version, texts, structures, and a clean refusal.
//!
//! `scripts/test.sh --nccl` installs it; without it these tests say so and prove nothing.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cudarc::nccl::sys::{ncclConfig_t, ncclUniqueId};
use dtrain_test_skip::skipped;
use libloading::Library;

use super::call::{Call, IN_PROGRESS, SUCCESS};
use super::communicator::{Communicator, Making};
use super::library::{Nccl, decode};
use crate::error::CommError;
use crate::world::World;

/// The folder `nvidia/nccl` of the wheel, where a set-up for GPUs or `scripts/test.sh --nccl` has put it.
fn wheel() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.deps");
    let found = ["nccl/nvidia/nccl", "nvidia/nccl"].map(|folder| root.join(folder));
    let found = found.into_iter().find(|folder| folder.join("lib/libnccl.so.2").is_file());
    if found.is_none() {
        skipped("NCCL is not in .deps (scripts/test.sh --nccl fetches it)");
    }
    found
}

fn load() -> Option<&'static Nccl> {
    let file = wheel()?.join("lib/libnccl.so.2");
    // SAFETY: NCCL's initializers have no requirements.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(file) }.unwrap()));
    Some(Box::leak(Box::new(Nccl::find(library).unwrap())))
}

#[test]
fn all_functions_are_there_with_a_version_and_the_known_texts() {
    let Some(nccl) = load() else { return };
    let mut code = 0;
    // SAFETY: the pointer is to a local.
    assert_eq!(unsafe { (nccl.version)(&raw mut code) }, SUCCESS);
    let (major, minor, _) = decode(code);
    assert!(major == 2 && minor >= 19, "{code}");
    let world = World::single();
    let [one, other] = [(); 2].map(|()| Communicator::unique_id(nccl, &world).unwrap().internal);
    assert!(one != other && one != ncclUniqueId { internal: [0; 128] }.internal);
    let call = Call::without_elements("ncclCommInitRankConfig", &world);
    let texts = [
        (1, "unhandled cuda error"),
        (2, "unhandled system error"),
        (3, "internal error"),
        (4, "invalid argument"),
        (5, "invalid usage"),
        (6, "remote process exited or there was a network error"),
        (99, "unknown result code"),
    ];
    for (code, expected) in texts {
        let error = call.check(nccl, std::ptr::null_mut(), code).unwrap_err();
        let CommError::Nccl { text, .. } = &error else { panic!("{error:?}") };
        assert!(text.starts_with(expected) && !text.contains('\n'), "{text}");
    }
    assert_eq!(call.check(nccl, std::ptr::null_mut(), IN_PROGRESS), Ok(true));
}

/// Every function of the table as the header declares it, every number and the layout of every structure: a C compiler
/// compares them.
#[test]
fn the_header_says_what_the_table_says() {
    let Some(wheel) = wheel() else { return };
    let declarations = [
        ("ncclGetVersion", "ncclResult_t (*)(int*)"),
        ("ncclGetUniqueId", "ncclResult_t (*)(ncclUniqueId*)"),
        ("ncclCommInitRankConfig", "ncclResult_t (*)(ncclComm_t*, int, ncclUniqueId, int, ncclConfig_t*)"),
        ("ncclCommGetAsyncError", "ncclResult_t (*)(ncclComm_t, ncclResult_t*)"),
        ("ncclCommFinalize", "ncclResult_t (*)(ncclComm_t)"),
        ("ncclCommDestroy", "ncclResult_t (*)(ncclComm_t)"),
        ("ncclCommAbort", "ncclResult_t (*)(ncclComm_t)"),
        ("ncclGetErrorString", "const char* (*)(ncclResult_t)"),
        ("ncclGetLastError", "const char* (*)(ncclComm_t)"),
        ("ncclGroupStart", "ncclResult_t (*)(void)"),
        ("ncclGroupEnd", "ncclResult_t (*)(void)"),
        (
            "ncclAllReduce",
            "ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t)",
        ),
        (
            "ncclReduceScatter",
            "ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t)",
        ),
        (
            "ncclAllGather",
            "ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclComm_t, cudaStream_t)",
        ),
        (
            "ncclBroadcast",
            "ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t)",
        ),
    ];
    assert_eq!(declarations.map(|(name, _)| name), *Nccl::SYMBOLS);
    let mut program = String::from("#include <stddef.h>\n#include <nccl.h>\n");
    for (name, declaration) in declarations {
        let assertion = format!("__builtin_types_compatible_p(__typeof__(&{name}), {declaration})");
        program.push_str(&format!("_Static_assert({assertion}, \"{name}\");\n"));
    }
    let mut same = |what: &str, value: usize| {
        program.push_str(&format!("_Static_assert(({what}) == {value}u, \"{what}\");\n"));
    };
    same("sizeof(ncclUniqueId)", size_of::<ncclUniqueId>());
    same("sizeof(ncclResult_t)", 4);
    same("sizeof(ncclDataType_t)", 4);
    same("sizeof(ncclRedOp_t)", 4);
    same("sizeof(ncclConfig_t)", size_of::<ncclConfig_t>());
    macro_rules! fields {
        ($($field:ident),*) => {
            $(same(concat!("offsetof(ncclConfig_t, ", stringify!($field), ")"), std::mem::offset_of!(ncclConfig_t, $field));)*
        };
    }
    fields!(
        size,
        magic,
        version,
        blocking,
        cgaClusterSize,
        minCTAs,
        maxCTAs,
        netName,
        splitShare,
        trafficClass,
        commName,
        collnetEnable,
        CTAPolicy,
        shrinkShare,
        nvlsCTAs,
        nChannelsPerNetPeer,
        nvlinkCentricSched
    );
    let numbers = [
        ("ncclSuccess", 0),
        ("ncclInProgress", 7),
        ("ncclUint8", 1),
        ("ncclInt32", 2),
        ("ncclInt64", 4),
        ("ncclUint64", 5),
        ("ncclFloat32", 7),
        ("ncclFloat64", 8),
        ("ncclSum", 0),
        ("ncclMax", 2),
        ("ncclMin", 3),
    ];
    numbers.into_iter().for_each(|(name, value)| same(name, value));
    // What NCCL's initializer writes, but for `blocking`, which is ours.
    program.push_str("static const ncclConfig_t initial = NCCL_CONFIG_INITIALIZER;\n#include <stdio.h>\n");
    program.push_str("int main(void) { printf(\"%x %d\\n\", initial.magic, initial.minCTAs); return 0; }\n");

    let dir = tempfile::tempdir().unwrap();
    // The header names CUDA's only for the type of a stream and of a half.
    for (header, text) in [
        (
            "cuda_runtime.h",
            "#pragma once\ntypedef struct CUstream_st* cudaStream_t;\n#define CUDART_VERSION 0\n",
        ),
        ("cuda_fp16.h", ""),
    ] {
        std::fs::write(dir.path().join(header), text).unwrap();
    }
    let (source, binary) = (dir.path().join("check.c"), dir.path().join("check"));
    std::fs::write(&source, &program).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-I"])
        .arg(dir.path())
        .arg("-I")
        .arg(wheel.join("include"))
        .args([&source])
        .arg("-Wl,--unresolved-symbols=ignore-all")
        .arg("-o")
        .arg(&binary)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}\n{program}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(&binary).output().unwrap();
    let config = super::config::config(true);
    let expected = format!("{:x} {}\n", config.magic, config.minCTAs);
    assert_eq!(String::from_utf8_lossy(&printed.stdout), expected);
}

/// Without a driver NCCL refuses, blocking or not; with one, a communicator of one rank is made. Nothing hangs or dies.
#[test]
fn a_communicator_that_cannot_be_made_is_one_clear_line() {
    let Some(nccl) = load() else { return };
    let world = World::single();
    for blocking in [true, false] {
        let id = Communicator::unique_id(nccl, &world).unwrap();
        let making = Making { id, blocking, timeout: Duration::from_secs(60) };
        match Communicator::connect(nccl, &world, making, || Ok(()), &|| false) {
            Ok(made) => {
                let made = made.unwrap();
                assert!(made.retire());
                made.abort();
            }
            Err(error) => {
                let text = error.to_string();
                assert!(matches!(error, CommError::Nccl { number: 0, .. }), "{error:?}");
                assert!(
                    text.starts_with("ncclCommInitRankConfig on rank 0 of 1: unhandled cuda error"),
                    "{text}"
                );
                assert!(text.contains("CUDA") && !text.contains('\n'), "{text}");
                assert!(error.hint().is_some() && error.is_environment());
            }
        }
    }
}
