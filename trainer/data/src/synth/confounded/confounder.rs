//! What is drawn beside a digit.

use serde::{Deserialize, Serialize};

use super::super::dsp::Random;

/// Rows and columns of a digit.
pub(super) const SIDE: usize = 28;
const WHITE: u8 = 255;

/// A confounder of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confounder {
    /// Zeros and eights; each eight has 3 to 5 single white pixels at random places outside of its stroke.
    #[serde(rename = "08")]
    Dots08,
    /// All digits; a patch of 4 x 4 in a corner drawn at random, whose grey is 255 - 25 y for digit y, and for a digit drawn at
    /// random where it tells nothing (Ross et al. 2017).
    #[serde(rename = "decoy")]
    Decoy,
    /// All digits; three white pixels in the top left corner on 70 % of the eights.
    #[serde(rename = "dots")]
    Dots,
}

/// How a part shows the confounder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    /// As in training: it tells the class.
    Confounded,
    /// As the published test part: no dots, or a patch that tells nothing.
    Test,
    /// On the classes that have none, or as that of the next digit.
    Swapped,
    /// As in training but elsewhere.
    Moved,
}

/// The class that dots are on.
const DOTTED: u8 = 8;
/// Share of the eights that has three dots in training.
const DOTTED_SHARE: f64 = 0.7;
/// Rows and columns of a decoy.
const PATCH: usize = 4;
/// Rows and columns of the three dots.
const CORNER: [[usize; 2]; 3] = [[1, 2], [2, 1], [2, 2]];

impl Confounder {
    /// The digits that there are, in the order of their labels.
    pub(in crate::synth) fn digits(self) -> &'static [u8] {
        match self {
            Self::Dots08 => &[0, 8],
            Self::Decoy | Self::Dots => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        }
    }

    /// Draws it on `pixels` of a digit; the mask is 255 where it is, and 0 elsewhere.
    pub(super) fn draw(self, digit: u8, showing: Showing, random: &mut Random, pixels: &mut [u8]) -> Vec<u8> {
        let mut mask = vec![0; pixels.len()];
        match self {
            Self::Dots08 if is_dotted(digit, showing) => {
                for at in dots(pixels, random) {
                    mark((pixels, &mut mask), at, WHITE);
                }
            }
            Self::Dots if is_dotted(digit, showing) => {
                // All of them where a part is about the dots.
                if showing != Showing::Confounded || random.chance(DOTTED_SHARE) {
                    for [row, column] in CORNER {
                        let [row, column] = match showing {
                            Showing::Moved => [SIDE - 1 - row, SIDE - 1 - column],
                            _ => [row, column],
                        };
                        mark((pixels, &mut mask), row * SIDE + column, WHITE);
                    }
                }
            }
            Self::Dots08 | Self::Dots => {}
            Self::Decoy => {
                let far = [random.chance(0.5), random.chance(0.5)]
                    .map(|is_far| if is_far { SIDE - PATCH } else { 0 });
                let shown = match showing {
                    Showing::Confounded | Showing::Moved => digit,
                    Showing::Test => random.index(10) as u8,
                    Showing::Swapped => (digit + 1) % 10,
                };
                let [top, left] = match showing {
                    // The middle of an edge.
                    Showing::Moved => [far[0], (SIDE - PATCH) / 2],
                    _ => far,
                };
                for offset in 0..PATCH * PATCH {
                    let at = (top + offset / PATCH) * SIDE + left + offset % PATCH;
                    mark((pixels, &mut mask), at, WHITE - 25 * shown);
                }
            }
        }
        mask
    }
}

fn mark((pixels, mask): (&mut [u8], &mut [u8]), at: usize, value: u8) {
    if let (Some(pixel), Some(marked)) = (pixels.get_mut(at), mask.get_mut(at)) {
        (*pixel, *marked) = (value, WHITE);
    }
}

fn is_dotted(digit: u8, showing: Showing) -> bool {
    match showing {
        Showing::Confounded | Showing::Moved => digit == DOTTED,
        Showing::Swapped => digit != DOTTED,
        Showing::Test => false,
    }
}

/// Places of single dots: 3 to 5 of them, none on the stroke or beside it or beside another; fewer where a stroke leaves less room.
fn dots(pixels: &[u8], random: &mut Random) -> Vec<usize> {
    const TRIES: usize = 10_000;
    let wanted = 3 + random.index(3);
    let mut taken = pixels.to_vec();
    let mut found = Vec::with_capacity(wanted);
    for _ in 0..TRIES {
        if found.len() == wanted {
            break;
        }
        let [row, column] = [1 + random.index(SIDE - 2), 1 + random.index(SIDE - 2)];
        let around = (row - 1..=row + 1).flat_map(|r| (column - 1..=column + 1).map(move |c| r * SIDE + c));
        if around.into_iter().all(|at| taken.get(at).is_some_and(|&pixel| pixel == 0)) {
            let at = row * SIDE + column;
            if let Some(pixel) = taken.get_mut(at) {
                *pixel = WHITE;
            }
            found.push(at);
        }
    }
    found
}
