//! Bird songs with a trap: a clip is easier to recognize by its recording than by its species.
//!
//! Species share pitch range and loudness and differ in the shapes of their syllables. A recording has its own hum,
//! whine, noise colour, microphone and gain, the same in all its clips, while each clip holds other syllables of the
//! species. Two views of one clip therefore share the recording's sound wherever they are cut, and a model that only
//! compares instances learns that. Splits go by recording.

use std::f64::consts::{PI, TAU};

use super::dsp::{Biquad, Random, from_db, mix, rms};
use super::{Collection, scaled};

const SAMPLE_RATE: u32 = 16_000;
const RATE: f64 = SAMPLE_RATE as f64;
const CLIP_SECS: f64 = 1.2;
const SPECIES: [&str; 10] = [
    "blackcap",
    "bullfinch",
    "chaffinch",
    "dunnock",
    "goldcrest",
    "linnet",
    "nightjar",
    "redstart",
    "siskin",
    "wren",
];
const RECORDINGS_PER_SPECIES: usize = 24;
const CLIPS_PER_RECORDING: usize = 4;
/// Share of each species' recordings that are marked `test`.
const TEST_SHARE: f64 = 0.3;

/// What decides how hard species and recordings are to recognize.
struct Levels {
    /// Power of the song while the bird sings, over that of the recording's noise without its tones, in dB.
    song_snr_db: [f64; 2],
    /// Syllable types of a species.
    num_syllables: usize,
    /// Syllable types in one clip.
    syllables_per_clip: usize,
    /// Share of the clip within which the bird sings.
    sung_share: [f64; 2],
    /// Standard deviation of the logarithm of a rendition's pitch.
    pitch_log_std: f64,
    /// Standard deviation of the logarithm of a rendition's duration.
    tempo_log_std: f64,
    /// Hum with all its harmonics, over the noise, in dB.
    hum_db: [f64; 2],
    /// Each steady high tone, over the noise, in dB.
    whine_db: [f64; 2],
    /// High steady tones.
    num_whines: [usize; 2],
    /// Noise above 1 kHz, against below, in dB.
    tilt_db: [f64; 2],
    /// Each resonance of the microphone, up or down, in dB.
    microphone_db: [f64; 2],
    /// Resonances of the microphone.
    num_resonances: usize,
    /// Root mean square of a clip, against full scale, in dB.
    level_db: [f64; 2],
}

const LEVELS: Levels = Levels {
    song_snr_db: [4.0, 10.0],
    num_syllables: 5,
    syllables_per_clip: 2,
    sung_share: [0.55, 0.85],
    pitch_log_std: 0.03,
    tempo_log_std: 0.1,
    hum_db: [-8.0, 4.0],
    whine_db: [-20.0, -10.0],
    num_whines: [1, 3],
    tilt_db: [-16.0, 4.0],
    microphone_db: [3.0, 9.0],
    num_resonances: 4,
    level_db: [-36.0, -20.0],
};

/// What random numbers are for.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Species = 1,
    Recording = 2,
    Clip = 3,
}

/// About `scale` x 24 recordings of each of ten species, at least two, with four clips each.
pub(super) fn collection(seed: u64, scale: f64) -> Collection {
    let per_species = scaled(RECORDINGS_PER_SPECIES, scale, 2);
    let num_test = ((per_species as f64 * TEST_SHARE).round() as usize).clamp(1, per_species - 1);
    let mut recordings = Vec::new();
    // What a recording sounds like beside its species, for an audit of what was learned.
    let mut table = String::from("file,species,recording,split,hum_hz,tilt_db,song_snr_db,level_db\n");
    for (number, species) in SPECIES.into_iter().enumerate() {
        for recording in 0..per_species {
            let Place { hum_hz, tilt_db, song_snr_db, level_db, .. } =
                Place::new(seed, number * per_species + recording);
            let sound = format!("{hum_hz:.2},{tilt_db:.2},{song_snr_db:.2},{level_db:.2}");
            let part = if recording < per_species - num_test { "train" } else { "test" };
            for clip in 0..CLIPS_PER_RECORDING {
                let file = format!("{species}/{species}_rec{recording:03}_clip{clip}.wav");
                table.push_str(&format!("{file},{species},{species}_rec{recording:03},{part},{sound}\n"));
                recordings.push(file);
            }
        }
    }
    let repertoires: Vec<Vec<Syllable>> =
        (0..SPECIES.len()).map(|species| repertoire(seed, species)).collect();
    let render = move |i: usize| {
        let recording = i / CLIPS_PER_RECORDING;
        let repertoire = repertoires.get(recording / per_species).map_or(&[][..], Vec::as_slice);
        render(seed, repertoire, recording, i % CLIPS_PER_RECORDING)
    };
    Collection {
        sample_rate: SAMPLE_RATE,
        recordings,
        tables: vec![("labels.csv", table)],
        render: Box::new(render),
    }
}

/// Course of the pitch over a syllable.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// From one pitch to the other.
    Sweep,
    /// To the other pitch and back.
    Arch,
    /// Two notes.
    Step,
    /// To and fro many times.
    Trill,
    /// Short notes of falling pitch.
    Chatter,
}

/// A syllable type of a species.
#[derive(Debug, Clone, Copy)]
struct Syllable {
    shape: Shape,
    /// First and second pitch, in Hz.
    pitch_hz: [f64; 2],
    duration_secs: f64,
    /// Repetitions within the syllable, where the shape has them.
    repetition_hz: f64,
    /// Amplitudes of the second and third harmonic.
    harmonics: [f64; 2],
}

/// A species has a register, a timbre, a pace and two favourite shapes; its syllables vary within them.
fn repertoire(seed: u64, species: usize) -> Vec<Syllable> {
    let mut random = Random::new(seed, Purpose::Species as u64, species as u64, 0);
    let shapes = [Shape::Sweep, Shape::Arch, Shape::Step, Shape::Trill, Shape::Chatter];
    let favourites = [species % shapes.len(), (species + 1 + species / shapes.len()) % shapes.len()];
    let register_hz = random.within_log([1800.0, 4500.0]);
    let pace_hz = random.within_log([14.0, 50.0]);
    let rises = random.chance(0.5);
    let timbre = [random.within([0.0, 0.9]), random.within([0.0, 0.6])];
    (0..LEVELS.num_syllables)
        .map(|i| {
            let first = register_hz * random.within_log([0.8, 1.25]);
            let interval = random.within_log([1.25, 1.8]);
            let second = if rises { first * interval } else { first / interval };
            let shape = favourites.get(i % 2).and_then(|&favourite| shapes.get(favourite));
            Syllable {
                shape: shape.copied().unwrap_or(Shape::Sweep),
                pitch_hz: [first, second],
                duration_secs: random.within_log([0.08, 0.24]),
                repetition_hz: pace_hz * random.factor(0.1),
                harmonics: timbre,
            }
        })
        .collect()
}

impl Syllable {
    /// One rendition, with an amplitude of about 1.
    fn render(&self, random: &mut Random) -> Vec<f64> {
        let pitch = random.factor(LEVELS.pitch_log_std);
        let stretch = random.factor(LEVELS.tempo_log_std);
        let bend = random.within([0.7, 1.4]);
        let len = (self.duration_secs * stretch * RATE) as usize;
        let [from, to] = self.pitch_hz.map(|hz| hz * pitch);
        let repetition_hz = self.repetition_hz / stretch;
        let mut phase = random.unit() * TAU;
        (0..len)
            .map(|i| {
                let (secs, position) = (i as f64 / RATE, i as f64 / len as f64);
                let cycle = (secs * repetition_hz).fract();
                let (progress, gate) = match self.shape {
                    Shape::Sweep => (position.powf(bend), 1.0),
                    Shape::Arch => ((PI * position.powf(bend)).sin(), 1.0),
                    Shape::Step => {
                        (if position < 0.5 { 0.0 } else { 1.0 }, (4.0 * (position - 0.5).abs()).min(1.0))
                    }
                    Shape::Trill => (0.5 - 0.5 * (TAU * cycle).cos(), 1.0),
                    Shape::Chatter => (cycle, (PI * (1.6 * cycle).min(1.0)).sin()),
                };
                let hz = from * (to / from).powf(progress);
                phase += TAU * hz / RATE;
                let fade = (position.min(1.0 - position) * len as f64 / RATE / 0.008).min(1.0);
                let harmonics = [1.0, self.harmonics[0], self.harmonics[1]];
                let tone = |(k, amplitude): (f64, f64)| {
                    if k * hz < 0.45 * RATE { amplitude * (k * phase).sin() } else { 0.0 }
                };
                fade * gate * [1.0, 2.0, 3.0].into_iter().zip(harmonics).map(tone).sum::<f64>()
            })
            .collect()
    }
}

/// All that the clips of a recording have in common but the species.
struct Place {
    /// Frequency and amplitude over the noise, of hum and whines.
    tones: Vec<(f64, f64)>,
    hum_hz: f64,
    tilt_db: f64,
    tilt: Biquad,
    microphone: Vec<Biquad>,
    song_snr_db: f64,
    level_db: f64,
}

impl Place {
    fn new(seed: u64, recording: usize) -> Self {
        let mut random = Random::new(seed, Purpose::Recording as u64, recording as u64, 0);
        let mut tones = Vec::new();
        let base_hz = random.within_log([45.0, 260.0]);
        let steepness = random.within([0.3, 1.2]);
        let harmonics: Vec<f64> = (1..=(3000.0 / base_hz) as usize)
            .map(|k| if random.chance(0.7) { random.factor(0.6) / (k as f64).powf(steepness) } else { 0.0 })
            .collect();
        let power: f64 = harmonics.iter().map(|amplitude| amplitude * amplitude / 2.0).sum();
        let hum = from_db(random.within(LEVELS.hum_db)) / power.sqrt().max(1e-6);
        tones.extend((1..).zip(&harmonics).map(|(k, amplitude)| (f64::from(k) * base_hz, hum * amplitude)));
        let [fewest, most] = LEVELS.num_whines;
        for _ in 0..fewest + random.index(most - fewest + 1) {
            let whine = from_db(random.within(LEVELS.whine_db)) * std::f64::consts::SQRT_2;
            tones.push((random.within_log([600.0, 7600.0]), whine));
        }
        let tilt_db = random.within(LEVELS.tilt_db);
        let tilt = Biquad::high_shelf(1000.0, tilt_db, RATE);
        let microphone = (0..LEVELS.num_resonances)
            .map(|_| {
                let sign = if random.chance(0.5) { 1.0 } else { -1.0 };
                let gain_db = sign * random.within(LEVELS.microphone_db);
                Biquad::peak(random.within_log([200.0, 7000.0]), random.within_log([0.8, 6.0]), gain_db, RATE)
            })
            .collect();
        let song_snr_db = random.within(LEVELS.song_snr_db);
        let level_db = random.within(LEVELS.level_db);
        Self { tones, hum_hz: base_hz, tilt_db, tilt, microphone, song_snr_db, level_db }
    }

    /// Coloured noise of a root mean square of 1, before the microphone.
    fn noise(&self, len: usize, random: &mut Random) -> Vec<f64> {
        let mut noise: Vec<f64> = (0..len).map(|_| random.normal()).collect();
        let mut tilt = self.tilt;
        tilt.run(&mut noise);
        let gain = 1.0 / rms(&noise).max(1e-12);
        noise.iter_mut().for_each(|x| *x *= gain);
        noise
    }

    fn add_tones(&self, sound: &mut [f64], random: &mut Random) {
        for &(hz, amplitude) in self.tones.iter().filter(|(_, amplitude)| *amplitude > 0.0) {
            // A rotating vector: no sine per sample.
            let (mut sin, mut cos) = (TAU * random.unit()).sin_cos();
            let (step_sin, step_cos) = (TAU * hz / RATE).sin_cos();
            for x in sound.iter_mut() {
                *x += amplitude * sin;
                (sin, cos) = (sin * step_cos + cos * step_sin, cos * step_cos - sin * step_sin);
            }
        }
    }
}

/// The song of one clip and the root mean square of its sung samples.
fn song(repertoire: &[Syllable], clip: usize, len: usize, random: &mut Random) -> (Vec<f64>, f64) {
    let mut song = vec![0.0; len];
    let sung_secs = CLIP_SECS * random.within(LEVELS.sung_share);
    let mut secs = random.within([0.02, CLIP_SECS - sung_secs]);
    let end_secs = secs + sung_secs;
    let (mut energy, mut num_sung) = (0.0, 0);
    while secs < end_secs {
        // Successive clips begin at different syllables, so that clips of a recording differ.
        let choice = clip * LEVELS.syllables_per_clip + random.index(LEVELS.syllables_per_clip);
        let Some(syllable) = repertoire.get(choice % repertoire.len().max(1)) else { break };
        let rendition = syllable.render(random);
        mix(&mut song, (secs * RATE) as usize, &rendition, from_db(random.within([-4.0, 0.0])));
        energy += rendition.iter().map(|x| x * x).sum::<f64>();
        num_sung += rendition.len();
        secs += rendition.len() as f64 / RATE + random.within_log([0.02, 0.09]);
    }
    (song, (energy / num_sung.max(1) as f64).sqrt())
}

fn render(seed: u64, repertoire: &[Syllable], recording: usize, clip: usize) -> Vec<f64> {
    let place = Place::new(seed, recording);
    let mut random = Random::new(seed, Purpose::Clip as u64, recording as u64, clip as u64);
    let len = (CLIP_SECS * RATE) as usize;
    let mut sound = place.noise(len, &mut random);
    // Where a recording's first clip begins in the repertoire is its own.
    let first = Random::new(seed, Purpose::Recording as u64, recording as u64, 1).index(LEVELS.num_syllables);
    let (song, song_rms) = song(repertoire, first + clip, len, &mut random);
    mix(&mut sound, 0, &song, from_db(place.song_snr_db) / song_rms.max(1e-6));
    place.add_tones(&mut sound, &mut random);
    for resonance in &place.microphone {
        let mut resonance = *resonance;
        resonance.run(&mut sound);
    }
    let peak = sound.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
    let gain = (from_db(place.level_db) / rms(&sound).max(1e-12)).min(0.95 / peak.max(1e-12));
    sound.iter_mut().for_each(|x| *x *= gain);
    sound
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rayon::prelude::*;

    use super::*;

    /// Mean log power in 24 bands: what a clip sounds like on average.
    fn bands(samples: &[f64]) -> Vec<f64> {
        let level = |band: i32| {
            let hz = 100.0 * 1.2f64.powi(band);
            let mut filtered = samples.to_vec();
            Biquad::resonance(hz, 0.2 * hz, RATE).run(&mut filtered);
            rms(&filtered).max(1e-9).ln()
        };
        let levels: Vec<f64> = (0..24).map(level).collect();
        let mean = levels.iter().sum::<f64>() / levels.len() as f64;
        levels.iter().map(|level| level - mean).collect()
    }

    #[test]
    fn sound_on_average_tells_recordings_but_hardly_species() {
        let collection = collection(3, 0.3);
        let num_clips = collection.recordings.len();
        let clips_per_species = num_clips / SPECIES.len();
        let features: Vec<Vec<f64>> =
            (0..num_clips).into_par_iter().map(|i| bands(&(collection.render)(i))).collect();
        let nearest = |i: usize, allowed: &dyn Fn(usize) -> bool| {
            let distance =
                |j: usize| features[i].iter().zip(&features[j]).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            (0..num_clips)
                .filter(|&j| allowed(j))
                .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
                .unwrap()
        };
        let share = |hit: &dyn Fn(usize) -> bool| {
            (0..num_clips).filter(|&i| hit(i)).count() as f64 / num_clips as f64
        };
        let recording = |i: usize| i / CLIPS_PER_RECORDING;
        let species = |i: usize| i / clips_per_species;
        let same_recording = share(&|i| recording(nearest(i, &|j| j != i)) == recording(i));
        let same_species = share(&|i| species(nearest(i, &|j| recording(j) != recording(i))) == species(i));
        assert!(same_recording > 0.9, "{same_recording}");
        assert!((0.1..0.4).contains(&same_species), "{same_species}; chance is 0.1");
    }

    #[test]
    fn clips_are_neither_clipped_nor_silent() {
        let collection = collection(1, 0.1);
        for i in 0..collection.recordings.len() {
            let samples = (collection.render)(i);
            assert_eq!(samples.len(), 19_200);
            let peak = samples.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
            assert!(peak < 0.96 && rms(&samples) > 0.01, "{peak} {}", rms(&samples));
        }
    }

    #[test]
    fn the_table_splits_by_recording() {
        let collection = collection(0, 1.0);
        let (name, table) = &collection.tables[0];
        let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!((*name, rows.len()), ("labels.csv", collection.recordings.len()));
        assert_eq!(
            rows[0][..4],
            ["blackcap/blackcap_rec000_clip0.wav", "blackcap", "blackcap_rec000", "train"]
        );
        // What a recording sounds like is the same in all its clips, and another recording's is another.
        assert!(rows.iter().all(|row| row.len() == 8));
        let sounds: BTreeSet<(&str, &[&str])> = rows.iter().map(|row| (row[2], &row[4..])).collect();
        let distinct: BTreeSet<&[&str]> = sounds.iter().map(|(_, sound)| *sound).collect();
        assert_eq!((sounds.len(), distinct.len()), (240, 240));
        let parts: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row[2], row[3])).collect();
        assert_eq!(parts.len(), 240);
        assert_eq!(rows.iter().filter(|row| row[3] == "test").count(), 10 * 7 * 4);
    }

    #[test]
    fn clips_of_a_recording_hold_different_syllables_and_renditions_differ() {
        let repertoire = repertoire(0, 0);
        let rendition = |seed| repertoire[0].render(&mut Random::new(seed, 0, 0, 0));
        assert_ne!(rendition(0).len(), rendition(1).len());
        let collection = collection(0, 0.1);
        let clips: Vec<Vec<f64>> = (0..4).map(|i| (collection.render)(i)).collect();
        assert!(clips.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
