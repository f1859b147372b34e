//! Which of its channels a recording is heard by.

use dtrain_configs::schema::Channel;

use super::DecodeProblem;

/// # Errors
/// A channel that the recording lacks.
pub(super) fn check(channel: Channel, channels: u16) -> Result<(), DecodeProblem> {
    match channel {
        Channel::Number(wanted) if wanted >= channels => Err(DecodeProblem::NoChannel { wanted, channels }),
        Channel::Mean | Channel::Number(_) => Ok(()),
    }
}

/// Appends one sample for each frame of `channels` samples: their mean, or that of one channel.
pub(super) fn mix<T>(
    samples: &[T],
    channels: usize,
    channel: Channel,
    mono: &mut Vec<f32>,
    to_f32: impl Fn(&T) -> f32,
) {
    if let Channel::Number(number) = channel {
        let of_frame = |frame: &[T]| frame.get(usize::from(number)).map_or(0.0, &to_f32);
        mono.extend(samples.chunks_exact(channels).map(of_frame));
        return;
    }
    let mean = 1.0 / channels as f32;
    let sum = |sum: f32, sample: &T| sum + to_f32(sample);
    match channels {
        // Written out, so that the compiler computes many at a time.
        1 => mono.extend(samples.iter().map(|sample| 0.0 + to_f32(sample))),
        2 => mono.extend(samples.as_chunks::<2>().0.iter().map(|frame| frame.iter().fold(0.0, sum) * mean)),
        _ => mono.extend(samples.chunks_exact(channels).map(|frame| frame.iter().fold(0.0, sum) * mean)),
    }
}
