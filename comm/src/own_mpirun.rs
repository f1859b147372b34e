//! The `mpirun` that belongs to the MPI library of this process, for messages to people whose own belongs to another.

use std::path::{Path, PathBuf};

/// What to use, in words.
pub(crate) fn advice() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    match library_in(&maps) {
        Some(library) => advice_for(&library, &beside(&library, Path::is_file)),
        None => "use the `mpirun` of the Open MPI that dtrain was built with".to_owned(),
    }
}

fn advice_for(library: &Path, found: &[PathBuf]) -> String {
    let library = library.display();
    match found.first() {
        Some(mpirun) => {
            format!(
                "use `{} -n N dtrain ...`, the `mpirun` of dtrain's own MPI library `{library}`",
                mpirun.display()
            )
        }
        None => format!("use the `mpirun` of dtrain's own MPI library, `{library}`"),
    }
}

/// The MPI library among the mapped files of a process.
fn library_in(maps: &str) -> Option<PathBuf> {
    let paths = maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    paths.map(Path::new).find(|path| name_of(path).starts_with("libmpi.so")).map(Path::to_owned)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `bin/mpirun` in the folders above a library, the nearest first.
fn beside(library: &Path, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let folders = library.ancestors().skip(1);
    folders.map(|folder| folder.join("bin/mpirun")).filter(|mpirun| exists(mpirun)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mpirun_of_the_mapped_library_is_named() {
        let maps = "7f00-7f10 r-xp 00000000 08:01 12   /opt/my mpi/lib/libmpi.so.40.30.4\n7f20-7f30 rw-p 00000000 00:00 0\n";
        let library = library_in(maps).unwrap();
        assert_eq!(library, Path::new("/opt/my mpi/lib/libmpi.so.40.30.4"));
        let found = beside(&library, |path| path == Path::new("/opt/my mpi/bin/mpirun"));
        assert!(advice_for(&library, &found).starts_with("use `/opt/my mpi/bin/mpirun -n N dtrain ...`"));
        assert!(advice_for(&library, &[]).ends_with("`/opt/my mpi/lib/libmpi.so.40.30.4`"));
        assert_eq!(library_in("no maps"), None);
    }
}
