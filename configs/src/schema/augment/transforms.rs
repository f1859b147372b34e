//! One of six changes for each view, which a method learns to tell.

use serde::{Deserialize, Serialize};

/// Exactly one of six changes of each spectrogram, before it is normalized: none, a shift in time, a shift in pitch, a masked
/// stretch of time, a masked band, or added noise. Which one was drawn is told to the method. Each has a least strength, so
/// that it can be told, and each range is uniform. What a shift or a mask leaves empty has the spectrogram's lowest value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformsConfig {
    /// Shift to the left or to the right, without wrapping around, as a share of the frames.
    pub shift: [f64; 2],
    /// Shift up or down, as a share of the mel bands.
    pub pitch: [f64; 2],
    /// Width of the masked stretch, as a share of the frames.
    pub time_mask: [f64; 2],
    /// Width of the masked band, as a share of the mel bands.
    pub freq_mask: [f64; 2],
    /// Standard deviation of the Gaussian noise, as a multiple of the spectrogram's own.
    pub noise: [f64; 2],
}

impl TransformsConfig {
    /// Changes, the one that changes nothing among them.
    pub const COUNT: i64 = 6;
    /// The column that tells which was drawn, and the name of the head that tells it.
    pub const COLUMN: &'static str = "transform";
    /// Their names, by number.
    pub const NAMES: [&'static str; 6] =
        ["identity", "time_shift", "pitch_shift", "time_mask", "freq_mask", "noise"];
}

impl Default for TransformsConfig {
    fn default() -> Self {
        Self {
            shift: [0.1, 0.4],
            pitch: [0.06, 0.2],
            time_mask: [0.1, 0.3],
            freq_mask: [0.1, 0.3],
            noise: [0.3, 0.8],
        }
    }
}
