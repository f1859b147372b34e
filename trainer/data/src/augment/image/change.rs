//! The changes of a view after its crop: which there are, what each draws for a view, and what that does.
//!
//! What was drawn stands apart from what it does to pixels, so that pixels may also be changed elsewhere: written as numbers
//! ([`ImageChange::write`]), it tells whoever has whole batches as tensors.

use super::blur::{Blur, blur};
use super::flip::{Flip, flip};
use super::grayscale::Grayscale;
use super::jitter::{Change, Jitter, NUM_CHANGES};
use super::solarize::{Solarize, solarize};
use super::{Image, colour};
use crate::rng::ViewKey;

/// A random change of views.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageChange {
    /// Mirroring.
    Flip(Flip),
    /// Brightness, contrast, saturation and hue.
    Jitter(Jitter),
    /// Loss of colours.
    Grayscale(Grayscale),
    /// Gaussian blur.
    Blur(Blur),
    /// Inversion of bright pixels.
    Solarize(Solarize),
}

/// A change that was drawn for a view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DrawnChange {
    /// Mirrored.
    Flip,
    /// These, in this order.
    Jitter([Change; NUM_CHANGES]),
    /// Without colours.
    Grayscale,
    /// Blurred.
    Blur {
        /// Standard deviation in pixels.
        sigma: f64,
        /// Pixels that it reaches in each direction.
        radius: usize,
    },
    /// Inverted.
    Solarize {
        /// From this pixel on.
        threshold: f32,
    },
}

impl ImageChange {
    /// What is drawn for the view that `key` names, the one of number `index` in its group; `None`: the view stays as it is.
    pub fn draw(&self, key: &ViewKey, index: u32) -> Option<DrawnChange> {
        match self {
            Self::Flip(flip) => flip.draw(key).then_some(DrawnChange::Flip),
            Self::Jitter(jitter) => jitter.draw_for(key).map(DrawnChange::Jitter),
            Self::Grayscale(grayscale) => grayscale.draw(key).then_some(DrawnChange::Grayscale),
            Self::Blur(blur) => {
                blur.draw(key, index).map(|sigma| DrawnChange::Blur { sigma, radius: blur.radius })
            }
            Self::Solarize(solarize) => {
                let threshold = solarize.threshold;
                solarize.draw(key, index).then_some(DrawnChange::Solarize { threshold })
            }
        }
    }

    /// Numbers that tell what was drawn; see [`Self::write`].
    pub fn num_parameters(&self) -> usize {
        match self {
            Self::Flip(_) | Self::Grayscale(_) | Self::Solarize(_) => 1,
            Self::Blur(_) => 2,
            Self::Jitter(_) => 1 + 2 * NUM_CHANGES,
        }
    }

    /// Writes what was drawn as numbers. The first is 1 where the change was drawn, else all are 0. Further ones: of a jitter, for
    /// each of its changes in their order which one it is ([`Change::numbered`]) and its factor or shift; of a blur, its
    /// standard deviation.
    pub fn write(&self, drawn: Option<DrawnChange>, out: &mut [f32]) {
        out.fill(0.0);
        let Some((is_drawn, rest)) = out.split_first_mut().filter(|_| drawn.is_some()) else { return };
        *is_drawn = 1.0;
        match drawn {
            Some(DrawnChange::Jitter(changes)) => {
                for (pair, change) in rest.chunks_exact_mut(2).zip(changes) {
                    let (number, value) = change.numbered();
                    pair.copy_from_slice(&[number as f32, value]);
                }
            }
            Some(DrawnChange::Blur { sigma, .. }) => rest.fill(sigma as f32),
            _ => {}
        }
    }
}

impl DrawnChange {
    /// Makes the change.
    pub fn make(self, view: &mut Image<'_>) {
        match self {
            Self::Flip => flip(view),
            Self::Jitter(changes) => {
                let num_channels = view.planes().count();
                changes.into_iter().for_each(|change| change.make(view.pixels, num_channels));
            }
            Self::Grayscale => {
                let is_rgb = view.planes().count() == 3;
                colour::grayscale(view.pixels, is_rgb);
            }
            Self::Blur { sigma, radius } => blur(view, sigma, radius),
            Self::Solarize { threshold } => solarize(view.pixels, threshold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_written_as_numbers() {
        let jitter = ImageChange::Jitter(Jitter {
            probability: 1.0,
            brightness: 0.5,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.25,
        });
        let mut numbers = vec![7.0; jitter.num_parameters()];
        let changes =
            [Change::Hue(-0.25), Change::Brightness(1.5), Change::Saturation(1.0), Change::Contrast(0.5)];
        jitter.write(Some(DrawnChange::Jitter(changes)), &mut numbers);
        assert_eq!(numbers, [1.0, 3.0, -0.25, 0.0, 1.5, 2.0, 1.0, 1.0, 0.5]);
        jitter.write(None, &mut numbers);
        assert_eq!(numbers, [0.0; 9]);

        let blur = ImageChange::Blur(Blur { probability: 1.0.into(), sigma: [0.5, 0.5], radius: 2 });
        let key = ViewKey { seed: 0, epoch: 0, sample_id: 0, view: 0 };
        let drawn = blur.draw(&key, 0);
        assert_eq!(drawn, Some(DrawnChange::Blur { sigma: 0.5, radius: 2 }));
        let mut numbers = [7.0; 2];
        blur.write(drawn, &mut numbers);
        assert_eq!(numbers, [1.0, 0.5]);
    }
}
