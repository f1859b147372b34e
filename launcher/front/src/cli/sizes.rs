//! Sizes that are typed: of buffers and of images.

/// Channels, height and width of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(pub [i64; 3]);

/// Largest side of a synthetic view.
const MAX_SIDE: i64 = 1 << 16;

/// `3x224x224`.
pub(super) fn parse_shape(text: &str) -> Result<Shape, String> {
    let sizes: Option<Vec<i64>> = text.split('x').map(|size| size.parse().ok()).collect();
    match sizes.as_deref() {
        Some(&[channels, height, width])
            if [channels, height, width].iter().all(|size| (1..=MAX_SIDE).contains(size)) =>
        {
            Ok(Shape([channels, height, width]))
        }
        _ => Err("not channels, height and width such as 3x224x224".into()),
    }
}

/// Largest buffer of `bench comm`.
const MAX_COMM_BYTES: usize = 64 << 30;

/// `25M` and the like.
pub(super) fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, shift) = match text.trim().char_indices().last() {
        Some((at, 'K' | 'k')) => (text.trim().get(..at), 10),
        Some((at, 'M' | 'm')) => (text.trim().get(..at), 20),
        Some((at, 'G' | 'g')) => (text.trim().get(..at), 30),
        _ => (Some(text.trim()), 0),
    };
    let number: usize = number
        .and_then(|number| number.parse().ok())
        .ok_or("not a number of bytes such as 4096, 64K, 25M or 1G")?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if (1..=MAX_COMM_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err("not between 1 byte and 64G".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_views_have_a_shape() {
        assert_eq!(parse_shape("3x224x200"), Ok(Shape([3, 224, 200])));
        for wrong in
            ["", "3", "3x4", "3x4x5x6", "3x0x4", "-1x4x4", "3x4x99999999999999999999", "3x4xa", "3x70000x1"]
        {
            assert!(parse_shape(wrong).is_err(), "{wrong}");
        }
    }
}
