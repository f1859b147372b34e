//! The same numbers as torchaudio: `fixtures/mel.json`, written by `fixtures/make_mel.py`.

use dtrain_configs::schema::{FeatureConfig, MelNorm, MelScale};
use serde::Deserialize;

use super::LogMel;

#[derive(Deserialize)]
struct Fixture {
    log_offset: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sample_rate: u32,
    num_samples: usize,
    n_fft: usize,
    hop_length: usize,
    n_mels: usize,
    f_min: f64,
    f_max: Option<f64>,
    mel_scale: MelScale,
    mel_norm: MelNorm,
    num_frames: usize,
    /// The frames that `log_mel` holds.
    frames: Vec<usize>,
    /// [n_mels, frames]
    log_mel: Vec<Vec<f32>>,
}

/// `signal` of make_mel.py.
fn signal(num_samples: usize) -> Vec<f32> {
    let mut state = 12_345u64;
    let sample = |i: usize| {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        let (noise, i) = (state as f64 / (1u64 << 31) as f64 - 0.5, i as f64);
        (0.4 * (0.05 * i + 0.0006 * i * i).sin() + 0.02 * noise) as f32
    };
    (0..num_samples).map(sample).collect()
}

#[test]
fn spectrograms_equal_those_of_torchaudio() {
    let fixture: Fixture = serde_json::from_str(include_str!("../../fixtures/mel.json")).unwrap();
    assert!(fixture.cases.len() >= 8);
    for case in fixture.cases {
        let config = FeatureConfig {
            n_fft: case.n_fft,
            hop_length: case.hop_length,
            n_mels: case.n_mels,
            f_min: case.f_min,
            f_max: case.f_max,
            mel_scale: case.mel_scale,
            mel_norm: case.mel_norm,
            log_offset: fixture.log_offset,
            ..FeatureConfig::default()
        };
        let log_mel = LogMel::new(&config, case.sample_rate, case.num_samples).unwrap();
        assert_eq!((log_mel.n_mels(), log_mel.num_frames()), (case.n_mels, case.num_frames));
        let mut out = vec![0.0; case.n_mels * case.num_frames];
        log_mel.compute(&mut log_mel.workspace(), &signal(case.num_samples), &mut out).unwrap();
        for (band, row) in case.log_mel.iter().enumerate() {
            for (&frame, &expected) in case.frames.iter().zip(row) {
                let found = out[band * case.num_frames + frame];
                assert!(
                    (found - expected).abs() < 1e-4,
                    "n_fft {}, {} Hz: band {band}, frame {frame}: {found}, torchaudio {expected}",
                    case.n_fft,
                    case.sample_rate
                );
            }
        }
    }
}
