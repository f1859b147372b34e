//! Pixels to draw on: points, rectangles, and a PNG at the end. What lies outside is left out.

use super::TrackError;
use super::palette::{Rgb, mix};
use super::picture::Picture;

const MAX_PIXELS: usize = 1 << 26;

/// A picture that is being drawn. The first pixel is at the left of the top row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

/// A rectangle, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Canvas {
    /// Empty.
    ///
    /// # Errors
    /// No pixels, or more than 2^26.
    pub fn new(width: usize, height: usize, background: Rgb) -> Result<Self, TrackError> {
        match width.checked_mul(height) {
            Some(num_pixels @ 1..=MAX_PIXELS) => {
                Ok(Self { width, height, pixels: vec![background; num_pixels] })
            }
            _ => {
                Err(TrackError::Picture { reason: format!("{width} x {height} pixels are none or too many") })
            }
        }
    }

    /// Pixels from left to right.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The colour of a pixel; nothing outside.
    pub fn pixel(&self, x: usize, y: usize) -> Option<Rgb> {
        if x >= self.width {
            return None;
        }
        self.pixels.get(y.checked_mul(self.width)?.checked_add(x)?).copied()
    }

    /// Colours a pixel.
    pub fn set(&mut self, x: usize, y: usize, color: Rgb) {
        self.fill(Area { left: x, top: y, width: 1, height: 1 }, color);
    }

    /// Colours a pixel to a part, from 0 to 255.
    pub fn blend(&mut self, x: usize, y: usize, color: Rgb, coverage: u8) {
        if let Some(below) = self.pixel(x, y) {
            self.set(x, y, mix(below, color, f32::from(coverage) / 255.0));
        }
    }

    /// Colours a rectangle.
    pub fn fill(&mut self, area: Area, color: Rgb) {
        let Area { left, top, width, height } = area;
        let (left, right) = (left.min(self.width), left.saturating_add(width).min(self.width));
        let rows = self.pixels.chunks_exact_mut(self.width).skip(top).take(height);
        rows.filter_map(|row| row.get_mut(left..right)).for_each(|part| part.fill(color));
    }

    /// Draws a line of one pixel just inside a rectangle.
    pub fn outline(&mut self, area: Area, color: Rgb) {
        let Area { left, top, width, height } = area;
        self.fill(Area { height: height.min(1), ..area }, color);
        self.fill(Area { width: width.min(1), ..area }, color);
        let (right, bottom) =
            (left.saturating_add(width.saturating_sub(1)), top.saturating_add(height.saturating_sub(1)));
        self.fill(Area { top: bottom, height: height.min(1), ..area }, color);
        self.fill(Area { left: right, width: width.min(1), ..area }, color);
    }

    /// The PNG file.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn into_picture(self) -> Result<Picture, TrackError> {
        let fail = |error: String| TrackError::Picture { reason: error };
        let width = u32::try_from(self.width).map_err(|error| fail(error.to_string()))?;
        let height = u32::try_from(self.height).map_err(|error| fail(error.to_string()))?;
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(self.pixels.as_flattened()))
            .map_err(|error| fail(error.to_string()))?;
        Ok(Picture { width, height, png })
    }
}

#[cfg(test)]
mod tests {
    use super::super::palette::{BLACK, WHITE};
    use super::*;

    /// Rows of `.` and `#`.
    fn drawn(canvas: &Canvas) -> Vec<String> {
        let sign = |x, y| if canvas.pixel(x, y) == Some(WHITE) { '.' } else { '#' };
        (0..canvas.height()).map(|y| (0..canvas.width()).map(|x| sign(x, y)).collect()).collect()
    }

    #[test]
    fn rectangles_end_at_the_edge() {
        let mut canvas = Canvas::new(5, 4, WHITE).unwrap();
        canvas.fill(Area { left: 3, top: 2, width: usize::MAX, height: usize::MAX }, BLACK);
        canvas.fill(Area { left: 9, top: 0, width: 2, height: 2 }, BLACK);
        canvas.fill(Area { left: 0, top: 9, width: 2, height: 2 }, BLACK);
        canvas.set(usize::MAX, 0, BLACK);
        canvas.set(0, usize::MAX, BLACK);
        canvas.set(0, 0, BLACK);
        assert_eq!(drawn(&canvas), ["#....", ".....", "...##", "...##"]);
        assert_eq!([canvas.pixel(5, 0), canvas.pixel(0, 4), canvas.pixel(1, usize::MAX)], [None; 3]);
    }

    #[test]
    fn an_outline_is_one_pixel_wide() {
        let mut canvas = Canvas::new(6, 5, WHITE).unwrap();
        canvas.outline(Area { left: 1, top: 1, width: 4, height: 3 }, BLACK);
        canvas.outline(Area { left: 0, top: 0, width: 0, height: 3 }, BLACK);
        assert_eq!(drawn(&canvas), ["......", ".####.", ".#..#.", ".####.", "......"]);
    }

    #[test]
    fn colours_mix_by_coverage() {
        let mut canvas = Canvas::new(1, 1, WHITE).unwrap();
        canvas.blend(0, 0, [255, 0, 0], 51);
        canvas.blend(1, 0, BLACK, 255);
        assert_eq!(canvas.pixel(0, 0), Some([255, 204, 204]));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for (width, height) in [(0, 5), (5, 0), (usize::MAX, 2), (1 << 14, 1 << 13)] {
            assert!(Canvas::new(width, height, WHITE).is_err());
        }
    }
}
