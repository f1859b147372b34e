//! What can be measured of a sample as it is stored, besides what a table says of it: the level of a recording, the brightness
//! of an image. Nothing is trained on it; an audit of embeddings asks what they know of it.

mod image;
mod sound;

pub(crate) use image::{OF_AN_IMAGE, of_image};
pub(crate) use sound::{OF_A_RECORDING, of_recording};
