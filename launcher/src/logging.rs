//! Log lines: rank 0's go to stderr, every rank's to `logs/rank_NNN.log` of the run. RUST_LOG chooses what.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use dtrain_trainer::run::RunDir;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The file that log lines go to once the run directory is known; until then they are kept.
#[derive(Debug, Clone, Default)]
pub struct LogFile(Arc<Mutex<Target>>);

#[derive(Debug)]
enum Target {
    Kept(Vec<u8>),
    File(File),
}

/// Lines kept before the file is known.
const MAX_KEPT_BYTES: usize = 1 << 20;

impl Default for Target {
    fn default() -> Self {
        Target::Kept(Vec::new())
    }
}

impl LogFile {
    /// From now on lines go to the run's file of this rank, the kept ones first.
    pub fn open(&self, run_dir: &RunDir, rank: usize) -> std::io::Result<()> {
        let path = run_dir.log(rank);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path)?.into_parts().0;
        let mut target = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Target::Kept(kept) = &*target {
            file.write_all(kept)?;
        }
        *target = Target::File(file);
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Target::Kept(kept) => {
                if kept.len() + bytes.len() <= MAX_KEPT_BYTES {
                    kept.extend_from_slice(bytes);
                }
                Ok(bytes.len())
            }
            Target::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Installs the subscriber. The library that decodes recordings is silent: what it finds odd about a file is said in one
/// warning about all files. Ranks other than 0 speak on stderr of errors only.
pub fn install(rank: usize) -> LogFile {
    let file = LogFile::default();
    let filter =
        |default: &str| EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .without_time()
        .with_target(false)
        .with_filter(if rank == 0 {
            filter("info,symphonia=off")
        } else {
            EnvFilter::new("error,symphonia=off")
        });
    let writer = file.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_filter(filter("info,dtrain=debug,dtrain_trainer=debug,symphonia=off"));
    // A second subscriber in the same process is refused; the first one serves.
    let _ = tracing_subscriber::registry().with(terminal).with(lines).try_init();
    file
}
