//! Sounds of four machines of one type in the layout of MIMII, some of them with a fault whose kind and strength are known.
//!
//! What tells the machines apart is where their harmonics and resonances are strong, under a noise and a level that differ
//! from clip to clip by more than the machines do: the mean spectrum alone does not tell them.

use std::f64::consts::TAU;

use super::dsp::{Biquad, Random, from_db, mix, rms};
use super::{Collection, scaled};

const SAMPLE_RATE: u32 = 16_000;
const RATE: f64 = SAMPLE_RATE as f64;
const CLIP_SECS: f64 = 2.0;
/// Numbers of the machines, which are not consecutive, as in MIMII.
const MACHINES: [u32; 4] = [0, 2, 4, 6];
/// Clips of a machine without a fault: with those of the others about as many as MIMII has of fans.
const NORMAL: usize = 919;
/// Clips of a machine with a fault.
const ABNORMAL: usize = 80;
/// Level of a clip, in dB.
const LEVEL_DB: [f64; 2] = [-30.0, -14.0];
/// Level of the machine over the noise of the hall, in dB.
const SNR_DB: [f64; 2] = [-4.0, 8.0];
const NUM_HARMONICS: u32 = 16;

/// What random numbers are for.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Machine = 1,
    Clip = 2,
    Fault = 3,
}

/// What goes wrong.
#[derive(Clone, Copy)]
enum Fault {
    /// Knocks at the rate of the rotation.
    Knock,
    /// Noise of a resonance that a healthy machine does not have.
    Rattle,
    /// The rotation swings.
    Wow,
    /// A tone of its own.
    Whine,
}

const FAULTS: [(Fault, &str); 4] =
    [(Fault::Knock, "knock"), (Fault::Rattle, "rattle"), (Fault::Wow, "wow"), (Fault::Whine, "whine")];

/// Level of a fault over that of the machine, in dB.
const FAULT_DB: [f64; 2] = [-12.0, 6.0];

/// One machine.
struct Machine {
    rotation_hz: f64,
    /// Amplitude of each harmonic.
    harmonics: Vec<f64>,
    /// Centre in Hz, width in Hz and gain of what its body amplifies.
    resonances: [(f64, f64, f64); 3],
    /// Depth and rate in Hz with which its noise rises and falls.
    beat: (f64, f64),
}

/// About `scale` x 3,676 clips without a fault and `scale` x 320 with one; at least 8 and 4 of each machine.
pub(super) fn collection(seed: u64, scale: f64) -> Collection {
    let counts = [scaled(NORMAL, scale, 8), scaled(ABNORMAL, scale, FAULTS.len())];
    let of_machine = counts[0] + counts[1];
    let mut recordings = Vec::new();
    let mut table = String::from("file,kind,strength_db\n");
    for machine in MACHINES {
        for clip in 0..of_machine {
            let (state, number) = match clip.checked_sub(counts[0]) {
                None => ("normal", clip),
                Some(number) => ("abnormal", number),
            };
            let file = format!("id_{machine:02}/{state}/{number:08}.wav");
            if state == "abnormal" {
                let (_, kind) = FAULTS[number % FAULTS.len()];
                let strength = strength_db(seed, machine, clip);
                table.push_str(&format!("{file},{kind},{strength:.2}\n"));
            }
            recordings.push(file);
        }
    }
    let machines: Vec<Machine> = MACHINES.iter().map(|&number| machine(seed, number)).collect();
    let render = move |i: usize| {
        let (index, clip) = (i / of_machine, i % of_machine);
        let (Some(machine), Some(&number)) = (machines.get(index), MACHINES.get(index)) else {
            return Vec::new();
        };
        let mut random = Random::new(seed, Purpose::Clip as u64, u64::from(number), clip as u64);
        let fault = clip.checked_sub(counts[0]).map(|abnormal| {
            let (kind, _) = FAULTS[abnormal % FAULTS.len()];
            (kind, strength_db(seed, number, clip))
        });
        recorded(machine, fault, &mut random)
    };
    Collection {
        sample_rate: SAMPLE_RATE,
        recordings,
        tables: vec![("anomalies.csv", table)],
        render: Box::new(render),
    }
}

fn strength_db(seed: u64, machine: u32, clip: usize) -> f64 {
    Random::new(seed, Purpose::Fault as u64, u64::from(machine), clip as u64).within(FAULT_DB)
}

fn machine(seed: u64, number: u32) -> Machine {
    let mut random = Random::new(seed, Purpose::Machine as u64, u64::from(number), 0);
    let harmonics = (1..=NUM_HARMONICS).map(|k| random.factor(0.8) / f64::from(k).sqrt()).collect();
    let resonances = std::array::from_fn(|_| {
        (random.within_log([400.0, 6000.0]), random.within([80.0, 400.0]), random.within([2.0, 5.0]))
    });
    Machine {
        rotation_hz: random.within([84.0, 110.0]),
        harmonics,
        resonances,
        beat: (random.within([0.2, 0.7]), random.within([1.5, 8.0])),
    }
}

/// A clip: rotation, its noise through the body, the fault, and the hall.
fn recorded(machine: &Machine, fault: Option<(Fault, f64)>, random: &mut Random) -> Vec<f64> {
    let len = (CLIP_SECS * RATE) as usize;
    // The load differs from clip to clip.
    let rotation_hz = machine.rotation_hz * random.factor(0.05);
    let swing = match fault {
        Some((Fault::Wow, strength)) => 0.03 * from_db(strength),
        _ => 0.0,
    };
    let mut sound = rotation(machine, rotation_hz, swing, len, random);
    let (depth, beat_hz) = machine.beat;
    let (phase, slope) = (random.within([0.0, TAU]), TAU * beat_hz * random.factor(0.1) / RATE);
    let mut air: Vec<f64> =
        (0..len).map(|i| random.normal() * (1.0 + depth * (phase + slope * i as f64).sin())).collect();
    let dry = air.clone();
    for (hz, width, gain) in machine.resonances {
        let mut filtered = dry.clone();
        Biquad::resonance(hz * random.factor(0.04), width, RATE).run(&mut filtered);
        mix(&mut air, 0, &filtered, gain * random.factor(0.3));
    }
    let share = random.within([0.5, 1.5]) * rms(&sound) / rms(&air).max(f64::MIN_POSITIVE);
    mix(&mut sound, 0, &air, share);
    if let Some((kind, strength)) = fault {
        let added = faulty(kind, rotation_hz, len, random);
        let gain = from_db(strength) * rms(&sound) / rms(&added).max(f64::MIN_POSITIVE);
        if rms(&added) > 0.0 {
            mix(&mut sound, 0, &added, gain);
        }
    }
    let mut hall: Vec<f64> = (0..len).map(|_| random.normal()).collect();
    Biquad::high_shelf(random.within_log([300.0, 3000.0]), random.within([-24.0, 0.0]), RATE).run(&mut hall);
    let level = rms(&sound) / (from_db(random.within(SNR_DB)) * rms(&hall).max(f64::MIN_POSITIVE));
    mix(&mut sound, 0, &hall, level);
    // The place of the microphone.
    Biquad::peak(random.within_log([200.0, 6000.0]), 0.7, random.within([-9.0, 9.0]), RATE).run(&mut sound);
    let peak = sound.iter().fold(f64::MIN_POSITIVE, |peak, x| peak.max(x.abs()));
    let gain = (from_db(random.within(LEVEL_DB)) / rms(&sound).max(f64::MIN_POSITIVE)).min(0.95 / peak);
    sound.iter().map(|x| gain * x).collect()
}

/// Harmonics of a rotation of `hz` that swings by the share `swing`.
fn rotation(machine: &Machine, hz: f64, swing: f64, len: usize, random: &mut Random) -> Vec<f64> {
    let voices: Vec<(f64, f64, f64)> = (1..)
        .map(f64::from)
        .zip(&machine.harmonics)
        .map(|(k, amplitude)| (k, amplitude * random.factor(0.4), random.within([0.0, TAU])))
        .collect();
    let swing_hz = random.within([2.0, 5.0]);
    let mut angle = 0.0;
    (0..len)
        .map(|i| {
            let now = hz * (1.0 + swing * (TAU * swing_hz * i as f64 / RATE).sin());
            angle += TAU * now / RATE;
            voices.iter().map(|(k, amplitude, phase)| amplitude * (k * angle + phase).sin()).sum()
        })
        .collect()
}

/// What a fault adds; nothing where it changes the rotation.
fn faulty(kind: Fault, rotation_hz: f64, len: usize, random: &mut Random) -> Vec<f64> {
    let mut added = vec![0.0; len];
    match kind {
        Fault::Knock => {
            let period = (RATE / (rotation_hz / random.within([8.0, 16.0]))) as usize;
            let mut resonance = Biquad::resonance(random.within_log([800.0, 4000.0]), 200.0, RATE);
            let first = random.index(period);
            added.iter_mut().skip(first).step_by(period.max(1)).for_each(|x| *x = 1.0);
            resonance.run(&mut added);
        }
        Fault::Rattle => {
            added.iter_mut().for_each(|x| *x = random.normal());
            let hz = random.within_log([1500.0, 7000.0]);
            Biquad::resonance(hz, random.within([100.0, 500.0]), RATE).run(&mut added);
        }
        Fault::Wow => {}
        Fault::Whine => {
            let slope = TAU * random.within_log([1000.0, 6000.0]) / RATE;
            added.iter_mut().enumerate().for_each(|(i, x)| *x = (slope * i as f64).sin());
        }
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_finite_within_bounds_and_a_function_of_the_seed() {
        let set = collection(1, 0.001);
        assert_eq!(set.recordings.len(), 4 * 12);
        assert_eq!(set.recordings[0], "id_00/normal/00000000.wav");
        assert_eq!(set.recordings[47], "id_06/abnormal/00000003.wav");
        for i in [0, 8, 9, 10, 11, 40] {
            let clip = (set.render)(i);
            assert_eq!(clip.len(), 32_000);
            assert!(clip.iter().all(|x| x.abs() <= 0.96), "{i}");
            assert!(rms(&clip) > 0.01, "{i}");
            assert_eq!(clip, (collection(1, 0.001).render)(i));
            assert_ne!(clip, (collection(2, 0.001).render)(i));
        }
        let (_, table) = &set.tables[0];
        assert_eq!(table.lines().count(), 17);
        assert!(table.contains("id_00/abnormal/00000000.wav,knock,"), "{table}");
    }
}
