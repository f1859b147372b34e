//! From a digit with its traits to pixels.

use std::f64::consts::TAU;

use super::super::dsp::Random;
use super::Traits;
use super::shapes::{Piece, strokes};

/// Pixels on a side.
pub const SIDE: usize = 28;
/// Side of the box that a digit fills, in pixels, as in MNIST.
const BOX: f64 = 18.0;
/// Widths of the strokes, in pixels.
const WIDTHS: [f64; 5] = [1.0, 1.7, 2.5, 3.4, 4.4];
/// Share by which a width varies within its class.
const WIDTH_JITTER: f64 = 0.06;
/// Angle between two points of an arc, in degrees: few where curves are to be straight, many otherwise.
const COARSE: f64 = 72.0;
const FINE: f64 = 12.0;
/// Distance of two points of a wobbly stroke, in pixels.
const SPACING: f64 = 0.5;

type Point = [f64; 2];
type Line = Vec<Point>;

/// Draws a digit; everything but its traits is random.
pub fn draw(traits: Traits, random: &mut Random) -> Vec<u8> {
    let variant = random.chance(0.3);
    let place = Placement::draw(random);
    let strokes = strokes(traits.digit, variant);
    let lines = strokes.iter().map(|stroke| {
        let line = match traits.smoothness {
            0 => outline(stroke, COARSE, 0.0, random),
            _ => {
                let bow = random.within([0.10, 0.18]) * if random.chance(0.5) { 1.0 } else { -1.0 };
                round(&outline(stroke, FINE, bow, random))
            }
        };
        let line: Line = line.into_iter().map(|point| place.pixel(point)).collect();
        if traits.smoothness == 2 { wobble(&line, random) } else { line }
    });
    let lines: Vec<Line> = lines.collect();
    let width = WIDTHS[usize::from(traits.thickness).min(WIDTHS.len() - 1)];
    render(&lines, width * (1.0 + random.within([-WIDTH_JITTER, WIDTH_JITTER])))
}

/// Where a digit stands: a linear map and a shift.
struct Placement {
    matrix: [[f64; 2]; 2],
    shift: Point,
}

impl Placement {
    fn draw(random: &mut Random) -> Self {
        let angle = random.within([-0.16, 0.16]);
        let shear = random.within([-0.18, 0.18]);
        let [wide, high] = [random.within([0.82, 1.0]), random.within([0.88, 1.0])].map(|share| share * BOX);
        let (sin, cos) = angle.sin_cos();
        let centre = SIDE as f64 / 2.0;
        Self {
            matrix: [[cos * wide, (cos * shear - sin) * high], [sin * wide, (sin * shear + cos) * high]],
            shift: [centre + random.within([-1.2, 1.2]), centre + random.within([-1.2, 1.2])],
        }
    }

    fn pixel(&self, [x, y]: Point) -> Point {
        let (x, y) = (x - 0.5, y - 0.5);
        let [row0, row1] = self.matrix;
        [row0[0] * x + row0[1] * y + self.shift[0], row1[0] * x + row1[1] * y + self.shift[1]]
    }
}

/// Points of a stroke. Straight pieces are bent by `bow` of their length. Every point is displaced a little.
fn outline(stroke: &[Piece], degrees: f64, bow: f64, random: &mut Random) -> Line {
    let mut line: Line = Vec::new();
    for piece in stroke {
        match *piece {
            Piece::To(to) => {
                if let Some(&from) = line.last().filter(|_| bow != 0.0) {
                    let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
                    for t in [0.25, 0.5, 0.75] {
                        // A parabola whose top is `bow` of the length beside the middle.
                        let side = 4.0 * bow * t * (1.0 - t);
                        line.push([from[0] + t * dx - side * dy, from[1] + t * dy + side * dx]);
                    }
                }
                line.push(to);
            }
            Piece::Arc(centre, radii, [from, to]) => {
                let num = ((to - from).abs() / degrees).ceil().max(1.0) as usize;
                for i in 0..=num {
                    let (sin, cos) = (from + (to - from) * i as f64 / num as f64).to_radians().sin_cos();
                    line.push([centre[0] + radii[0] * cos, centre[1] + radii[1] * sin]);
                }
            }
        }
    }
    let is_closed = line.first().zip(line.last()).is_some_and(|(a, b)| distance(*a, *b) < 1e-9);
    // Neighbours move together where they are close, so that a curve stays one.
    let drift = [(); 2].map(|()| [random.within([-0.03, 0.03]), random.within([0.0, TAU])]);
    for [x, y] in &mut line {
        let (old_x, old_y) = (*x, *y);
        *x += drift[0][0] * (TAU * old_y + drift[0][1]).sin();
        *y += drift[1][0] * (TAU * old_x + drift[1][1]).sin();
    }
    if is_closed && let Some(&first) = line.first() {
        line.push(first);
    }
    line
}

/// Cuts corners twice (Chaikin 1974); the ends stay.
fn round(line: &[Point]) -> Line {
    let cut = |line: &[Point]| -> Line {
        let between = |a: Point, b: Point, t: f64| [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
        let corners = line
            .windows(2)
            .flat_map(|pair| [between(pair[0], pair[1], 0.25), between(pair[0], pair[1], 0.75)]);
        line.first().copied().into_iter().chain(corners).chain(line.last().copied()).collect()
    };
    cut(&cut(line))
}

/// Adds waves across a stroke.
fn wobble(line: &[Point], random: &mut Random) -> Line {
    let amplitude = random.within([0.75, 1.05]);
    let wave_len = random.within([3.6, 4.8]);
    let phase = random.within([0.0, TAU]);
    let mut along = 0.0;
    let mut waves = Vec::new();
    for pair in line.windows(2) {
        let ([ax, ay], [bx, by]) = (pair[0], pair[1]);
        let len = distance(pair[0], pair[1]);
        let num = (len / SPACING).ceil().max(1.0);
        for i in 0..num as usize {
            let t = i as f64 / num;
            let side = amplitude * (TAU * (along + t * len) / wave_len + phase).sin() / len.max(1e-9);
            waves.push([ax + t * (bx - ax) - side * (by - ay), ay + t * (by - ay) + side * (bx - ax)]);
        }
        along += len;
    }
    waves
}

/// Shades each pixel by its distance from the nearest stroke.
fn render(lines: &[Line], width: f64) -> Vec<u8> {
    let mut nearest = vec![f64::INFINITY; SIDE * SIDE];
    let reach = width / 2.0 + 1.0;
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        let (a, b) = (pair[0], pair[1]);
        let range = |axis: usize| {
            let (low, high) = (a[axis].min(b[axis]) - reach, a[axis].max(b[axis]) + reach);
            (low.max(0.0) as usize)..(high.max(0.0).ceil() as usize).min(SIDE)
        };
        for row in range(1) {
            for column in range(0) {
                let squared = squared_distance([column as f64 + 0.5, row as f64 + 0.5], a, b);
                let old = &mut nearest[row * SIDE + column];
                *old = old.min(squared);
            }
        }
    }
    let shade = |squared: f64| (255.0 * (width / 2.0 + 0.5 - squared.sqrt()).clamp(0.0, 1.0)) as u8;
    nearest.into_iter().map(shade).collect()
}

fn distance(a: Point, b: Point) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// From a point to the segment from `a` to `b`.
fn squared_distance(point: Point, a: Point, b: Point) -> f64 {
    let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    let [px, py] = [point[0] - a[0], point[1] - a[1]];
    let t = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-12)).clamp(0.0, 1.0);
    (px - t * dx).powi(2) + (py - t * dy).powi(2)
}
