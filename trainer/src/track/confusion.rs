//! A confusion matrix as a picture: rows are true classes, columns predicted ones, and the colour is the share of the
//! row. Few classes have names and numbers; many have ticks, and colours up to the largest share that there is.

use super::canvas::{Area, Canvas};
use super::number::tick_step;
use super::palette::{BLACK, GRAY, LIGHT_GRAY, WHITE, blues, ink_on};
use super::text::{Align, CHAR_WIDTH, LINE_HEIGHT, shortened, text_width};
use super::{Picture, TrackError};

/// Up to this number of classes a cell has its count and its share of the row, then the share alone.
const MAX_WITH_COUNTS: usize = 12;
const MAX_WITH_SHARES: usize = 20;
/// Up to this number of classes each has its name.
const MAX_NAMED: usize = 40;
const MAX_NAME_CHARS: usize = 16;
/// Pixels that many cells share.
const PLOT_SIDE: usize = 768;
const MARGIN: usize = 12;
/// Ticks of the axes of a matrix without names.
const MAX_TICKS: usize = 12;
const SCALE_WIDTH: usize = 14;

/// How often which class was taken for which.
///
/// # Shapes
/// `counts`: `(K, K)`, row-major, true class first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confusion<'a> {
    /// Name of the head.
    pub head: &'a str,
    /// Samples of each true class that were predicted as each class.
    pub counts: &'a [u64],
    /// K names, or none: then classes are numbered.
    pub class_names: &'a [String],
}

/// Where the parts of the picture are.
struct Layout {
    num_classes: usize,
    /// Width and height of a cell.
    cell: (usize, usize),
    left: usize,
    top: usize,
    /// Names of all classes, or none where there is no room for them.
    names: Vec<String>,
    names_upright: bool,
    /// Share of a row that has the darkest colour.
    darkest: f64,
}

impl Confusion<'_> {
    /// More classes than that make no picture.
    pub const MAX_CLASSES: usize = 4096;

    /// Samples that were predicted right, and all.
    pub fn hits(&self) -> (u64, u64) {
        let num_classes = self.num_classes();
        let diagonal = self.counts.iter().step_by(num_classes + 1);
        (diagonal.sum(), self.counts.iter().sum())
    }

    /// Draws it.
    ///
    /// # Errors
    /// Counts that are no square, names of another number, more than 4096 classes.
    pub fn picture(&self) -> Result<Picture, TrackError> {
        self.draw()?.1.into_picture()
    }

    fn num_classes(&self) -> usize {
        self.counts.len().isqrt()
    }

    fn draw(&self) -> Result<(Layout, Canvas), TrackError> {
        let fail = |reason: String| TrackError::Picture { reason };
        let num_classes = self.num_classes();
        if num_classes * num_classes != self.counts.len() || !(1..=Self::MAX_CLASSES).contains(&num_classes) {
            let found = self.counts.len();
            return Err(fail(format!(
                "confusion of `{}`: {found} counts are no matrix of 1 to {} classes",
                self.head,
                Self::MAX_CLASSES
            )));
        }
        if !self.class_names.is_empty() && self.class_names.len() != num_classes {
            let found = self.class_names.len();
            return Err(fail(format!(
                "confusion of `{}`: {found} names for {num_classes} classes",
                self.head
            )));
        }
        let layout = Layout { darkest: self.darkest(), ..Layout::new(num_classes, self.class_names) };
        let (width, height) = layout.plot();
        let title = self.title();
        let right = layout.left + width + MARGIN + SCALE_WIDTH + 6 + text_width("100 %") + MARGIN;
        let picture_width = right.max(layout.left + text_width(&title) + MARGIN);
        let mut canvas = Canvas::new(
            picture_width,
            layout.bottom() + layout.names_height() + LINE_HEIGHT + 2 * MARGIN,
            WHITE,
        )?;
        canvas.text(layout.left, MARGIN, Align::Left, &title, BLACK);
        for (row, counts) in self.counts.chunks_exact(num_classes).enumerate() {
            layout.draw_row(&mut canvas, row, counts);
        }
        let plot = Area { left: layout.left - 1, top: layout.top - 1, width: width + 2, height: height + 2 };
        canvas.outline(plot, GRAY);
        layout.draw_axes(&mut canvas);
        layout.draw_scale(&mut canvas);
        Ok((layout, canvas))
    }

    /// Where cells have numbers it is always the whole row, so that pictures can be compared.
    fn darkest(&self) -> f64 {
        let num_classes = self.num_classes();
        if num_classes <= MAX_WITH_SHARES {
            return 1.0;
        }
        let rows = self.counts.chunks_exact(num_classes);
        let shares = rows.map(|row| {
            let largest = row.iter().max().copied().unwrap_or(0);
            largest as f64 / row.iter().sum::<u64>().max(1) as f64
        });
        match shares.fold(0.0, f64::max) {
            // To whole percents, as the scale has it.
            share if share > 0.0 => (100.0 * share - 1e-9).ceil() / 100.0,
            _ => 1.0,
        }
    }

    fn title(&self) -> String {
        match self.hits() {
            (_, 0) => format!("{}: no samples", self.head),
            (hits, total) => {
                format!("{}: accuracy {:.2} % of {total}", self.head, 100.0 * hits as f64 / total as f64)
            }
        }
    }
}

impl Layout {
    fn new(num_classes: usize, class_names: &[String]) -> Self {
        let named = num_classes <= MAX_NAMED;
        let names: Vec<String> = match (named, class_names) {
            (false, _) => Vec::new(),
            (true, []) => (0..num_classes).map(|class| class.to_string()).collect(),
            (true, names) => names.iter().map(|name| shortened(name, MAX_NAME_CHARS)).collect(),
        };
        let cell = if num_classes <= MAX_WITH_COUNTS {
            // Two lines of up to seven characters.
            (8 * CHAR_WIDTH, 2 * LINE_HEIGHT + 8)
        } else if num_classes <= MAX_WITH_SHARES {
            // `100` or `<1`.
            (4 * CHAR_WIDTH + 8, LINE_HEIGHT + 12)
        } else if named {
            (LINE_HEIGHT + 2, LINE_HEIGHT + 2)
        } else {
            let side = (PLOT_SIDE / num_classes).max(1);
            (side, side)
        };
        let widest = match names.iter().map(|name| text_width(name)).max() {
            Some(widest) => widest,
            None => text_width(&num_classes.to_string()),
        };
        let left = MARGIN + LINE_HEIGHT + 6 + widest + 6;
        let names_upright = named && widest + CHAR_WIDTH / 2 > cell.0;
        let top = MARGIN + LINE_HEIGHT + MARGIN;
        Self { num_classes, cell, left, top, names, names_upright, darkest: 1.0 }
    }

    /// Width and height of all cells.
    fn plot(&self) -> (usize, usize) {
        (self.cell.0 * self.num_classes, self.cell.1 * self.num_classes)
    }

    fn bottom(&self) -> usize {
        self.top + self.plot().1
    }

    /// Height of the names below the columns.
    fn names_height(&self) -> usize {
        let widest = self.names.iter().map(|name| text_width(name)).max().unwrap_or(0);
        6 + if self.names_upright { widest } else { LINE_HEIGHT }
    }

    fn cell_at(&self, row: usize, column: usize) -> Area {
        let (width, height) = self.cell;
        Area { left: self.left + column * width, top: self.top + row * height, width, height }
    }

    fn draw_row(&self, canvas: &mut Canvas, row: usize, counts: &[u64]) {
        let total: u64 = counts.iter().sum();
        for (column, &count) in counts.iter().enumerate() {
            let area = self.cell_at(row, column);
            if total == 0 {
                canvas.fill(area, LIGHT_GRAY);
                continue;
            }
            let share = count as f64 / total as f64;
            let background = blues((share / self.darkest) as f32);
            canvas.fill(area, background);
            if count == 0 || self.num_classes > MAX_WITH_SHARES {
                continue;
            }
            let (middle, ink) = (area.left + area.width / 2, ink_on(background));
            if self.num_classes <= MAX_WITH_COUNTS {
                canvas.text(middle, area.top + 4, Align::Center, &compact(count), ink);
                let share = format!("{} %", whole_percent(share));
                canvas.text(middle, area.top + 4 + LINE_HEIGHT, Align::Center, &share, ink);
            } else {
                canvas.text(middle, area.top + 6, Align::Center, &whole_percent(share), ink);
            }
        }
    }

    fn draw_axes(&self, canvas: &mut Canvas) {
        let (width, height) = self.plot();
        let bottom = self.bottom();
        for (class, name) in self.named() {
            let row = self.cell_at(class, 0);
            let y = row.top + row.height / 2;
            canvas.fill(Area { left: self.left - 5, top: y, width: 4, height: 1 }, GRAY);
            canvas.text(self.left - 7, y.saturating_sub(LINE_HEIGHT / 2), Align::Right, &name, BLACK);
            let column = self.cell_at(0, class);
            let x = column.left + column.width / 2;
            canvas.fill(Area { left: x, top: bottom + 1, width: 1, height: 4 }, GRAY);
            if self.names_upright {
                let top = bottom + 6 + text_width(&name);
                canvas.text_upwards(x.saturating_sub(LINE_HEIGHT / 2), top, &name, BLACK);
            } else {
                canvas.text(x, bottom + 6, Align::Center, &name, BLACK);
            }
        }
        canvas.text_upwards(MARGIN, self.top + (height + text_width("true")) / 2, "true", GRAY);
        let label = bottom + self.names_height() + 4;
        canvas.text(self.left + width / 2, label, Align::Center, self.x_label(), GRAY);
    }

    fn x_label(&self) -> &'static str {
        if (MAX_WITH_COUNTS + 1..=MAX_WITH_SHARES).contains(&self.num_classes) {
            "predicted (numbers are % of the row)"
        } else {
            "predicted"
        }
    }

    /// Classes that are named on the axes.
    fn named(&self) -> Vec<(usize, String)> {
        if !self.names.is_empty() {
            return self.names.iter().cloned().enumerate().collect();
        }
        let step = tick_step(self.num_classes as f64, MAX_TICKS).ceil().max(1.0) as usize;
        (0..self.num_classes).step_by(step).map(|class| (class, class.to_string())).collect()
    }

    /// What the colours mean.
    fn draw_scale(&self, canvas: &mut Canvas) {
        let (width, height) = self.plot();
        let left = self.left + width + MARGIN;
        let height = height.min(PLOT_SIDE / 2);
        for y in 0..height {
            let level = 1.0 - y as f32 / height.saturating_sub(1).max(1) as f32;
            canvas.fill(Area { left, top: self.top + y, width: SCALE_WIDTH, height: 1 }, blues(level));
        }
        canvas.outline(Area { left, top: self.top, width: SCALE_WIDTH, height }, GRAY);
        let highest = format!("{} %", whole_percent(self.darkest));
        let ends = [(0, highest.as_str()), (height.saturating_sub(LINE_HEIGHT), "0 %")];
        // A matrix of one class has no room for both.
        for (y, text) in ends.into_iter().take(if height >= 2 * LINE_HEIGHT { 2 } else { 1 }) {
            canvas.text(left + SCALE_WIDTH + 6, self.top + y, Align::Left, text, GRAY);
        }
    }
}

/// `97`; `<1` for what would be 0 and `>99` for what would be all.
fn whole_percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        ..0.5 => "<1".into(),
        99.5..100.0 => ">99".into(),
        _ => format!("{percent:.0}"),
    }
}

/// A count in up to seven characters.
fn compact(count: u64) -> String {
    match count {
        0..10_000_000 => count.to_string(),
        10_000_000..10_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.0e}", count as f64),
    }
}

#[cfg(test)]
mod tests;
