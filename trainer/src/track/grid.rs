//! What the model sees, as a picture: views of samples side by side. Spectrograms are drawn with low frequencies at the
//! bottom.

use super::TrackError;
use super::canvas::{Area, Canvas};
use super::palette::{BLACK, NOT_FINITE, Rgb, WHITE, to_byte, viridis};
use super::picture::Picture;
use super::text::{Align, LINE_HEIGHT, text_width};

/// Pixels between two cells.
const GAP: usize = 4;
/// Cells smaller than this are enlarged by a whole factor.
const MIN_CELL_PIXELS: usize = 96;
const MAX_ZOOM: usize = 8;

/// How numbers become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Black to white; the first row is drawn at the top, as in images.
    Gray,
    /// Dark violet to yellow, even to the eye; the first row is drawn at the bottom, as in spectrograms.
    Viridis,
}

/// Numbers to draw.
///
/// # Shapes
/// `(channels, rows, columns)`, row-major; 1 channel, or 3 for red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix<'a> {
    values: &'a [f32],
    num_channels: usize,
    num_rows: usize,
    num_cols: usize,
}

impl<'a> Matrix<'a> {
    /// `values` in that shape.
    ///
    /// # Errors
    /// When the shape is empty, has other than 1 or 3 channels, or another number of values.
    pub fn new(
        values: &'a [f32],
        num_channels: usize,
        num_rows: usize,
        num_cols: usize,
    ) -> Result<Self, TrackError> {
        let expected = num_channels.checked_mul(num_rows).and_then(|n| n.checked_mul(num_cols));
        if ![1, 3].contains(&num_channels) || values.is_empty() || expected != Some(values.len()) {
            let shape = format!("({num_channels}, {num_rows}, {num_cols})");
            return Err(TrackError::Picture { reason: format!("{} values of shape {shape}", values.len()) });
        }
        Ok(Self { values, num_channels, num_rows, num_cols })
    }

    /// Height in values.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Width in values.
    pub fn num_cols(&self) -> usize {
        self.num_cols
    }

    /// Smallest and largest finite value.
    fn range(&self) -> (f32, f32) {
        let finite = self.values.iter().copied().filter(|value| value.is_finite());
        finite
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    }

    /// Value scaled to 0..=1; `None` where it is not finite. A constant matrix is drawn at 0.
    fn level(&self, channel: usize, row: usize, col: usize, (low, high): (f32, f32)) -> Option<f32> {
        let index = (channel * self.num_rows + row) * self.num_cols + col;
        let value = self.values.get(index).copied().filter(|value| value.is_finite())?;
        // In f64, where the range of f32 does not overflow.
        let width = f64::from(high) - f64::from(low);
        Some(if width > 0.0 { ((f64::from(value) - f64::from(low)) / width) as f32 } else { 0.0 })
    }

    fn pixel(&self, row: usize, col: usize, color: Color, range: (f32, f32)) -> Rgb {
        if self.num_channels == 3 {
            let levels = [0, 1, 2].map(|channel| self.level(channel, row, col, range));
            return match levels {
                [Some(red), Some(green), Some(blue)] => [red, green, blue].map(to_byte),
                _ => NOT_FINITE,
            };
        }
        match (self.level(0, row, col, range), color) {
            (None, _) => NOT_FINITE,
            (Some(level), Color::Gray) => [to_byte(level); 3],
            (Some(level), Color::Viridis) => viridis(level),
        }
    }

    /// Draws it, each value as a square of `zoom` pixels.
    fn draw(&self, canvas: &mut Canvas, color: Color, zoom: usize, top: usize, left: usize) {
        let range = self.range();
        for y in 0..self.num_rows {
            let row = match color {
                Color::Gray => y,
                Color::Viridis => self.num_rows - 1 - y,
            };
            for col in 0..self.num_cols {
                let square = Area { left: left + col * zoom, top: top + y * zoom, width: zoom, height: zoom };
                canvas.fill(square, self.pixel(row, col, color, range));
            }
        }
    }
}

impl Picture {
    /// A grid of cells, each scaled from its own smallest to its own largest value: one row per sample, one column per
    /// view. Small cells are enlarged without smoothing. `captions` stand above the rows, as far as there are some.
    ///
    /// # Errors
    /// When there is nothing to draw or the picture would have more than 2^26 pixels.
    pub fn grid(rows: &[Vec<Matrix<'_>>], captions: &[String], color: Color) -> Result<Self, TrackError> {
        let fail = |reason: String| TrackError::Picture { reason };
        let cells = || rows.iter().flatten();
        let cell_rows = cells().map(|cell| cell.num_rows).max().unwrap_or(0);
        let cell_cols = cells().map(|cell| cell.num_cols).max().unwrap_or(0);
        let num_cols = rows.iter().map(Vec::len).max().unwrap_or(0);
        if cell_rows == 0 || cell_cols == 0 {
            return Err(fail("there is nothing to draw".into()));
        }
        let zoom = MIN_CELL_PIXELS.div_ceil(cell_rows.min(cell_cols)).min(MAX_ZOOM);
        let line = if captions.is_empty() { 0 } else { LINE_HEIGHT };
        let extent = |cell: usize, above: usize, count: usize| {
            cell.checked_mul(zoom)?.checked_add(above + GAP)?.checked_mul(count)?.checked_sub(GAP)
        };
        let widest = captions.iter().map(|caption| text_width(caption)).max().unwrap_or(0);
        let width = extent(cell_cols, 0, num_cols).map(|width| width.max(widest));
        let size = width.zip(extent(cell_rows, line, rows.len()));
        let canvas = size.and_then(|(width, height)| Canvas::new(width, height, WHITE).ok());
        let Some(mut canvas) = canvas else {
            return Err(fail(format!(
                "{} x {num_cols} cells of {cell_rows} x {cell_cols} are too many",
                rows.len()
            )));
        };
        for (i, row) in rows.iter().enumerate() {
            let top = i * (line + cell_rows * zoom + GAP);
            if let Some(caption) = captions.get(i) {
                canvas.text(0, top, Align::Left, caption, BLACK);
            }
            for (j, cell) in row.iter().enumerate() {
                cell.draw(&mut canvas, color, zoom, top + line, j * (cell_cols * zoom + GAP));
            }
        }
        canvas.into_picture()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(picture: &Picture) -> Vec<u8> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(&picture.png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(
            (info.width, info.height, info.color_type),
            (picture.width, picture.height, png::ColorType::Rgb)
        );
        pixels
    }

    #[test]
    fn low_frequencies_are_at_the_bottom_and_images_upright() {
        let values: Vec<f32> = (0..96 * 96).map(|i| (i / 96) as f32).collect();
        let matrix = Matrix::new(&values, 1, 96, 96).unwrap();
        let spectrogram = decode(&Picture::grid(&[vec![matrix]], &[], Color::Viridis).unwrap());
        assert_eq!(spectrogram[..3], viridis(1.0));
        assert_eq!(spectrogram[spectrogram.len() - 3..], viridis(0.0));
        let image = decode(&Picture::grid(&[vec![matrix]], &[], Color::Gray).unwrap());
        assert_eq!((image[0], image[image.len() - 1]), (0, 255));
    }

    #[test]
    fn a_grid_has_gaps_and_marks_what_is_not_finite() {
        let values = [0.0, f32::NAN, 1.0, f32::INFINITY];
        let cell = Matrix::new(&values, 1, 2, 2).unwrap();
        let picture = Picture::grid(&[vec![cell, cell], vec![cell]], &[], Color::Gray).unwrap();
        assert_eq!((picture.width, picture.height), (2 * 16 + 4, 2 * 16 + 4));
        let pixels = decode(&picture);
        let at = |x: usize, y: usize| &pixels[(y * 36 + x) * 3..][..3];
        assert_eq!(at(0, 0), [0, 0, 0]);
        assert_eq!(at(8, 0), NOT_FINITE);
        assert_eq!(at(0, 8), WHITE);
        assert_eq!(at(17, 0), WHITE);
        assert_eq!(at(20, 0), [0, 0, 0]);
        assert_eq!(at(30, 30), WHITE, "the missing cell");
    }

    #[test]
    fn a_caption_stands_above_its_row() {
        let cell = Matrix::new(&[1.0; 4], 1, 2, 2).unwrap();
        let captions = ["lark".to_owned(), "a longer caption than the cell is wide".to_owned()];
        let picture = Picture::grid(&[vec![cell], vec![cell]], &captions, Color::Gray).unwrap();
        assert_eq!(picture.height as usize, 2 * (LINE_HEIGHT + 16) + GAP);
        assert_eq!(picture.width as usize, text_width(&captions[1]));
        let pixels = decode(&picture);
        let row_of_text = &pixels[..picture.width as usize * 3 * LINE_HEIGHT];
        assert!(row_of_text.iter().any(|value| *value < 128), "nothing is written");
        let at = picture.width as usize * 3 * (LINE_HEIGHT + 1);
        assert_eq!(pixels[at..at + 3], [0, 0, 0], "the cell is below its caption");
    }

    #[test]
    fn colours_and_extremes_do_not_overflow() {
        let rgb = [1.0, 0.0, 0.5];
        let pixels =
            decode(&Picture::grid(&[vec![Matrix::new(&rgb, 3, 1, 1).unwrap()]], &[], Color::Gray).unwrap());
        assert_eq!(pixels[..3], [255, 0, 128]);
        let extreme = [f32::MIN, f32::MAX, 0.0, f32::NAN];
        let cell = Matrix::new(&extreme, 1, 1, 4).unwrap();
        let pixels = decode(&Picture::grid(&[vec![cell]], &[], Color::Gray).unwrap());
        let at = |x: usize| pixels[x * 8 * 3];
        assert_eq!([at(0), at(1), at(2)], [0, 255, 128]);
        for nan in [[f32::NAN; 2], [3.0; 2]] {
            Picture::grid(&[vec![Matrix::new(&nan, 1, 1, 2).unwrap()]], &[], Color::Viridis).unwrap();
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        assert!(Matrix::new(&[0.0; 6], 1, 2, 2).is_err());
        assert!(Matrix::new(&[0.0; 2], 2, 1, 1).is_err());
        assert!(Matrix::new(&[], 1, 0, 5).is_err());
        assert!(Matrix::new(&[0.0], 1, usize::MAX, 2).is_err());
        assert!(Picture::grid(&[], &[], Color::Gray).is_err());
        let wide = vec![0.0; 1 << 20];
        let row: Vec<_> = (0..20).map(|_| Matrix::new(&wide, 1, 1, 1 << 20).unwrap()).collect();
        assert!(Picture::grid(&[row], &[], Color::Gray).is_err());
    }
}
