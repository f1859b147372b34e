//! Samples side by side, each with its labels below it.

use dtrain_data::images::inspect::choose;
use dtrain_data::images::{Head, ImageSet, ImageShape};
use dtrain_front::Exit;
use dtrain_trainer::TrainError;
use dtrain_trainer::track::palette::{BLACK, GRAY, WHITE, viridis};
use dtrain_trainer::track::text::{Align, CHAR_WIDTH, LINE_HEIGHT, shortened, text_width};
use dtrain_trainer::track::{Area, Canvas, Picture, Rgb};

use super::{Found, class_text, failed};
use crate::failure::Failure;

/// Images whose shorter side is below are enlarged, by a whole factor.
const MIN_SIDE: usize = 96;
const MAX_ZOOM: usize = 8;
/// Images whose longer side is above have every n-th pixel shown.
const MAX_SIDE: usize = 320;
/// Labels that are written below a sample.
const MAX_LABELS: usize = 8;
/// Characters of a label.
const MAX_CHARS: usize = 24;
const GAP: usize = 12;
/// Width over height of the picture, about.
const ASPECT: f64 = 1.5;

/// One sample that is drawn.
struct Shown {
    /// Its number in the part.
    number: usize,
    labels: Vec<String>,
}

/// Where things are in a cell.
struct Layout {
    shape: ImageShape,
    zoom: usize,
    skip: usize,
    /// Rows are frequencies.
    is_sound: bool,
    cell: (usize, usize),
    num_columns: usize,
}

/// Samples of the training part that the seed chooses; nothing where none is good.
pub fn picture(found: &Found<'_>, num: usize, seed: u64) -> Result<Option<Picture>, Failure> {
    let set = &found.folder.train;
    let chosen = choose(set, num, seed);
    let shown = chosen.iter().map(|&number| shown(set, number)).collect::<Result<Vec<_>, Failure>>()?;
    if shown.is_empty() {
        return Ok(None);
    }
    let layout = Layout::of(set, &shown);
    let name = found.folder.root.file_name().unwrap_or_default().to_string_lossy();
    let title = format!("{name}: {} of {} training samples, seed {seed}", shown.len(), set.num_samples());
    let mut canvas = layout.canvas(shown.len(), text_width(&title))?;
    canvas.text(GAP, GAP, Align::Left, &title, BLACK);
    // One image at a time: a large one has 256 MB.
    let mut pixels = vec![0; set.shape().num_bytes()];
    for (at, sample) in shown.iter().enumerate() {
        set.pixels(sample.number, &mut pixels).map_err(failed)?;
        layout.draw(&mut canvas, at, sample, &pixels);
    }
    Ok(Some(canvas.into_picture().map_err(TrainError::from)?))
}

fn shown(set: &ImageSet, number: usize) -> Result<Shown, Failure> {
    let mut classes = vec![0; set.heads().len()];
    set.labels(number, &mut classes).map_err(failed)?;
    let mut labels: Vec<String> =
        set.heads().iter().zip(&classes).map(|(head, &class)| label(head, class as usize)).collect();
    if labels.len() > MAX_LABELS {
        let num_more = labels.len() - (MAX_LABELS - 1);
        labels.truncate(MAX_LABELS - 1);
        labels.push(format!("and {num_more} more"));
    }
    Ok(Shown { number, labels })
}

/// `digit 7`; a long name is shortened before its value is.
fn label(head: &Head, class: usize) -> String {
    let value = shortened(&class_text(head, class), MAX_CHARS);
    match MAX_CHARS.saturating_sub(value.chars().count() + 1) {
        0..4 => value,
        room => format!("{} {value}", shortened(&head.name, room)),
    }
}

impl Layout {
    fn of(set: &ImageSet, shown: &[Shown]) -> Self {
        let shape = set.shape();
        let zoom = MIN_SIDE.div_ceil(shape.height.min(shape.width)).clamp(1, MAX_ZOOM);
        let skip = shape.height.max(shape.width).div_ceil(MAX_SIDE).max(1);
        // An image that is narrow and long is not enlarged beyond what is shown of others.
        let zoom = zoom.min((MAX_SIDE / (shape.height.max(shape.width) / skip).max(1)).max(1));
        let texts = shown.iter().flat_map(|sample| &sample.labels);
        let widest = texts.map(|text| text_width(text)).max().unwrap_or(0).max(9 * CHAR_WIDTH);
        let num_lines = 1 + shown.iter().map(|sample| sample.labels.len()).max().unwrap_or(0);
        let image_height = shape.height.div_ceil(skip) * zoom;
        let cell = (
            (shape.width.div_ceil(skip) * zoom).max(widest) + GAP,
            image_height + 4 + num_lines * LINE_HEIGHT + GAP,
        );
        let columns = (shown.len() as f64 * cell.1 as f64 / cell.0 as f64 * ASPECT).sqrt().round() as usize;
        Self { shape, zoom, skip, is_sound: set.is_sound(), cell, num_columns: columns.clamp(1, shown.len()) }
    }

    fn canvas(&self, num_samples: usize, title_width: usize) -> Result<Canvas, Failure> {
        let width = (GAP + self.num_columns * self.cell.0).max(title_width + 2 * GAP);
        let height = 2 * GAP + LINE_HEIGHT + num_samples.div_ceil(self.num_columns) * self.cell.1;
        Canvas::new(width, height, WHITE).map_err(|_| {
            let message = format!(
                "`--samples {num_samples}` makes a picture of {width} x {height} pixels, which is too large"
            );
            Failure::agreed(Exit::Usage, message, Some("ask for fewer samples".into()))
        })
    }

    fn draw(&self, canvas: &mut Canvas, at: usize, sample: &Shown, pixels: &[u8]) {
        let (width, height) = self.cell;
        let left = GAP + at % self.num_columns * width;
        let top = 2 * GAP + LINE_HEIGHT + at / self.num_columns * height;
        let (num_rows, num_columns) =
            (self.shape.height.div_ceil(self.skip), self.shape.width.div_ceil(self.skip));
        for y in 0..num_rows {
            let from_top = if self.is_sound { num_rows - 1 - y } else { y };
            let row = from_top * self.skip;
            for x in 0..num_columns {
                let square = Area {
                    left: left + x * self.zoom,
                    top: top + y * self.zoom,
                    width: self.zoom,
                    height: self.zoom,
                };
                canvas.fill(square, self.color(pixels, row, x * self.skip));
            }
        }
        let mut line = top + num_rows * self.zoom + 4;
        for (text, color) in sample
            .labels
            .iter()
            .map(|label| (label.as_str(), BLACK))
            .chain([(format!("no. {}", sample.number).as_str(), GRAY)])
        {
            canvas.text(left, line, Align::Left, text, color);
            line += LINE_HEIGHT;
        }
    }

    /// Three planes are red, green and blue; of other numbers the first is shown.
    fn color(&self, pixels: &[u8], row: usize, column: usize) -> Rgb {
        let ImageShape { channels, height, width } = self.shape;
        let value =
            |plane: usize| pixels.get((plane * height + row) * width + column).copied().unwrap_or_default();
        match (channels, self.is_sound) {
            (3, _) => [value(0), value(1), value(2)],
            (_, true) => viridis(f32::from(value(0)) / 255.0),
            (_, false) => [value(0); 3],
        }
    }
}
