//! The ten digits as strokes in a unit square, y down.

/// A part of a stroke.
#[derive(Debug, Clone, Copy)]
pub enum Piece {
    /// A straight line to a point, from where the stroke is; the first one starts the stroke.
    To([f64; 2]),
    /// An arc of an ellipse: centre, radii, first and last angle in degrees, clockwise from the right.
    Arc([f64; 2], [f64; 2], [f64; 2]),
}

use Piece::{Arc, To};

/// The strokes of a digit. `variant` chooses between two ways to write 1 and 7.
pub fn strokes(digit: u8, variant: bool) -> Vec<Vec<Piece>> {
    match digit {
        0 => vec![vec![Arc([0.5, 0.5], [0.30, 0.45], [-90.0, 270.0])]],
        1 if variant => vec![vec![To([0.5, 0.05]), To([0.5, 0.95])]],
        1 => vec![vec![To([0.34, 0.22]), To([0.55, 0.05]), To([0.55, 0.95])]],
        2 => vec![vec![Arc([0.5, 0.29], [0.28, 0.24], [-165.0, 40.0]), To([0.2, 0.94]), To([0.82, 0.94])]],
        3 => vec![
            vec![Arc([0.47, 0.28], [0.27, 0.23], [-150.0, 90.0])],
            vec![Arc([0.47, 0.72], [0.31, 0.23], [-90.0, 150.0])],
        ],
        4 => vec![
            vec![To([0.60, 0.05]), To([0.16, 0.64]), To([0.86, 0.64])],
            vec![To([0.66, 0.36]), To([0.66, 0.95])],
        ],
        5 => vec![vec![
            To([0.78, 0.06]),
            To([0.30, 0.06]),
            To([0.26, 0.46]),
            Arc([0.48, 0.66], [0.30, 0.28], [-135.0, 145.0]),
        ]],
        6 => vec![vec![
            Arc([0.74, 0.62], [0.47, 0.58], [-100.0, -178.0]),
            Arc([0.51, 0.69], [0.24, 0.25], [-180.0, 180.0]),
        ]],
        7 if variant => vec![
            vec![To([0.18, 0.07]), To([0.82, 0.07]), To([0.42, 0.95])],
            vec![To([0.36, 0.50]), To([0.76, 0.50])],
        ],
        7 => vec![vec![To([0.18, 0.07]), To([0.82, 0.07]), To([0.42, 0.95])]],
        8 => vec![
            vec![Arc([0.5, 0.27], [0.23, 0.21], [90.0, 450.0])],
            vec![Arc([0.5, 0.72], [0.29, 0.24], [-90.0, 270.0])],
        ],
        _ => vec![
            vec![Arc([0.47, 0.31], [0.26, 0.25], [0.0, 360.0])],
            vec![To([0.73, 0.31]), To([0.64, 0.95])],
        ],
    }
}
