//! Handles, constants and status codes of MPI as Rust values.

use std::ffi::{c_char, c_int, c_void};

use mpi::ffi;

use crate::buffer::ElementKind;
use crate::collective::ReduceOp;
use crate::error::CommError;
use crate::world::World;

/// A communicator handle: a pointer with Open MPI, a number with MPICH.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle(pub ffi::MPI_Comm);

// SAFETY: a handle names an object inside MPI, which was initialized with MPI_THREAD_MULTIPLE: any thread may use it.
// That no two threads use one communicator for collectives at once is the business of `MpiCollective`.
unsafe impl Send for Handle {}
// SAFETY: as above; the handle itself is never changed.
unsafe impl Sync for Handle {}

/// `MPI_COMM_WORLD`.
pub(super) fn comm_world() -> ffi::MPI_Comm {
    // SAFETY: a constant of the C library, defined once it is loaded.
    unsafe { ffi::RSMPI_COMM_WORLD }
}

/// `MPI_BYTE`'s unsigned sibling, which all byte-wise operations use.
pub(super) fn byte_type() -> ffi::MPI_Datatype {
    // SAFETY: a constant of the C library, defined once it is loaded.
    unsafe { ffi::RSMPI_UINT8_T }
}

/// The MPI datatype of an element.
pub(super) fn datatype(kind: ElementKind) -> ffi::MPI_Datatype {
    // SAFETY: constants of the C library, defined once it is loaded.
    unsafe {
        match kind {
            ElementKind::F32 => ffi::RSMPI_FLOAT,
            ElementKind::F64 => ffi::RSMPI_DOUBLE,
            ElementKind::I32 => ffi::RSMPI_INT32_T,
            ElementKind::I64 => ffi::RSMPI_INT64_T,
            ElementKind::U64 => ffi::RSMPI_UINT64_T,
            ElementKind::U8 => ffi::RSMPI_UINT8_T,
        }
    }
}

/// The MPI operation.
pub(super) fn operation(op: ReduceOp) -> ffi::MPI_Op {
    // SAFETY: constants of the C library, defined once it is loaded.
    unsafe {
        match op {
            ReduceOp::Sum => ffi::RSMPI_SUM,
            ReduceOp::Max => ffi::RSMPI_MAX,
            ReduceOp::Min => ffi::RSMPI_MIN,
        }
    }
}

/// `MPI_IN_PLACE` as an address. It is a C macro with a cast, which the bindings lack: 1 in Open MPI's `mpi.h`, -1 in
/// that of MPICH and its derivatives.
///
/// # Errors
/// [`CommError::UnsupportedLibrary`] for a library that is neither.
pub(super) fn in_place(version: &str) -> Result<usize, CommError> {
    const MPICH_FAMILY: [&str; 4] = ["MPICH", "MVAPICH", "Intel(R) MPI", "CRAY MPICH"];
    if version.starts_with("Open MPI") {
        Ok(1)
    } else if MPICH_FAMILY.iter().any(|name| version.starts_with(name)) {
        Ok(usize::MAX)
    } else {
        let version = version.lines().next().unwrap_or_default().to_owned();
        Err(CommError::UnsupportedLibrary { version })
    }
}

/// What `MPI_Get_library_version` says of the MPI that this program runs with; may be asked at any time.
#[must_use]
pub fn library_version() -> String {
    // Open MPI and MPICH define the longest text as 256 and 8192 bytes.
    let mut text = [0_u8; 8192 + 1];
    let mut len: c_int = 0;
    // SAFETY: the buffer is longer than MPI_MAX_LIBRARY_VERSION_STRING of either library; the call is allowed before
    // and after initialization.
    let status = unsafe { ffi::MPI_Get_library_version(text.as_mut_ptr().cast::<c_char>(), &raw mut len) };
    if status == SUCCESS { text_of(&text, len) } else { String::new() }
}

/// `MPI_SUCCESS`, which the standard fixes as 0.
pub(super) const SUCCESS: c_int = 0;

/// Turns a status code into a typed error with MPI's own text.
///
/// # Errors
/// [`CommError::Mpi`] for every code but success.
pub(super) fn check(
    status: c_int,
    operation: &'static str,
    world: &World,
    count: usize,
) -> Result<(), CommError> {
    if status == SUCCESS {
        return Ok(());
    }
    let mut text = [0_u8; 1024 + 1];
    let mut len: c_int = 0;
    // SAFETY: the buffer is longer than MPI_MAX_ERROR_STRING (256 in Open MPI, 512 to 1024 in MPICH).
    let known =
        unsafe { ffi::MPI_Error_string(status, text.as_mut_ptr().cast::<c_char>(), &raw mut len) } == SUCCESS;
    let text = if known { text_of(&text, len) } else { format!("error code {status}") };
    Err(CommError::Mpi {
        operation,
        rank: world.rank,
        world_size: world.world_size,
        count,
        code: status,
        text,
    })
}

fn text_of(bytes: &[u8], len: c_int) -> String {
    let len = usize::try_from(len).unwrap_or_default().min(bytes.len());
    String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).trim_end_matches('\0').trim().to_owned()
}

/// The address as MPI wants it.
pub(super) fn address(place: usize) -> *const c_void {
    std::ptr::without_provenance(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_follows_the_library() {
        assert_eq!(in_place("Open MPI v4.1.4, package: Debian OpenMPI"), Ok(1));
        assert_eq!(in_place("MPICH Version:\t4.0.2\nMPICH Release date: ..."), Ok(usize::MAX));
        assert_eq!(
            in_place("Other MPI 1\nmore"),
            Err(CommError::UnsupportedLibrary { version: "Other MPI 1".to_owned() })
        );
    }
}
