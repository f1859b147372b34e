//! A clip of fixed length from a recording of any length: longer recordings are cropped, shorter ones are placed
//! among zeros.

use crate::rng::Stream;

/// Crops, or places, at random: every position is equally likely.
pub fn random(stream: &mut Stream, recording: &[f32], clip: &mut [f32]) {
    let offset = stream.up_to(recording.len().abs_diff(clip.len()));
    place(recording, offset, clip);
}

/// Crops, or places, at the centre.
pub fn centred(recording: &[f32], clip: &mut [f32]) {
    place(recording, recording.len().abs_diff(clip.len()) / 2, clip);
}

/// `offset` counts from the recording's start where it is the longer one, else from the clip's.
fn place(recording: &[f32], offset: usize, clip: &mut [f32]) {
    if let Some(part) = recording.get(offset..).and_then(|rest| rest.get(..clip.len())) {
        clip.copy_from_slice(part);
        return;
    }
    clip.fill(0.0);
    for (x, sample) in clip.iter_mut().skip(offset).zip(recording) {
        *x = *sample;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn centred_crops_and_pads_on_both_sides() {
        let mut clip = [9.0; 4];
        centred(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut clip);
        assert_eq!(clip, [2.0, 3.0, 4.0, 5.0]);
        centred(&[1.0, 2.0], &mut clip);
        assert_eq!(clip, [0.0, 1.0, 2.0, 0.0]);
        centred(&[1.0, 2.0, 3.0, 4.0], &mut clip);
        assert_eq!(clip, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn every_position_occurs_and_the_content_is_contiguous() {
        let recording = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let (mut crops, mut places) = ([0; 4], [0; 4]);
        for sample in 0..4000 {
            let mut clip = [0.0; 3];
            random(&mut stream(0, 0, sample, 0, Purpose::Crop), &recording, &mut clip);
            assert!(clip[1] == clip[0] + 1.0 && clip[2] == clip[1] + 1.0);
            crops[clip[0] as usize - 1] += 1;

            let mut clip = [7.0; 9];
            random(&mut stream(0, 0, sample, 0, Purpose::Crop), &recording, &mut clip);
            let start = clip.iter().position(|&x| x == 1.0).unwrap();
            assert_eq!(clip[start..start + 6], recording);
            assert_eq!(clip.iter().sum::<f32>(), 21.0);
            places[start] += 1;
        }
        assert!(crops.iter().chain(&places).all(|&n: &i32| n.abs_diff(1000) < 150), "{crops:?} {places:?}");
    }
}
