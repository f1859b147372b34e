//! What an object looks like: pieces within -1..1, x to the right and y downwards, later ones in front.

/// A point.
pub type Point = [f64; 2];

/// A shade of the object's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// The colour itself.
    Body,
    /// Mixed with white.
    Light,
    /// Mixed with black.
    Dark,
}

/// A part of an object.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// Centre and radii.
    Ellipse(Point, Point),
    /// Ends and half the width.
    Bar(Point, Point, f64),
    /// Corners.
    Polygon(&'static [Point]),
}

use Form::{Bar, Ellipse, Polygon};
use Tone::{Body, Dark, Light};

/// The pieces of one object.
pub type Shape = &'static [(Tone, Form)];

/// The classes of CIFAR-10, in its order.
pub const SHAPES: [(&str, Shape); 10] = [
    ("airplane", AIRPLANE),
    ("automobile", AUTOMOBILE),
    ("bird", BIRD),
    ("cat", CAT),
    ("deer", DEER),
    ("dog", DOG),
    ("frog", FROG),
    ("horse", HORSE),
    ("ship", SHIP),
    ("truck", TRUCK),
];

const AIRPLANE: Shape = &[
    (Dark, Polygon(&[[0.3, 0.0], [-0.15, -0.9], [-0.4, -0.9], [-0.15, 0.0], [-0.4, 0.9], [-0.15, 0.9]])),
    (Dark, Polygon(&[[-0.65, 0.0], [-0.9, -0.4], [-1.0, -0.4], [-0.9, 0.0], [-1.0, 0.4], [-0.9, 0.4]])),
    (Body, Ellipse([0.0, 0.0], [0.98, 0.16])),
    (Light, Ellipse([0.72, 0.0], [0.14, 0.08])),
];

const AUTOMOBILE: Shape = &[
    (Body, Polygon(&[[-0.6, 0.05], [-0.38, -0.42], [0.35, -0.42], [0.62, 0.05]])),
    (Body, Polygon(&[[-0.95, 0.02], [0.85, 0.02], [0.98, 0.4], [-0.95, 0.4]])),
    (Light, Polygon(&[[-0.44, 0.0], [-0.3, -0.31], [0.28, -0.31], [0.46, 0.0]])),
    (Dark, Ellipse([-0.52, 0.42], [0.22, 0.22])),
    (Dark, Ellipse([0.52, 0.42], [0.22, 0.22])),
];

const BIRD: Shape = &[
    (Dark, Bar([-0.1, 0.3], [-0.1, 0.78], 0.05)),
    (Dark, Bar([0.15, 0.3], [0.15, 0.78], 0.05)),
    (Dark, Polygon(&[[-0.4, -0.1], [-1.0, -0.38], [-0.9, 0.12]])),
    (Light, Polygon(&[[0.75, -0.45], [1.0, -0.3], [0.75, -0.2]])),
    (Body, Ellipse([0.0, 0.05], [0.62, 0.36])),
    (Body, Ellipse([0.56, -0.32], [0.27, 0.27])),
    (Dark, Ellipse([-0.12, -0.02], [0.36, 0.17])),
];

const CAT: Shape = &[
    (Body, Polygon(&[[-0.72, 0.1], [-0.68, -0.9], [-0.1, -0.35]])),
    (Body, Polygon(&[[0.72, 0.1], [0.68, -0.9], [0.1, -0.35]])),
    (Body, Ellipse([0.0, 0.2], [0.74, 0.62])),
    (Dark, Bar([-0.2, 0.38], [-0.95, 0.28], 0.03)),
    (Dark, Bar([0.2, 0.38], [0.95, 0.28], 0.03)),
    (Light, Ellipse([-0.3, 0.06], [0.15, 0.12])),
    (Light, Ellipse([0.3, 0.06], [0.15, 0.12])),
    (Dark, Polygon(&[[-0.1, 0.32], [0.1, 0.32], [0.0, 0.46]])),
];

const DEER: Shape = &[
    (Dark, Bar([0.52, -0.42], [0.28, -0.95], 0.05)),
    (Dark, Bar([0.42, -0.65], [0.12, -0.75], 0.05)),
    (Dark, Bar([0.6, -0.45], [0.76, -0.95], 0.05)),
    (Dark, Bar([0.68, -0.7], [0.96, -0.82], 0.05)),
    (Body, Bar([-0.55, 0.25], [-0.6, 0.95], 0.06)),
    (Body, Bar([-0.38, 0.3], [-0.36, 0.95], 0.06)),
    (Body, Bar([0.12, 0.3], [0.1, 0.95], 0.06)),
    (Body, Bar([0.28, 0.25], [0.33, 0.95], 0.06)),
    (Body, Bar([0.18, 0.12], [0.52, -0.3], 0.12)),
    (Body, Ellipse([-0.15, 0.22], [0.55, 0.22])),
    (Body, Ellipse([0.64, -0.36], [0.24, 0.13])),
    (Light, Ellipse([-0.66, 0.12], [0.1, 0.1])),
];

const DOG: Shape = &[
    (Body, Ellipse([0.0, 0.05], [0.56, 0.74])),
    (Dark, Ellipse([-0.66, 0.1], [0.22, 0.6])),
    (Dark, Ellipse([0.66, 0.1], [0.22, 0.6])),
    (Light, Ellipse([0.0, 0.42], [0.32, 0.26])),
    (Light, Ellipse([-0.23, -0.18], [0.11, 0.11])),
    (Light, Ellipse([0.23, -0.18], [0.11, 0.11])),
    (Dark, Ellipse([0.0, 0.3], [0.13, 0.09])),
];

const FROG: Shape = &[
    (Dark, Ellipse([-0.72, 0.62], [0.28, 0.16])),
    (Dark, Ellipse([0.72, 0.62], [0.28, 0.16])),
    (Body, Ellipse([-0.4, -0.2], [0.25, 0.25])),
    (Body, Ellipse([0.4, -0.2], [0.25, 0.25])),
    (Body, Ellipse([0.0, 0.28], [0.82, 0.44])),
    (Light, Ellipse([-0.4, -0.24], [0.13, 0.13])),
    (Light, Ellipse([0.4, -0.24], [0.13, 0.13])),
    (Dark, Bar([-0.45, 0.3], [0.45, 0.3], 0.04)),
];

const HORSE: Shape = &[
    (Dark, Bar([-0.62, -0.1], [-0.92, 0.45], 0.09)),
    (Body, Bar([-0.5, 0.1], [-0.56, 0.92], 0.09)),
    (Body, Bar([-0.26, 0.15], [-0.24, 0.92], 0.09)),
    (Body, Bar([0.2, 0.15], [0.18, 0.92], 0.09)),
    (Body, Bar([0.4, 0.1], [0.46, 0.92], 0.09)),
    (Dark, Bar([0.24, -0.25], [0.5, -0.82], 0.1)),
    (Body, Bar([0.34, -0.05], [0.6, -0.62], 0.18)),
    (Body, Bar([0.6, -0.68], [0.9, -0.42], 0.13)),
    (Body, Ellipse([-0.08, 0.02], [0.62, 0.29])),
];

const SHIP: Shape = &[
    (Dark, Bar([0.0, 0.3], [0.0, -0.92], 0.05)),
    (Light, Polygon(&[[0.09, -0.88], [0.09, 0.15], [0.8, 0.15]])),
    (Body, Polygon(&[[-0.09, -0.7], [-0.09, 0.15], [-0.6, 0.15]])),
    (Body, Polygon(&[[-0.98, 0.25], [0.98, 0.25], [0.62, 0.75], [-0.68, 0.75]])),
];

const TRUCK: Shape = &[
    (Body, Polygon(&[[-0.97, -0.62], [0.34, -0.62], [0.34, 0.42], [-0.97, 0.42]])),
    (Dark, Polygon(&[[0.38, -0.25], [0.72, -0.25], [0.97, 0.08], [0.97, 0.42], [0.38, 0.42]])),
    (Light, Polygon(&[[0.5, -0.14], [0.67, -0.14], [0.82, 0.08], [0.5, 0.08]])),
    (Dark, Ellipse([-0.66, 0.47], [0.2, 0.2])),
    (Dark, Ellipse([-0.2, 0.47], [0.2, 0.2])),
    (Dark, Ellipse([0.66, 0.47], [0.2, 0.2])),
];

impl Form {
    /// Whether a point is inside.
    pub fn holds(&self, [x, y]: Point) -> bool {
        match *self {
            Ellipse(centre, radii) => {
                ((x - centre[0]) / radii[0]).powi(2) + ((y - centre[1]) / radii[1]).powi(2) <= 1.0
            }
            Bar(a, b, half_width) => {
                let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
                let t = ((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy).max(1e-12);
                let t = t.clamp(0.0, 1.0);
                (x - a[0] - t * dx).powi(2) + (y - a[1] - t * dy).powi(2) <= half_width * half_width
            }
            Polygon(corners) => {
                let ends = corners.iter().cycle().skip(1);
                // A ray to the right crosses the outline an odd number of times.
                let crossed = corners.iter().zip(ends).filter(|(a, b)| {
                    (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
                });
                crossed.count() % 2 == 1
            }
        }
    }
}
