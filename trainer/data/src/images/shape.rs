//! The shape of an image, and what several sources say about it.

use std::fmt;

/// Images of more bytes are refused.
pub const MAX_IMAGE_BYTES: u64 = 1 << 28;

/// Channels, rows and columns; pixels are bytes, one plane of rows after the other (C, H, W).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Planes.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A size that no image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImpossibleShape {
    pub(super) height: u64,
    pub(super) width: u64,
    pub(super) channels: u64,
}

impl ImageShape {
    /// # Errors
    /// A side of 0, or more than [`MAX_IMAGE_BYTES`].
    pub(super) fn new(height: u64, width: u64, channels: u64) -> Result<Self, ImpossibleShape> {
        let num_bytes = height.checked_mul(width).and_then(|area| area.checked_mul(channels));
        match num_bytes {
            Some(1..=MAX_IMAGE_BYTES) => {
                Ok(Self { channels: channels as usize, height: height as usize, width: width as usize })
            }
            _ => Err(ImpossibleShape { height, width, channels }),
        }
    }

    /// Bytes of an image.
    pub fn num_bytes(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// `32x32x1`: rows, columns, channels, as folder names and metadata have it.
impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// What one source says about the shape; it may leave out the channels, or everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatedShape {
    /// Rows.
    pub height: Option<u64>,
    /// Columns.
    pub width: Option<u64>,
    /// Planes.
    pub channels: Option<u64>,
}

impl StatedShape {
    /// Of all three numbers.
    pub(super) fn whole(height: u64, width: u64, channels: u64) -> Self {
        Self { height: Some(height), width: Some(width), channels: Some(channels) }
    }

    /// Reads `32x32` or `32x32x3`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let sides = text.split('x').map(parse_side).collect::<Option<Vec<u64>>>()?;
        match *sides.as_slice() {
            [height, width] => Some(Self { height: Some(height), width: Some(width), channels: None }),
            [height, width, channels] => Some(Self::whole(height, width, channels)),
            _ => None,
        }
    }

    /// The numbers in the order of [`StatedShape::parse`].
    fn sides(self) -> [Option<u64>; 3] {
        [self.height, self.width, self.channels]
    }

    /// True where no number of one contradicts the other's.
    pub(super) fn agrees_with(self, other: Self) -> bool {
        self.sides().into_iter().zip(other.sides()).all(|(a, b)| a.is_none() || b.is_none() || a == b)
    }

    /// Fills what is left out from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            height: self.height.or(other.height),
            width: self.width.or(other.width),
            channels: self.channels.or(other.channels),
        }
    }
}

fn parse_side(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `32x32`, with `?` for a number that is left out in the middle; `nothing` for none at all.
impl fmt::Display for StatedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing");
        }
        let sides = match self.sides() {
            [height, width, None] => vec![height, width],
            all => all.to_vec(),
        };
        let texts: Vec<String> =
            sides.into_iter().map(|side| side.map_or("?".into(), |side| side.to_string())).collect();
        f.write_str(&texts.join("x"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_and_printed_alike() {
        for text in ["32x32", "28x28x1", "1x2x3"] {
            assert_eq!(StatedShape::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "32", "32x", "x32", "1x2x3x4", "+1x2", "1x2x99999999999999999999999", "１x２"] {
            assert_eq!(StatedShape::parse(text), None, "{text}");
        }
        assert_eq!(StatedShape::default().to_string(), "nothing");
        assert_eq!(ImageShape::new(3, 4, 2).unwrap().to_string(), "3x4x2");
    }

    #[test]
    fn what_is_left_out_contradicts_nothing() {
        let two = StatedShape::parse("32x32").unwrap();
        assert!(two.agrees_with(StatedShape::whole(32, 32, 3)));
        assert!(!two.agrees_with(StatedShape::whole(32, 31, 3)));
        assert_eq!(two.or(StatedShape::whole(1, 1, 3)), StatedShape::whole(32, 32, 3));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for [height, width, channels] in [[0, 1, 1], [1, 1, 0], [1 << 15, 1 << 15, 1], [u64::MAX, 2, 2]] {
            assert!(ImageShape::new(height, width, channels).is_err());
        }
        assert_eq!(ImageShape::new(28, 28, 1).unwrap().num_bytes(), 784);
    }
}
