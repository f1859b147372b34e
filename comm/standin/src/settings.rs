//! Settings of the environment.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

/// What the environment asks for; the crate's documentation names the variables.
#[derive(Debug)]
pub(crate) struct Settings {
    pub num_devices: i32,
    pub dir: PathBuf,
    latency: Duration,
    bytes_per_s: f64,
    pub seed: u64,
    pub version: i32,
    pub ignore_waits: bool,
    pub host: String,
    /// What a call that launches something takes on the host; `None` for the defaults of each mode.
    pub call: Option<Duration>,
    /// Whether every operation connects anew, as if it were the first of its kind.
    pub connects_always: bool,
    /// The rank on which making a communicator fails.
    pub failing_rank: Option<usize>,
    /// Whether an abort never comes back.
    pub abort_hangs: bool,
    /// `NCCL_COMM_BLOCKING`, which goes before the configuration.
    pub blocking: Option<bool>,
    /// `NCCL_RUNTIME_CONNECT`: whether ranks connect at the first operation of a kind rather than at the start.
    pub connects_lazily: bool,
}

impl Settings {
    /// How long `bytes` are on the simulated wire.
    pub(crate) fn wire_time(&self, bytes: usize) -> Duration {
        let seconds = bytes as f64 / self.bytes_per_s;
        self.latency + Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

/// The settings of this process.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| Settings {
        num_devices: number("DTRAIN_STANDIN_DEVICES").unwrap_or(8),
        dir: std::env::var_os("DTRAIN_STANDIN_DIR").map_or_else(std::env::temp_dir, PathBuf::from),
        latency: Duration::from_micros(number("DTRAIN_STANDIN_LATENCY_US").unwrap_or(0)),
        bytes_per_s: number("DTRAIN_STANDIN_BYTES_PER_S").unwrap_or(f64::INFINITY),
        seed: number("DTRAIN_STANDIN_SEED").unwrap_or(0),
        version: number("DTRAIN_STANDIN_VERSION").unwrap_or(crate::VERSION),
        ignore_waits: number("DTRAIN_STANDIN_IGNORE_WAITS") == Some(1),
        host: std::env::var("NCCL_HOSTID").unwrap_or_default(),
        call: number("DTRAIN_STANDIN_CALL_US").map(Duration::from_micros),
        connects_always: number("DTRAIN_STANDIN_CONNECTS_ALWAYS") == Some(1),
        failing_rank: number("DTRAIN_STANDIN_FAILING_RANK"),
        abort_hangs: number("DTRAIN_STANDIN_ABORT_HANGS") == Some(1),
        blocking: number("NCCL_COMM_BLOCKING").and_then(|value: i32| match value {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }),
        connects_lazily: number("NCCL_RUNTIME_CONNECT") != Some(0),
    })
}

fn number<T: FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.trim().parse().ok()
}
