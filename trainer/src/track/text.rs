//! Text on a canvas, in a font of fixed width. It has the Latin letters; others become `?`.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::canvas::Canvas;
use super::palette::Rgb;

const WEIGHT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;

/// Pixels from one character to the next.
pub const CHAR_WIDTH: usize = get_raster_width(WEIGHT, SIZE);
/// Pixels from one line to the next.
pub const LINE_HEIGHT: usize = SIZE.val();

/// Which part of a text is at the given column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Its left end.
    Left,
    /// Its middle.
    Center,
    /// Its right end.
    Right,
}

/// Pixels of a line.
pub fn text_width(text: &str) -> usize {
    text.chars().count() * CHAR_WIDTH
}

/// The text, or its beginning and `..` if it has more than `max_chars` characters.
pub fn shortened(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let begin: String = text.chars().take(max_chars.saturating_sub(2)).collect();
    begin + &"..".chars().take(max_chars).collect::<String>()
}

impl Canvas {
    /// Writes a line whose top is at row `y`.
    pub fn text(&mut self, x: usize, y: usize, align: Align, text: &str, color: Rgb) {
        let width = text_width(text);
        let left = match align {
            Align::Left => x,
            Align::Center => x.saturating_sub(width / 2),
            Align::Right => x.saturating_sub(width),
        };
        for_each_pixel(text, |dx, dy, coverage| {
            self.blend(left.saturating_add(dx), y.saturating_add(dy), color, coverage)
        });
    }

    /// Writes a line from bottom to top: its first character is above row `bottom`, its upper side at column `x`.
    pub fn text_upwards(&mut self, x: usize, bottom: usize, text: &str, color: Rgb) {
        for_each_pixel(text, |dx, dy, coverage| {
            if let Some(y) = bottom.checked_sub(dx + 1) {
                self.blend(x.saturating_add(dy), y, color, coverage);
            }
        });
    }
}

/// Calls `draw` with column, row and coverage of each pixel of a line.
fn for_each_pixel(text: &str, mut draw: impl FnMut(usize, usize, u8)) {
    for (at, letter) in text.chars().enumerate() {
        let known = get_raster(letter, WEIGHT, SIZE);
        let Some(raster) = known.or_else(|| get_raster('?', WEIGHT, SIZE)) else { continue };
        for (dy, row) in raster.rows().enumerate() {
            for (dx, &coverage) in row.iter().enumerate().filter(|(_, coverage)| **coverage > 0) {
                draw(at * CHAR_WIDTH + dx, dy, coverage);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::palette::{BLACK, WHITE};
    use super::*;

    fn drawn(draw: impl FnOnce(&mut Canvas)) -> Vec<(usize, usize)> {
        let mut canvas = Canvas::new(40, 40, WHITE).unwrap();
        draw(&mut canvas);
        let points = (0..40).flat_map(|y| (0..40).map(move |x| (x, y)));
        points.filter(|&(x, y)| canvas.pixel(x, y) != Some(WHITE)).collect()
    }

    #[test]
    fn alignment_moves_a_text() {
        let left = drawn(|canvas| canvas.text(20, 3, Align::Left, "ab", BLACK));
        assert!(left.len() > 20 && left.iter().all(|(x, y)| (20..34).contains(x) && (3..19).contains(y)));
        let moved = |by: usize| left.iter().map(|&(x, y)| (x - by, y)).collect::<Vec<_>>();
        assert_eq!(drawn(|canvas| canvas.text(20, 3, Align::Center, "ab", BLACK)), moved(CHAR_WIDTH));
        assert_eq!(drawn(|canvas| canvas.text(20, 3, Align::Right, "ab", BLACK)), moved(2 * CHAR_WIDTH));
    }

    #[test]
    fn upwards_is_a_quarter_turn() {
        let flat = drawn(|canvas| canvas.text(0, 0, Align::Left, "Fg", BLACK));
        let mut turned: Vec<_> = flat.iter().map(|&(x, y)| (5 + y, 29 - x)).collect();
        turned.sort_by_key(|&(x, y)| (y, x));
        assert_eq!(drawn(|canvas| canvas.text_upwards(5, 30, "Fg", BLACK)), turned);
    }

    #[test]
    fn texts_that_do_not_fit_are_cut() {
        drawn(|canvas| canvas.text(39, 39, Align::Left, "long text", BLACK));
        drawn(|canvas| canvas.text(3, usize::MAX, Align::Right, "long text", BLACK));
        drawn(|canvas| canvas.text_upwards(usize::MAX, 3, "long text", BLACK));
        assert_eq!(shortened("log10_decay_time", 16), "log10_decay_time");
        assert_eq!(shortened("log10_decay_time", 9), "log10_d..");
        assert_eq!((shortened("abc", 1), shortened("abc", 0)), (".".to_owned(), String::new()));
    }

    #[test]
    fn unknown_letters_are_question_marks() {
        let line = |text: &str| drawn(|canvas| canvas.text(0, 0, Align::Left, text, BLACK));
        assert_eq!(line("\u{9ce5}"), line("?"));
        assert_ne!(line("\u{e4}"), line("?"));
        assert_eq!(line(""), []);
    }
}
