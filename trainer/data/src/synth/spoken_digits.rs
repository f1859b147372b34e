//! Spoken digits in the layout of the Free Spoken Digit Dataset, by formant synthesis: Klatt's parallel branch (1980)
//! reduced to a pulse train through three resonances, and noise through a fourth for fricatives.

use std::f64::consts::PI;

use super::dsp::{Biquad, Random, from_db};
use super::{Collection, scaled};

const SAMPLE_RATE: u32 = 8_000;
const RATE: f64 = SAMPLE_RATE as f64;
/// Names of the original, so that its splits by speaker apply; the voices are others.
const SPEAKERS: [&str; 4] = ["jackson", "lucas", "nicolas", "theo"];
const TAKES: usize = 20;
/// Takes 0 to 4 are the test part of the original.
const MIN_TAKES: usize = 6;
/// Factor of the durations below, which are those of fluent speech; single words are spoken slower.
const PACE: f64 = 1.3;
/// Samples between two updates of the resonances: 2.5 ms.
const UPDATE: usize = 20;
/// Time over which one sound goes over into the next.
const TRANSITION_SECS: f64 = 0.045;

/// A speech sound.
#[derive(Debug, Clone, Copy)]
struct Sound {
    secs: f64,
    /// Amplitude of the voice.
    voice: f64,
    /// Amplitude of the fricative noise.
    noise: f64,
    /// Centre and width of the fricative noise, in Hz.
    noise_hz: [f64; 2],
    /// Resonances at the beginning, in Hz.
    from_hz: [f64; 3],
    /// Resonances at the end, in Hz.
    to_hz: [f64; 3],
}

const fn vowel(secs: f64, formants: [f64; 3]) -> Sound {
    glide(secs, formants, formants)
}

const fn glide(secs: f64, from_hz: [f64; 3], to_hz: [f64; 3]) -> Sound {
    Sound { secs, voice: 1.0, noise: 0.0, noise_hz: [2500.0, 1000.0], from_hz, to_hz }
}

const fn murmur(secs: f64, formants: [f64; 3]) -> Sound {
    Sound { voice: 0.35, ..vowel(secs, formants) }
}

const fn fricative(secs: f64, noise: f64, voice: f64, noise_hz: [f64; 2]) -> Sound {
    let neutral = [400.0, 1600.0, 2600.0];
    Sound { secs, voice, noise, noise_hz, from_hz: neutral, to_hz: neutral }
}

const fn closure(secs: f64) -> Sound {
    fricative(secs, 0.0, 0.0, [2500.0, 1000.0])
}

// Formants of a male speaker, rounded from Peterson and Barney 1952.
const IY: [f64; 3] = [280.0, 2250.0, 2950.0];
const IH: [f64; 3] = [400.0, 1950.0, 2550.0];
const EH: [f64; 3] = [540.0, 1820.0, 2480.0];
const AE: [f64; 3] = [680.0, 1650.0, 2420.0];
const AH: [f64; 3] = [630.0, 1200.0, 2400.0];
const AA: [f64; 3] = [730.0, 1100.0, 2450.0];
const AO: [f64; 3] = [560.0, 860.0, 2400.0];
const UH: [f64; 3] = [440.0, 1020.0, 2250.0];
const UW: [f64; 3] = [310.0, 900.0, 2240.0];
const R: [f64; 3] = [350.0, 1150.0, 1600.0];
const W: [f64; 3] = [300.0, 650.0, 2200.0];
const N: [f64; 3] = [260.0, 1400.0, 2300.0];

const S: [f64; 2] = [3600.0, 700.0];
const F: [f64; 2] = [2200.0, 3000.0];
const T: [f64; 2] = [3200.0, 1200.0];
const K: [f64; 2] = [1800.0, 500.0];

/// The sounds of each digit.
fn digit_sounds(digit: usize) -> Vec<Sound> {
    match digit {
        0 => vec![fricative(0.07, 0.35, 0.4, S), vowel(0.09, IH), glide(0.08, R, R), glide(0.18, AO, UH)],
        1 => vec![glide(0.07, W, W), vowel(0.15, AH), murmur(0.12, N)],
        2 => vec![closure(0.02), fricative(0.05, 0.7, 0.0, T), glide(0.22, [320.0, 1500.0, 2400.0], UW)],
        3 => vec![fricative(0.10, 0.22, 0.0, F), glide(0.07, R, R), vowel(0.20, IY)],
        4 => vec![fricative(0.11, 0.25, 0.0, F), vowel(0.17, AO), glide(0.12, AO, R)],
        5 => vec![fricative(0.11, 0.25, 0.0, F), glide(0.24, AA, IH), fricative(0.08, 0.12, 0.4, F)],
        6 => vec![
            fricative(0.12, 0.5, 0.0, S),
            vowel(0.09, IH),
            closure(0.05),
            fricative(0.03, 0.6, 0.0, K),
            fricative(0.13, 0.5, 0.0, S),
        ],
        7 => vec![
            fricative(0.11, 0.5, 0.0, S),
            vowel(0.10, EH),
            fricative(0.05, 0.12, 0.4, F),
            vowel(0.07, AH),
            murmur(0.10, N),
        ],
        8 => vec![glide(0.18, EH, IY), closure(0.06), fricative(0.05, 0.6, 0.0, T)],
        _ => vec![murmur(0.08, N), glide(0.23, AE, IY), murmur(0.10, N)],
    }
}

/// What makes a voice.
#[derive(Debug, Clone, Copy)]
struct Voice {
    pitch_hz: f64,
    /// Factor of all resonances: a shorter vocal tract has higher ones.
    formant_scale: f64,
    /// Factor of all durations.
    slowness: f64,
    /// Share of noise in the voice.
    breath: f64,
    /// Level of the room's noise, in dB.
    room_db: f64,
}

impl Voice {
    fn new(seed: u64, speaker: usize) -> Self {
        let mut random = Random::new(seed, 1, speaker as u64, 0);
        // Every second voice is high, as the names suggest.
        let (pitch, scale) = if speaker.is_multiple_of(2) {
            ([165.0, 230.0], [1.08, 1.2])
        } else {
            ([90.0, 140.0], [0.92, 1.04])
        };
        Self {
            pitch_hz: random.within_log(pitch),
            formant_scale: random.within(scale),
            slowness: random.within([0.85, 1.2]),
            breath: random.within([0.02, 0.12]),
            room_db: random.within([-55.0, -42.0]),
        }
    }

    /// The voice of one take.
    fn take(self, random: &mut Random) -> Self {
        Self {
            pitch_hz: self.pitch_hz * random.factor(0.06),
            formant_scale: self.formant_scale * random.factor(0.02),
            slowness: self.slowness * random.factor(0.1),
            ..self
        }
    }
}

/// `scale` x 20 takes of each digit by each of four speakers, at least 6.
pub(super) fn collection(seed: u64, scale: f64) -> Collection {
    let num_takes = scaled(TAKES, scale, MIN_TAKES);
    let mut recordings = Vec::new();
    for digit in 0..10 {
        for speaker in SPEAKERS {
            recordings.extend((0..num_takes).map(|take| format!("recordings/{digit}_{speaker}_{take}.wav")));
        }
    }
    let render = move |i: usize| {
        let (digit, speaker) = (i / num_takes / SPEAKERS.len(), i / num_takes % SPEAKERS.len());
        let mut random =
            Random::new(seed, 2, i as u64 % num_takes as u64, (digit * SPEAKERS.len() + speaker) as u64);
        let voice = Voice::new(seed, speaker).take(&mut random);
        render(&varied(digit_sounds(digit), voice, &mut random), voice, &mut random)
    };
    Collection { sample_rate: SAMPLE_RATE, recordings, tables: Vec::new(), render: Box::new(render) }
}

/// The sounds as this voice makes them this time.
fn varied(mut sounds: Vec<Sound>, voice: Voice, random: &mut Random) -> Vec<Sound> {
    for sound in &mut sounds {
        sound.secs *= PACE * voice.slowness * random.factor(0.08);
        sound.noise *= random.factor(0.2);
        for hz in sound.from_hz.iter_mut().chain(&mut sound.to_hz) {
            *hz *= voice.formant_scale * random.factor(0.025);
        }
    }
    sounds
}

/// What the vocal tract does at one moment.
#[derive(Debug, Clone, Copy)]
struct Posture {
    voice: f64,
    noise: f64,
    noise_hz: [f64; 2],
    formants: [f64; 3],
}

impl Posture {
    fn of(sound: &Sound, position: f64) -> Self {
        let mut formants = sound.from_hz;
        for (hz, to) in formants.iter_mut().zip(sound.to_hz) {
            *hz += (to - *hz) * position;
        }
        Self { voice: sound.voice, noise: sound.noise, noise_hz: sound.noise_hz, formants }
    }

    fn towards(self, other: Self, share: f64) -> Self {
        let between = |a: f64, b: f64| a + (b - a) * share;
        let mut formants = self.formants;
        for (hz, to) in formants.iter_mut().zip(other.formants) {
            *hz = between(*hz, to);
        }
        Self {
            voice: between(self.voice, other.voice),
            noise: between(self.noise, other.noise),
            noise_hz: if share < 0.5 { self.noise_hz } else { other.noise_hz },
            formants,
        }
    }
}

/// The posture at `secs`: within half a transition of a boundary, a mixture of both sides.
fn posture(sounds: &[Sound], secs: f64) -> Option<Posture> {
    let mut start = 0.0;
    for (i, sound) in sounds.iter().enumerate() {
        let end = start + sound.secs;
        if secs < end || i + 1 == sounds.len() {
            let here = Posture::of(sound, ((secs - start) / sound.secs).clamp(0.0, 1.0));
            let half = (TRANSITION_SECS / 2.0).min(sound.secs / 2.0);
            let before = i.checked_sub(1).and_then(|i| sounds.get(i)).map(|sound| Posture::of(sound, 1.0));
            let after = sounds.get(i + 1).map(|sound| Posture::of(sound, 0.0));
            return Some(match (before, after) {
                (Some(before), _) if secs - start < half => {
                    before.towards(here, 0.5 + 0.5 * (secs - start) / half)
                }
                (_, Some(after)) if end - secs < half => here.towards(after, 0.5 - 0.5 * (end - secs) / half),
                _ => here,
            });
        }
        start = end;
    }
    None
}

fn render(sounds: &[Sound], voice: Voice, random: &mut Random) -> Vec<f64> {
    let total_secs: f64 = sounds.iter().map(|sound| sound.secs).sum();
    let len = (total_secs * RATE) as usize;
    let mut tract: Vec<Biquad> = Vec::new();
    let mut friction: Option<Biquad> = None;
    let mut posture_now = None;
    let (mut cycle, mut glottis) = (0.0, 0.0);
    let mut samples = Vec::with_capacity(len);
    for i in 0..len {
        let secs = i as f64 / RATE;
        if i % UPDATE == 0 {
            posture_now = posture(sounds, secs);
            if let Some(now) = posture_now {
                retune(&mut tract, &mut friction, now);
            }
        }
        let Some(now) = posture_now else { break };
        // The pitch falls over the word, and trembles.
        let pitch_hz = voice.pitch_hz * (1.12 - 0.25 * secs / total_secs) * (1.0 + 0.01 * random.normal());
        cycle += pitch_hz / RATE;
        let pulse = if cycle >= 1.0 { 1.0 } else { 0.0 };
        cycle = cycle.fract();
        glottis = 0.9 * glottis + pulse - pitch_hz / RATE;
        let noise = random.normal();
        let source = now.voice * (glottis + voice.breath * noise);
        let voiced = tract.iter_mut().fold(0.0, |sum, resonance| sum + resonance.next(source));
        let hiss = friction.as_mut().map_or(0.0, |resonance| resonance.next(now.noise * noise));
        let fade = (PI / 2.0 * (secs.min(total_secs - secs) / 0.02).clamp(0.0, 1.0)).sin();
        samples.push(fade * (voiced + 0.5 * hiss));
    }
    let peak = samples.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
    let gain = from_db(random.within([-12.0, -3.0])) * 0.9 / peak.max(1e-12);
    let room = from_db(voice.room_db);
    samples.iter().map(|x| (gain * x + room * random.normal()).clamp(-0.99, 0.99)).collect()
}

fn retune(tract: &mut Vec<Biquad>, friction: &mut Option<Biquad>, now: Posture) {
    const BANDWIDTHS_HZ: [f64; 3] = [70.0, 100.0, 150.0];
    let wanted =
        now.formants.into_iter().zip(BANDWIDTHS_HZ).map(|(hz, width)| Biquad::resonance(hz, width, RATE));
    if tract.is_empty() {
        tract.extend(wanted);
    } else {
        tract.iter_mut().zip(wanted).for_each(|(resonance, new)| resonance.retune(new));
    }
    let [hz, width] = now.noise_hz;
    let wanted = Biquad::resonance(hz, width, RATE);
    match friction {
        Some(resonance) => resonance.retune(wanted),
        None => *friction = Some(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dsp::rms;
    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        let names = collection(0, 1.0).recordings;
        assert_eq!(names.len(), 10 * 4 * 20);
        let pattern = regex::Regex::new(r"^recordings/\d_[a-z]+_\d+\.wav$").unwrap();
        assert!(names.iter().all(|name| pattern.is_match(name)));
        assert_eq!(collection(0, 1e-3).recordings.len(), 10 * 4 * MIN_TAKES);
    }

    #[test]
    fn words_are_short_loud_and_unclipped() {
        let collection = collection(4, 0.1);
        for (i, name) in collection.recordings.iter().enumerate() {
            let samples = (collection.render)(i);
            let secs = samples.len() as f64 / RATE;
            assert!((0.2..1.0).contains(&secs), "{name}: {secs}");
            let peak = samples.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
            assert!(peak < 0.99 && rms(&samples) > 0.01, "{name}: {peak} {}", rms(&samples));
        }
    }

    #[test]
    fn a_vowel_has_its_formants() {
        let voice = Voice { pitch_hz: 100.0, formant_scale: 1.0, slowness: 1.0, breath: 0.0, room_db: -90.0 };
        let samples = render(&[vowel(0.5, IY)], voice, &mut Random::new(0, 0, 0, 0));
        let level = |hz: f64| {
            let mut filtered = samples.clone();
            Biquad::resonance(hz, 150.0, RATE).run(&mut filtered);
            rms(&filtered)
        };
        assert!(level(280.0) > 3.0 * level(1000.0));
        assert!(level(2250.0) > 3.0 * level(1400.0));
    }

    #[test]
    fn the_posture_goes_over_from_sound_to_sound() {
        let sounds = [vowel(0.2, IY), vowel(0.2, UW)];
        let second = |secs| posture(&sounds, secs).unwrap().formants[1];
        assert_eq!((second(0.1), second(0.3)), (IY[1], UW[1]));
        assert!((second(0.2) - (IY[1] + UW[1]) / 2.0).abs() < 1.0);
        assert!(posture(&[], 0.0).is_none());
        assert!(posture(&sounds, 9.0).is_some());
    }
}
