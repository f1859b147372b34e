//! Where the shared library is, and under which names a process finds it.

use std::path::{Path, PathBuf};

/// The name that cargo gives the shared library.
const FILE: &str = "libdtrain_nccl_standin.so";
/// The names under which NCCL and the CUDA driver are looked for.
const NAMES: [&str; 4] = ["libnccl.so", "libnccl.so.2", "libcuda.so", "libcuda.so.1"];

/// Why the stand-in cannot be installed.
#[derive(Debug)]
pub enum InstallError {
    /// Cargo has not built the shared library where this program expects it.
    NotBuilt {
        /// The folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// The links could not be made.
    Io(std::io::Error),
}

impl std::fmt::Display for InstallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBuilt { searched } => {
                write!(
                    f,
                    "`{FILE}` is in none of {searched:?}; `cargo build -p dtrain-nccl-standin` makes it"
                )
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InstallError {}

/// The shared library, which cargo leaves beside the test program that depends on this crate.
///
/// # Errors
/// [`InstallError::NotBuilt`] when it is not there.
pub fn library() -> Result<PathBuf, InstallError> {
    let program = std::env::current_exe().map_err(InstallError::Io)?;
    let beside = program.parent().map(Path::to_owned).unwrap_or_default();
    let above = beside.parent().map(Path::to_owned).unwrap_or_default();
    // The program is a test in `deps`, an example, or a binary above `deps`.
    let searched = vec![beside.clone(), beside.join("deps"), above.join("deps"), above];
    let found = searched.iter().map(|folder| folder.join(FILE)).find(|file| file.is_file());
    found.ok_or(InstallError::NotBuilt { searched })
}

/// Links the stand-in into `dir` under the names of NCCL and the CUDA driver, and returns `dir` as an absolute path: the
/// value of `LD_LIBRARY_PATH` for the processes that are to find it.
///
/// # Errors
/// The library was not built, or the links could not be made.
pub fn install(dir: &Path) -> Result<PathBuf, InstallError> {
    let library = library()?;
    fs_err::create_dir_all(dir).map_err(InstallError::Io)?;
    for name in NAMES {
        let link = dir.join(name);
        match fs_err::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(InstallError::Io(error));
            }
            _ => {}
        }
        fs_err::os::unix::fs::symlink(&library, link).map_err(InstallError::Io)?;
    }
    fs_err::canonicalize(dir).map_err(InstallError::Io)
}
