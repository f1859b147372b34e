//! Of a recording: how loud it is, how loud where it is quietest, how long, and how much of a view it leaves empty.

/// Names of what [`of_recording`] measures, in its order.
pub(crate) const OF_A_RECORDING: &[&str] = &["gain_db", "noise_floor_db", "length_secs", "padding"];

/// Length of the frames whose levels are compared, in seconds.
const FRAME_SECS: f64 = 0.02;
/// Share of the frames that are quieter than the noise floor.
const QUIETEST: f64 = 0.1;
/// Level of digital silence, in dB against full scale.
const SILENCE_DB: f64 = -120.0;

/// Root mean square in dB against full scale, the level below which a tenth of the frames stay, length, and the share of a
/// view of `view_len` samples that is padded.
pub(crate) fn of_recording(samples: &[f32], sample_rate: u32, view_len: usize) -> Vec<f64> {
    let rate = f64::from(sample_rate);
    let frame_len = ((FRAME_SECS * rate) as usize).max(1);
    // The last frame is a full one too: a few samples say little.
    let mut levels: Vec<f64> = samples.chunks_exact(frame_len).map(level_db).collect();
    levels.sort_by(f64::total_cmp);
    let quiet = levels.get((QUIETEST * levels.len() as f64) as usize).copied();
    let padding = 1.0 - samples.len() as f64 / view_len.max(1) as f64;
    let gain = level_db(samples);
    vec![gain, quiet.unwrap_or(gain), samples.len() as f64 / rate, padding.max(0.0)]
}

fn level_db(samples: &[f32]) -> f64 {
    let squares: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    (10.0 * (squares / samples.len().max(1) as f64).log10()).max(SILENCE_DB)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of 20 samples at 1 kHz: of the levels -20, -40, ... each a known number of frames.
    fn recording(levels_db: &[(i32, usize)]) -> Vec<f32> {
        let of_level = |&(db, frames): &(i32, usize)| {
            let amplitude = 10f32.powf(db as f32 / 20.0);
            (0..frames * 20).map(move |i| if i % 2 == 0 { amplitude } else { -amplitude })
        };
        levels_db.iter().flat_map(of_level).collect()
    }

    #[test]
    fn levels_lengths_and_padding_are_those_of_the_definition() {
        let samples = recording(&[(-20, 85), (-60, 15)]);
        let [gain, floor, length, padding] = of_recording(&samples, 1000, 4000)[..] else { panic!() };
        // 0.85 of the power of -20 dB, to which -60 dB adds nothing that counts.
        assert!((gain - (-20.0 + 10.0 * 0.850_015f64.log10())).abs() < 1e-3, "{gain}");
        assert!((floor + 60.0).abs() < 1e-3, "{floor}");
        assert_eq!((length, padding), (2.0, 0.5));
        let [_, floor, _, padding] = of_recording(&recording(&[(-20, 95), (-60, 5)]), 1000, 1000)[..] else {
            panic!()
        };
        assert!((floor + 20.0).abs() < 1e-3, "one frame in twenty is no floor: {floor}");
        assert_eq!(padding, 0.0);
    }

    #[test]
    fn silence_and_a_click_have_levels_too() {
        for samples in [vec![0.0; 500], vec![], vec![0.0; 3]] {
            let measured = of_recording(&samples, 1000, 1000);
            assert_eq!(measured.len(), OF_A_RECORDING.len());
            assert_eq!(measured[..2], [SILENCE_DB, SILENCE_DB]);
            assert!(measured.iter().all(|value| value.is_finite()));
        }
    }
}
