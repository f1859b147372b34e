//! Worlds of ranks that find the stand-in where they look for NCCL and the CUDA driver.

use std::process::Output;
use std::time::Duration;

use dtrain_comm::{Buffer, CommError, ElementKind, MemoryKind, NcclOptions, NcclTransport, Session};
use tempfile::TempDir;

use crate::world::{connect_rank, is_rank, start, text};

/// A limit that no test reaches unless something is wrong.
pub const NEVER: Duration = Duration::from_secs(60);

/// A folder with the stand-in under all of its names.
pub fn installed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    dtrain_nccl_standin::install(dir.path()).unwrap();
    dir
}

/// Starts `size` ranks of `test` that look for libraries in `dir` first; `None` without `mpirun`.
pub fn start_in(dir: &TempDir, test: &str, size: usize, variables: &[(&str, &str)]) -> Option<Output> {
    let shared = tempfile::tempdir().unwrap();
    let path = |dir: &TempDir| dir.path().to_str().unwrap().to_owned();
    let (libraries, files) = (path(dir), path(&shared));
    let mut all = vec![("LD_LIBRARY_PATH", libraries.as_str()), ("DTRAIN_STANDIN_DIR", files.as_str())];
    all.extend_from_slice(variables);
    let output = start(test, size, &all)?;
    let left: Vec<_> = std::fs::read_dir(shared.path()).unwrap().collect();
    assert!(left.is_empty(), "shared memory has a name after the run: {left:?}");
    Some(output)
}

/// Runs `body` on each rank of worlds of the given sizes, with the stand-in and `variables`, and once more with NCCL's
/// other way to call.
pub fn with_standin(test: &str, sizes: &[usize], variables: &[(&str, &str)], body: impl FnOnce(&Session)) {
    if is_rank() {
        let session = connect_rank();
        body(&session);
        session.finalize().unwrap();
        return;
    }
    let dir = installed();
    // The largest world also with calls that do not block.
    let nonblocking = [variables, &[("NCCL_COMM_BLOCKING", "0")]].concat();
    let again = sizes.last().map(|&size| (size, &nonblocking[..]));
    for (size, variables) in sizes.iter().map(|&size| (size, variables)).chain(again) {
        let Some(output) = start_in(&dir, test, size, variables) else { return };
        assert!(output.status.success(), "{size} ranks, {variables:?}: {}", text(&output));
        assert_eq!(text(&output).matches("1 passed").count(), size, "{}", text(&output));
    }
}

/// Options that most tests take.
pub fn options(device: usize, memory: MemoryKind, timeout: Duration) -> NcclOptions {
    NcclOptions { device, memory, timeout, connect_timeout: NEVER, blocking: true, largest_bytes: 1 << 16 }
}

/// Connects a rank to the device of its own.
pub fn connect(session: &Session, memory: MemoryKind, timeout: Duration) -> Result<NcclTransport, CommError> {
    NcclTransport::connect(session.collective(), options(session.world().local_rank, memory, timeout))
}

/// A function that the stand-in has for tests.
///
/// # Safety
/// `F` is its type.
pub unsafe fn function<F: Copy>(name: &str) -> F {
    // SAFETY: the stand-in has no initializers, and stays loaded.
    let library = unsafe { libloading::Library::new("libnccl.so.2") }.unwrap();
    // SAFETY: promised by the caller.
    let function = *unsafe { library.get::<F>(name) }.unwrap();
    std::mem::forget(library);
    function
}

/// A buffer over memory that the test keeps alive and untouched until its ticket is done.
pub fn lend<T: Element>(values: &mut [T]) -> Buffer<'static> {
    // SAFETY: as the doc line says.
    unsafe { Buffer::from_raw(values.as_mut_ptr().cast(), values.len(), T::KIND) }
}

/// A number that transports carry.
pub trait Element: Copy + PartialEq + std::fmt::Debug {
    /// Its kind.
    const KIND: ElementKind;
    /// A small whole number.
    fn of(value: usize) -> Self;
}

macro_rules! elements {
    ($($element:ty => $kind:ident),*) => {$(
        impl Element for $element {
            const KIND: ElementKind = ElementKind::$kind;
            fn of(value: usize) -> Self {
                value as $element
            }
        }
    )*};
}
elements!(f32 => F32, f64 => F64, i32 => I32, i64 => I64, u64 => U64, u8 => U8);
