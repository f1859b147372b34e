//! NCCL as it is found at run time.
//!
//! It is looked for as `libnccl.so.2` first, which is how libtorch names it: where libtorch has loaded its copy, the loader
//! answers with that one.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::{ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};
use libloading::Library;

use crate::dynamic::{Unusable, functions};
use crate::error::CommError;

/// What `ncclGetVersion` of the stand-in for tests reports: 2.99.0.
pub const STANDIN_VERSION: i32 = 29900;

/// Oldest version with all that is used, and with an abort that does not hang.
const OLDEST: (i32, i32) = (2, 19);
const NEEDED: &str = "2.19 or a newer 2.x";

const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

functions! {
    /// Functions of NCCL, with their C declarations; unless it says otherwise, each returns an `ncclResult_t`.
    Nccl {
        version = "ncclGetVersion"(*mut c_int) -> c_int;
        unique_id = "ncclGetUniqueId"(*mut ncclUniqueId) -> c_int;
        init_rank =
            "ncclCommInitRankConfig"(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> c_int;
        async_error = "ncclCommGetAsyncError"(ncclComm_t, *mut c_int) -> c_int;
        finalize = "ncclCommFinalize"(ncclComm_t) -> c_int;
        destroy = "ncclCommDestroy"(ncclComm_t) -> c_int;
        abort = "ncclCommAbort"(ncclComm_t) -> c_int;
        error_string = "ncclGetErrorString"(c_int) -> *const c_char;
        last_error = "ncclGetLastError"(ncclComm_t) -> *const c_char;
        group_start = "ncclGroupStart"() -> c_int;
        group_end = "ncclGroupEnd"() -> c_int;
        all_reduce = "ncclAllReduce"(
            *const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, CUstream) -> c_int;
        reduce_scatter = "ncclReduceScatter"(
            *const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, CUstream) -> c_int;
        all_gather = "ncclAllGather"(
            *const c_void, *mut c_void, usize, ncclDataType_t, ncclComm_t, CUstream) -> c_int;
        broadcast = "ncclBroadcast"(
            *const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, CUstream) -> c_int;
    }
}

/// The NCCL of this process, loaded once, and its version code.
///
/// # Errors
/// There is none, it lacks functions, its version will not do, or there are two.
pub(super) fn nccl() -> Result<(&'static Nccl, i32), CommError> {
    static NCCL: OnceLock<Result<Nccl, Unusable>> = OnceLock::new();
    let nccl = NCCL.get_or_init(load).as_ref().map_err(Unusable::clone)?;
    let mut code = 0;
    // SAFETY: the pointer is to a local.
    let status = unsafe { (nccl.version)(&raw mut code) };
    let (major, minor, _) = decode(code);
    if status != 0 || major != OLDEST.0 || minor < OLDEST.1 {
        return Err(CommError::LibraryVersion { found: version_text(code), needed: NEEDED });
    }
    // Where the kernel does not tell what is mapped, there is nothing to compare.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let inode = |path: &str| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    match two_copies(&maps, &inode) {
        Some((first, second)) => Err(CommError::LibraryTwice { first, second }),
        None => Ok((nccl, code)),
    }
}

fn load() -> Result<Nccl, Unusable> {
    let mut reasons = Vec::new();
    for name in NAMES {
        // SAFETY: NCCL's initializers have no requirements.
        match unsafe { Library::new(name) } {
            Ok(library) => {
                // Never unloaded: its functions and threads are used until the process ends.
                let library: &'static Library = Box::leak(Box::new(library));
                return Nccl::find(library).map_err(|reason| Unusable {
                    library: "NCCL",
                    reason: format!("{reason} (`{name}`)"),
                    hint: "put the folder of the `libnccl.so.2` that comes with libtorch first in `LD_LIBRARY_PATH`",
                });
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(Unusable {
        library: "NCCL",
        reason: reasons.into_iter().next().unwrap_or_default(),
        hint: "put the folder of `libnccl.so.2` (`nvidia/nccl/lib` beside libtorch's `torch` folder) into \
               `LD_LIBRARY_PATH`",
    })
}

/// The paths of two different files that are both NCCL, in the text of `/proc/self/maps`.
fn two_copies(maps: &str, inode: &dyn Fn(&str) -> Option<(u64, u64)>) -> Option<(String, String)> {
    let mut copies = BTreeMap::new();
    for line in maps.lines() {
        // address, permissions, offset, device, inode, path
        let Some(start) = line.find('/') else { continue };
        let path = line.get(start..).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if name == "libnccl.so" || name.starts_with("libnccl.so.") {
            copies.entry(inode(path)).or_insert_with(|| path.to_owned());
        }
    }
    let mut paths = copies.into_values();
    Some((paths.next()?, paths.next()?))
}

/// Major, minor and patch number: NCCL codes 2.8.4 as 2804 and 2.9.0 as 20900.
pub(super) fn decode(code: i32) -> (i32, i32, i32) {
    if code < 10_000 {
        (code / 1000, code % 1000 / 100, code % 100)
    } else {
        (code / 10_000, code % 10_000 / 100, code % 100)
    }
}

/// The version as people write it.
pub(super) fn version_text(code: i32) -> String {
    let (major, minor, patch) = decode(code);
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_both_codings() {
        assert_eq!(version_text(22809), "2.28.9");
        assert_eq!(version_text(2804), "2.8.4");
        assert_eq!(decode(STANDIN_VERSION), (2, 99, 0));
        assert_eq!(STANDIN_VERSION, dtrain_nccl_standin::VERSION);
    }

    #[test]
    fn two_files_are_two_copies_and_two_names_of_one_are_not() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 11  /a/libnccl.so.2\n\
                    7f01-7f02 r--p 00001000 08:01 11  /a/libnccl.so.2\n\
                    7f03-7f04 r-xp 00000000 08:01 11  /b/link/libnccl.so\n\
                    7f05-7f06 r-xp 00000000 08:01 12  /c/libnccl-net.so\n\
                    7f07-7f08 rw-p 00000000 00:00 0\n";
        let one = |_: &str| Some((8, 11));
        assert_eq!(two_copies(maps, &one), None);
        let two = |path: &str| Some((8, if path.starts_with("/a") { 11 } else { 12 }));
        let expected = ("/a/libnccl.so.2".to_owned(), "/b/link/libnccl.so".to_owned());
        assert_eq!(two_copies(maps, &two), Some(expected));
        assert_eq!(two_copies("", &two), None);
    }
}
