//! Where the program under test is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `dtrain` binary, whose worker lies beside it: `DTRAIN_BIN`, or the one beside this test's build, which is built if
/// it is not there.
pub fn dtrain_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("DTRAIN_BIN") {
        Some(path) => std::path::absolute(path).expect("DTRAIN_BIN is a path"),
        None => beside_this_test(),
    })
}

/// `target/<profile>/deps/<test>` stands beside `target/<profile>/dtrain`.
fn beside_this_test() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built into target/<profile>/deps");
    let binary = profile.join("dtrain");
    if !binary.exists() || !profile.join("dtrain-worker").exists() {
        let target = profile.parent().expect("a profile's folder lies in the target folder");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--release", "-p", "dtrain", "--target-dir"])
            .arg(target)
            .current_dir(workspace_root())
            // scripts/test/record.sh sets it; cargo would compile everything anew.
            .env_remove("RUSTC_BOOTSTRAP")
            .status()
            .expect("cargo starts");
        assert!(status.success(), "`cargo build --release -p dtrain` failed");
        return target.join("release/dtrain");
    }
    binary
}

/// The repository.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}
