//! What evaluation sees of an image of any size: torchvision's `Resize` of the shorter side and `CenterCrop`.
//!
//! Departure: the crop is resized at once, so that a filter sees no pixel outside of it, and its sides are whole pixels of the
//! image.

use super::resize::Rectangle;

/// The square at the centre of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CentreCrop {
    /// Its side, as a share of the image's shorter one; 224 / 256 = 0.875 is usual.
    pub share: f64,
}

impl CentreCrop {
    /// Where it lies in an image.
    pub fn rectangle(&self, height: usize, width: usize) -> Rectangle {
        let shorter = height.min(width);
        let side = ((shorter as f64 * self.share).round() as usize).clamp(shorter.min(1), shorter);
        Rectangle { top: (height - side) / 2, left: (width - side) / 2, height: side, width: side }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_square_at_the_centre() {
        let crop = CentreCrop { share: 0.875 };
        assert_eq!(crop.rectangle(256, 512), Rectangle { top: 16, left: 144, height: 224, width: 224 });
        assert_eq!(crop.rectangle(1, 9), Rectangle { top: 0, left: 4, height: 1, width: 1 });
        assert_eq!(
            CentreCrop { share: 1.0 }.rectangle(7, 5),
            Rectangle { top: 1, left: 0, height: 5, width: 5 }
        );
    }
}
