//! Points in two dimensions, coloured by group: a plane of embeddings, seen once for each thing that is known of the samples.

use super::canvas::{Area, Canvas};
use super::palette::{BLACK, GRAY, LIGHT_GRAY, Rgb, WHITE, mix, wheel};
use super::text::{Align, LINE_HEIGHT, shortened, text_width};
use super::{Picture, TrackError};

/// Side of a panel, in pixels.
const SIDE: usize = 560;
/// Between the outermost points and the edge of a panel.
const PADDING: usize = 16;
const MARGIN: usize = 12;
/// Radius of a point of few, and of one of many.
const RADII: [f64; 2] = [4.5, 2.5];
/// From so many points on they are small.
const MANY: usize = 600;
/// Groups that a legend names, at most.
const MAX_NAMED: usize = 24;
const MAX_NAME_CHARS: usize = 16;
/// Columns of a legend.
const LEGEND_COLUMNS: usize = 3;

/// What is known of each point.
#[derive(Debug, Clone, PartialEq)]
pub struct Coloring {
    /// What the groups are, such as `species`.
    pub name: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Group of each point; `None` is gray.
    pub of_point: Vec<Option<usize>>,
}

/// The same points, once for each colouring.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter<'a> {
    /// Above all panels.
    pub title: String,
    /// Horizontal and vertical place of each point.
    pub points: &'a [[f64; 2]],
    /// A panel each.
    pub colorings: &'a [Coloring],
}

/// From places to pixels within a panel, the same scale on both axes: distances are what a plane of embeddings shows.
struct Frame {
    middle: [f64; 2],
    pixels_per_unit: f64,
}

impl Scatter<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// No points or panels, places that are not finite, colourings of another number of points.
    pub fn picture(&self) -> Result<Picture, TrackError> {
        self.draw()?.into_picture()
    }

    fn draw(&self) -> Result<Canvas, TrackError> {
        let fail = |reason: String| TrackError::Picture { reason: format!("`{}`: {reason}", self.title) };
        let frame = Frame::around(self.points).ok_or_else(|| fail("no points in finite places".into()))?;
        if self.colorings.is_empty() {
            return Err(fail("nothing colours the points".into()));
        }
        if let Some(other) = self.colorings.iter().find(|panel| panel.of_point.len() != self.points.len()) {
            let (found, expected) = (other.of_point.len(), self.points.len());
            return Err(fail(format!("`{}` colours {found} of {expected} points", other.name)));
        }
        let legend_lines = self.colorings.iter().map(Coloring::legend_lines).max().unwrap_or(0);
        let top = 2 * MARGIN + 2 * LINE_HEIGHT + 6;
        let panels = self.colorings.len();
        let width = panels * (SIDE + MARGIN) + MARGIN;
        let height = top + SIDE + MARGIN + legend_lines * (LINE_HEIGHT + 2) + MARGIN;
        let mut canvas = Canvas::new(width.max(text_width(&self.title) + 2 * MARGIN), height, WHITE)?;
        canvas.text(MARGIN, MARGIN, Align::Left, &self.title, BLACK);
        for (number, coloring) in self.colorings.iter().enumerate() {
            let left = MARGIN + number * (SIDE + MARGIN);
            canvas.text(left, top - LINE_HEIGHT - 4, Align::Left, &coloring.heading(), GRAY);
            canvas.outline(Area { left, top, width: SIDE, height: SIDE }, LIGHT_GRAY);
            self.draw_points(&mut canvas, coloring, &frame, [left, top]);
            coloring.draw_legend(&mut canvas, left, top + SIDE + MARGIN);
        }
        Ok(canvas)
    }

    /// Points of all groups by turns, so that none hides another for its number.
    fn draw_points(&self, canvas: &mut Canvas, coloring: &Coloring, frame: &Frame, [left, top]: [usize; 2]) {
        let [large, small] = RADII;
        let radius = if self.points.len() < MANY { large } else { small };
        let mut seen = vec![0usize; coloring.groups.len() + 1];
        let turn = |(point, group): (usize, &Option<usize>)| {
            let count = seen.get_mut(group.map_or(0, |group| group + 1));
            let turn = count.map_or(0, |count| std::mem::replace(count, *count + 1));
            (turn, point, *group)
        };
        let mut order: Vec<(usize, usize, Option<usize>)> =
            coloring.of_point.iter().enumerate().map(turn).collect();
        order.sort_unstable_by_key(|(turn, point, _)| (*turn, *point));
        for (_, point, group) in order {
            let Some(place) = self.points.get(point) else { continue };
            let [x, y] = frame.pixel(*place);
            canvas.disc([left as f64 + x, top as f64 + y], radius, coloring.color(group));
        }
    }
}

impl Frame {
    fn around(points: &[[f64; 2]]) -> Option<Self> {
        if points.is_empty() || points.iter().flatten().any(|place| !place.is_finite()) {
            return None;
        }
        let range = |axis: usize| {
            let places = points.iter().filter_map(move |point| point.get(axis).copied());
            let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
                (low.min(place), high.max(place))
            });
            (low / 2.0 + high / 2.0, high - low)
        };
        let ((x, width), (y, height)) = (range(0), range(1));
        let span = width.max(height);
        let pixels_per_unit = if span > 0.0 { (SIDE - 2 * PADDING) as f64 / span } else { 0.0 };
        Some(Self { middle: [x, y], pixels_per_unit })
    }

    /// From the left and the top of a panel; the second coordinate goes up.
    fn pixel(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [middle_x, middle_y] = self.middle;
        let half = SIDE as f64 / 2.0;
        [half + (x - middle_x) * self.pixels_per_unit, half - (y - middle_y) * self.pixels_per_unit]
    }
}

impl Coloring {
    fn heading(&self) -> String {
        match self.is_named() {
            true => format!("by {}", self.name),
            false => format!("by {}, {} of them", self.name, self.groups.len()),
        }
    }

    /// Whether the legend names the groups; many have colours alone.
    fn is_named(&self) -> bool {
        self.groups.len() <= MAX_NAMED
    }

    fn legend_lines(&self) -> usize {
        if self.is_named() { self.groups.len().div_ceil(LEGEND_COLUMNS) } else { 0 }
    }

    /// Few groups have the colours of [`SERIES`](super::palette::SERIES) and their like, many those of a wheel.
    fn color(&self, group: Option<usize>) -> Rgb {
        group.map_or(LIGHT_GRAY, |group| wheel(group, self.groups.len()))
    }

    fn draw_legend(&self, canvas: &mut Canvas, left: usize, top: usize) {
        for (group, name) in self.groups.iter().enumerate().filter(|_| self.is_named()) {
            let x = left + (group % LEGEND_COLUMNS) * (SIDE / LEGEND_COLUMNS);
            let y = top + (group / LEGEND_COLUMNS) * (LINE_HEIGHT + 2);
            canvas.disc([x as f64 + 6.0, y as f64 + 8.5], 5.0, self.color(Some(group)));
            canvas.text(x + 18, y, Align::Left, &shortened(name, MAX_NAME_CHARS), BLACK);
        }
    }
}

impl Canvas {
    /// Draws a disc with a thin light edge, which keeps discs apart that lie over each other.
    fn disc(&mut self, [x, y]: [f64; 2], radius: f64, color: Rgb) {
        let edge = mix(color, WHITE, 0.75);
        let reach = radius + 1.0;
        let pixels = |middle: f64| {
            (middle - reach).floor().max(0.0) as usize..=(middle + reach).ceil().max(0.0) as usize
        };
        for row in pixels(y) {
            for column in pixels(x) {
                let distance = (column as f64 + 0.5 - x).hypot(row as f64 + 0.5 - y);
                let coverage = |radius: f64| ((radius - distance + 0.5).clamp(0.0, 1.0) * 255.0) as u8;
                self.blend(column, row, edge, coverage(radius));
                self.blend(column, row, color, coverage(radius - 1.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloring(groups: usize, of_point: &[Option<usize>]) -> Coloring {
        let groups = (0..groups).map(|group| format!("group {group}")).collect();
        Coloring { name: "class".into(), groups, of_point: of_point.to_vec() }
    }

    fn drawn(points: &[[f64; 2]], colorings: &[Coloring]) -> Canvas {
        Scatter { title: "plane".into(), points, colorings }.draw().unwrap()
    }

    /// Top left pixel of the panel of this number.
    fn corner(panel: usize) -> [usize; 2] {
        [MARGIN + panel * (SIDE + MARGIN), 2 * MARGIN + 2 * LINE_HEIGHT + 6]
    }

    #[test]
    fn points_are_where_their_numbers_say_and_have_the_colour_of_their_group() {
        let points = [[0.0, 0.0], [4.0, 2.0], [2.0, 1.0]];
        let panels = [coloring(2, &[Some(0), Some(1), None]), coloring(1, &[Some(0); 3])];
        let canvas = drawn(&points, &panels);
        let span = SIDE - 2 * PADDING;
        for (panel, coloring) in panels.iter().enumerate() {
            let [left, top] = corner(panel);
            // The wider axis fills the panel, the other one has the same scale about the middle; up is up.
            let at = [
                [left + PADDING, top + SIDE / 2 + span / 4],
                [left + SIDE - PADDING - 1, top + SIDE / 2 - span / 4],
                [left + SIDE / 2, top + SIDE / 2],
            ];
            for ([x, y], group) in at.into_iter().zip(&coloring.of_point) {
                assert_eq!(canvas.pixel(x, y), Some(coloring.color(*group)), "{panel} {group:?}");
            }
        }
    }

    #[test]
    fn one_point_and_points_in_one_place_are_in_the_middle() {
        for points in [vec![[7.0, -3.0]], vec![[1e300, -1e300]; 3]] {
            let panel = coloring(1, &vec![Some(0); points.len()]);
            let canvas = drawn(&points, std::slice::from_ref(&panel));
            let [left, top] = corner(0);
            assert_eq!(canvas.pixel(left + SIDE / 2, top + SIDE / 2), Some(panel.color(Some(0))));
        }
    }

    #[test]
    fn a_legend_names_few_groups_and_counts_many() {
        let few = coloring(10, &[Some(3)]);
        assert_eq!((few.heading().as_str(), few.legend_lines()), ("by class", 4));
        let many = coloring(70, &[Some(3)]);
        assert_eq!((many.heading().as_str(), many.legend_lines()), ("by class, 70 of them", 0));
        let colors: std::collections::BTreeSet<Rgb> = (0..10).map(|group| few.color(Some(group))).collect();
        assert_eq!(colors.len(), 10);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let panel = [coloring(1, &[Some(0)])];
        for (points, colorings) in [
            (&[][..], &panel[..]),
            (&[[f64::NAN, 0.0]], &panel),
            (&[[0.0, 0.0], [1.0, 1.0]], &panel),
            (&[[0.0, 0.0]], &[]),
        ] {
            assert!(Scatter { title: "plane".into(), points, colorings }.picture().is_err());
        }
    }
}
