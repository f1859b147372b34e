//! Environmental sounds in the layout of ESC-50, as its ten classes of ESC-10: each class a small recipe of tones, clicks and
//! filtered noise with parameters of its own for each source, under a background and a level that tell nothing.

use std::f64::consts::{PI, TAU};

use super::dsp::{Biquad, Random, from_db, mix, rms};
use super::{Collection, scaled};

const SAMPLE_RATE: u32 = 16_000;
const RATE: f64 = SAMPLE_RATE as f64;
const CLIP_SECS: f64 = 5.0;
const NUM_FOLDS: usize = 5;
/// Clips of each class in each fold, as in ESC-10.
const CLIPS_PER_FOLD: usize = 8;
/// Clips that are cut from one source.
const TAKES_PER_SOURCE: usize = 2;
/// Level of a clip, in dB.
const LEVEL_DB: [f64; 2] = [-30.0, -12.0];
/// Level of the sound over its background, in dB.
const SNR_DB: [f64; 2] = [6.0, 30.0];

/// A class, with its number in ESC-50.
struct Class {
    name: &'static str,
    target: usize,
    render: fn(&mut Source) -> Vec<f64>,
}

const CLASSES: [Class; 10] = [
    Class { name: "dog", target: 0, render: dog },
    Class { name: "rooster", target: 1, render: rooster },
    Class { name: "rain", target: 10, render: rain },
    Class { name: "sea_waves", target: 11, render: sea_waves },
    Class { name: "crackling_fire", target: 12, render: crackling_fire },
    Class { name: "crying_baby", target: 20, render: crying_baby },
    Class { name: "sneezing", target: 21, render: sneezing },
    Class { name: "clock_tick", target: 38, render: clock_tick },
    Class { name: "helicopter", target: 40, render: helicopter },
    Class { name: "chainsaw", target: 41, render: chainsaw },
];

/// What random numbers are for.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Source = 1,
    Take = 2,
}

/// Where a clip comes from: what its source is like, and what differs from take to take.
struct Source {
    /// The same for all takes.
    own: Random,
    take: Random,
}

/// About `scale` x 8 clips of each of ten classes in each of five folds, at least two. Takes of one source share a fold.
pub(super) fn collection(seed: u64, scale: f64) -> Collection {
    let per_fold = scaled(CLIPS_PER_FOLD, scale, TAKES_PER_SOURCE);
    let mut recordings = Vec::new();
    let mut table = String::from("filename,fold,target,category,esc10,src_file,take\n");
    for (number, class) in CLASSES.iter().enumerate() {
        for fold in 1..=NUM_FOLDS {
            for clip in 0..per_fold {
                let source = 100_000 + (number * NUM_FOLDS + fold) * 1000 + clip / TAKES_PER_SOURCE;
                let take = char::from(b'A' + (clip % TAKES_PER_SOURCE) as u8);
                let Class { name, target, .. } = class;
                let file = format!("{fold}-{source}-{take}-{target}.wav");
                table.push_str(&format!("{file},{fold},{target},{name},True,{source},{take}\n"));
                recordings.push(format!("audio/{file}"));
            }
        }
    }
    let render = move |i: usize| {
        let (class, clip) = (i / (NUM_FOLDS * per_fold), i % (NUM_FOLDS * per_fold));
        let source = (clip / per_fold * per_fold + clip % per_fold / TAKES_PER_SOURCE) as u64;
        let mut source = Source {
            own: Random::new(seed, Purpose::Source as u64, class as u64, source),
            take: Random::new(seed, Purpose::Take as u64, class as u64, clip as u64),
        };
        CLASSES.get(class).map_or_else(Vec::new, |class| recorded((class.render)(&mut source), &mut source))
    };
    Collection {
        sample_rate: SAMPLE_RATE,
        recordings,
        tables: vec![("meta/esc50.csv", table)],
        render: Box::new(render),
    }
}

/// The sound under a background of its source, at a level of its source.
fn recorded(mut sound: Vec<f64>, source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let snr = from_db(own.within(SNR_DB));
    let mut background = noise(sound.len(), take);
    Biquad::high_shelf(own.within_log([300.0, 3000.0]), own.within([-24.0, 0.0]), RATE).run(&mut background);
    let level = rms(&sound) / (snr * rms(&background).max(f64::MIN_POSITIVE));
    mix(&mut sound, 0, &background, level);
    let peak = sound.iter().fold(f64::MIN_POSITIVE, |peak, x| peak.max(x.abs()));
    let gain = (from_db(own.within(LEVEL_DB)) / rms(&sound).max(f64::MIN_POSITIVE)).min(0.95 / peak);
    sound.iter().map(|x| gain * x).collect()
}

fn frames(secs: f64) -> usize {
    (secs * RATE) as usize
}

fn silence() -> Vec<f64> {
    vec![0.0; frames(CLIP_SECS)]
}

fn noise(len: usize, random: &mut Random) -> Vec<f64> {
    (0..len).map(|_| random.normal()).collect()
}

/// Rises and falls over a sound: `position` from 0 to 1, `attack` the share in which it rises.
fn envelope(position: f64, attack: f64) -> f64 {
    if position < attack { position / attack } else { ((1.0 - position) / (1.0 - attack)).max(0.0) }
}

/// A voice of `secs`: harmonics of a pitch that follows `hz` over positions from 0 to 1, each weaker by `tilt`.
fn voice(secs: f64, hz: impl Fn(f64) -> f64, tilt: f64, attack: f64) -> Vec<f64> {
    let len = frames(secs);
    let mut phase = 0.0;
    (0..len)
        .map(|i| {
            let position = i as f64 / len as f64;
            let pitch = hz(position);
            phase += TAU * pitch / RATE;
            let audible = (1..=12).take_while(|&k| f64::from(k) * pitch < 0.45 * RATE);
            let sum: f64 = audible.map(|k| tilt.powi(k - 1) * (f64::from(k) * phase).sin()).sum();
            sum * envelope(position, attack)
        })
        .collect()
}

/// Noise through a resonance, with an envelope.
fn burst(secs: f64, hz: f64, bandwidth_hz: f64, attack: f64, random: &mut Random) -> Vec<f64> {
    let mut samples = noise(frames(secs), random);
    Biquad::resonance(hz, bandwidth_hz, RATE).run(&mut samples);
    let len = samples.len() as f64;
    samples.iter_mut().enumerate().for_each(|(i, x)| *x *= envelope(i as f64 / len, attack));
    samples
}

/// A few barks: short, falling, rough.
fn dog(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let (pitch, secs, throat) =
        (own.within_log([250.0, 900.0]), own.within([0.12, 0.3]), own.within_log([900.0, 2200.0]));
    let mut clip = silence();
    let mut at = take.within([0.0, 0.8]);
    for _ in 0..1 + take.index(4) {
        let (bend, scale) = (take.within([0.5, 0.8]), take.factor(0.05));
        let bark = voice(secs, |p| pitch * scale * (1.0 - bend * p * p), 0.8, 0.1);
        mix(&mut clip, frames(at), &bark, 1.0);
        mix(&mut clip, frames(at), &burst(secs, throat, 800.0, 0.05, take), 1.5);
        at += secs + take.within([0.15, 0.9]);
    }
    clip
}

/// One crow: up, held with vibrato, down.
fn rooster(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let (pitch, top, secs) = (own.within_log([400.0, 800.0]), own.within([1.4, 2.0]), own.within([1.2, 2.5]));
    let (vibrato_hz, depth) = (own.within([6.0, 12.0]), own.within([0.01, 0.06]));
    let contour = move |p: f64| {
        let arch = 1.0 + (top - 1.0) * (PI * p.powf(0.7)).sin();
        pitch * arch * (1.0 + depth * (TAU * vibrato_hz * p * secs).sin())
    };
    let mut clip = silence();
    mix(&mut clip, frames(take.within([0.0, 2.0])), &voice(secs, contour, 0.85, 0.15), 1.0);
    clip
}

/// A steady hiss with drops in it.
fn rain(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let mut clip = noise(frames(CLIP_SECS), take);
    Biquad::high_shelf(own.within_log([800.0, 3000.0]), own.within([3.0, 15.0]), RATE).run(&mut clip);
    let drops_per_sec = own.within_log([20.0, 200.0]);
    for _ in 0..(drops_per_sec * CLIP_SECS) as usize {
        let at = frames(take.within([0.0, CLIP_SECS]));
        let drop = burst(0.01, take.within_log([1000.0, 6000.0]), 1500.0, 0.1, take);
        mix(&mut clip, at, &drop, take.within([0.5, 4.0]));
    }
    clip
}

/// Low noise that swells every few seconds.
fn sea_waves(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let mut clip = noise(frames(CLIP_SECS), take);
    Biquad::high_shelf(own.within_log([400.0, 1500.0]), own.within([-30.0, -12.0]), RATE).run(&mut clip);
    let (swell_hz, depth, phase) =
        (own.within([0.12, 0.4]), own.within([0.5, 0.95]), take.within([0.0, TAU]));
    for (i, x) in clip.iter_mut().enumerate() {
        let swell = 0.5 - 0.5 * (TAU * swell_hz * i as f64 / RATE + phase).cos();
        *x *= 1.0 - depth + depth * swell * swell;
    }
    clip
}

/// Clicks at random times over a low rumble.
fn crackling_fire(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let mut clip = noise(frames(CLIP_SECS), take);
    Biquad::high_shelf(own.within_log([150.0, 500.0]), -30.0, RATE).run(&mut clip);
    let rumble = own.within([0.02, 0.2]);
    clip.iter_mut().for_each(|x| *x *= rumble);
    let clicks_per_sec = own.within_log([4.0, 40.0]);
    for _ in 0..(clicks_per_sec * CLIP_SECS) as usize {
        let at = frames(take.within([0.0, CLIP_SECS]));
        let click = burst(take.within([0.002, 0.02]), take.within_log([1000.0, 6000.0]), 3000.0, 0.02, take);
        mix(&mut clip, at, &click, take.within_log([0.3, 5.0]));
    }
    clip
}

/// Wails of about a second, one after the other.
fn crying_baby(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let (pitch, secs, tilt) =
        (own.within_log([350.0, 600.0]), own.within([0.6, 1.3]), own.within([0.75, 0.95]));
    let mut clip = silence();
    let mut at = take.within([0.0, 0.5]);
    while at < CLIP_SECS {
        let (rise, scale) = (take.within([0.1, 0.4]), take.factor(0.05));
        let wail = voice(secs, |p| pitch * scale * (1.0 + rise * (PI * p).sin()), tilt, 0.2);
        mix(&mut clip, frames(at), &wail, take.within([0.6, 1.0]));
        at += secs + take.within([0.1, 0.5]);
    }
    clip
}

/// An intake of breath and a short burst.
fn sneezing(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let (hz, secs) = (own.within_log([1200.0, 4000.0]), own.within([0.15, 0.45]));
    let mut clip = silence();
    let at = take.within([0.2, 3.0]);
    if own.chance(0.6) {
        mix(&mut clip, frames(at - 0.2), &burst(0.2, 900.0, 600.0, 0.8, take), 0.4);
    }
    mix(&mut clip, frames(at), &burst(secs, hz, 3000.0, 0.05, take), 2.0);
    let pitch = own.within_log([200.0, 500.0]);
    mix(&mut clip, frames(at), &voice(secs, |p| pitch * (1.3 - 0.6 * p), 0.6, 0.05), 0.6);
    clip
}

/// Clicks at even times, every other one different.
fn clock_tick(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let (period, hz) = (own.within_log([0.2, 1.0]), own.within_log([1500.0, 5000.0]));
    let (bandwidth, other) = (own.within([200.0, 1500.0]), own.within([0.7, 1.3]));
    let mut clip = silence();
    let first = take.within([0.0, period]);
    for (number, at) in std::iter::successors(Some(first), |at| Some(at + period)).enumerate() {
        if at >= CLIP_SECS {
            break;
        }
        let hz = if number % 2 == 0 { hz } else { hz * other };
        mix(&mut clip, frames(at), &burst(0.03, hz, bandwidth, 0.02, take), 1.0);
    }
    clip
}

/// Low noise chopped by a rotor.
fn helicopter(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let mut clip = noise(frames(CLIP_SECS), take);
    Biquad::high_shelf(own.within_log([200.0, 800.0]), -24.0, RATE).run(&mut clip);
    let (rotor_hz, depth) = (own.within([9.0, 22.0]), own.within([0.6, 0.95]));
    let phase = take.unit();
    for (i, x) in clip.iter_mut().enumerate() {
        let chop = (rotor_hz * i as f64 / RATE + phase).fract();
        *x *= 1.0 - depth + depth * (-6.0 * chop).exp() * 2.0;
    }
    clip
}

/// A rough motor whose speed goes up and down.
fn chainsaw(source: &mut Source) -> Vec<f64> {
    let Source { own, take } = source;
    let (speed_hz, revving_hz, swing) =
        (own.within_log([70.0, 180.0]), own.within([0.1, 0.8]), own.within([0.05, 0.4]));
    let phase = take.within([0.0, TAU]);
    let mut motor = voice(
        CLIP_SECS,
        |p| speed_hz * (1.0 + swing * (TAU * revving_hz * p * CLIP_SECS + phase).sin()),
        0.93,
        0.01,
    );
    let chain = burst(CLIP_SECS, own.within_log([2000.0, 5000.0]), 3000.0, 0.01, take);
    mix(&mut motor, 0, &chain, own.within([0.3, 1.5]));
    motor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and spread over time of the level, in dB, in octaves.
    fn measures(samples: &[f64]) -> Vec<f64> {
        let bands = [125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0].map(|hz| {
            let mut band = samples.to_vec();
            Biquad::resonance(hz, hz / 2.0, RATE).run(&mut band);
            let levels: Vec<f64> =
                band.chunks(frames(0.05)).map(|part| 20.0 * (rms(part) + 1e-6).log10()).collect();
            let mean = levels.iter().sum::<f64>() / levels.len() as f64;
            let spread = rms(&levels.iter().map(|level| level - mean).collect::<Vec<_>>());
            [mean, spread]
        });
        let level = bands.iter().map(|[mean, _]| mean).sum::<f64>() / 6.0;
        bands.iter().flat_map(|[mean, spread]| [mean - level, *spread]).collect()
    }

    /// The nearest class mean of the other folds: most classes can be told by what was made of them, and not all by level and
    /// spread alone.
    #[test]
    fn classes_sound_different_and_are_not_given_away() {
        let collection = collection(0, 0.25);
        let num_clips = collection.recordings.len();
        assert_eq!(num_clips, CLASSES.len() * NUM_FOLDS * 2);
        let clips: Vec<(usize, usize, Vec<f64>)> = (0..num_clips)
            .map(|i| {
                let samples = (collection.render)(i);
                assert_eq!(samples.len(), 80_000);
                let peak = samples.iter().fold(0.0, |peak: f64, x| peak.max(x.abs()));
                assert!(peak < 1.0 && rms(&samples) > 1e-3, "{}", collection.recordings[i]);
                let fold = collection.recordings[i].as_bytes()["audio/".len()] - b'0';
                (i / (NUM_FOLDS * 2), fold.into(), measures(&samples))
            })
            .collect();
        let right = clips.iter().filter(|(class, fold, own)| {
            let distance = |of: usize| -> f64 {
                let others: Vec<_> =
                    clips.iter().filter(|(class, other, _)| *class == of && other != fold).collect();
                let mean = |k: usize| others.iter().map(|(.., m)| m[k]).sum::<f64>() / others.len() as f64;
                (0..own.len()).map(|k| (own[k] - mean(k)).powi(2)).sum()
            };
            let nearest = (0..CLASSES.len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            nearest == Some(*class)
        });
        let share = right.count() as f64 / num_clips as f64;
        assert!((0.5..0.97).contains(&share), "{share}");
    }

    #[test]
    fn the_table_is_esc_50s() {
        let collection = collection(0, 1.0);
        assert_eq!(collection.recordings.len(), 400);
        let (name, table) = &collection.tables[0];
        assert_eq!(*name, "meta/esc50.csv");
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "filename,fold,target,category,esc10,src_file,take");
        assert_eq!(lines[1], "1-101000-A-0.wav,1,0,dog,True,101000,A");
        assert_eq!(collection.recordings[0], "audio/1-101000-A-0.wav");
        // A source is in one fold, and no two classes share one.
        let mut of_source = std::collections::BTreeMap::new();
        for line in &lines[1..] {
            let cells: Vec<&str> = line.split(',').collect();
            let place = of_source.entry(cells[5]).or_insert((cells[1], cells[2]));
            assert_eq!(*place, (cells[1], cells[2]));
        }
        assert_eq!(of_source.len(), 200);
    }
}
