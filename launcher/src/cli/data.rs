//! `dtrain data`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What can be typed after `dtrain data`.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Generate recordings (birdsong, spoken-digits) or images (digits, vimh, cifar10, cifar100mh)
    #[command(after_help = "\
Example:
  dtrain data make birdsong --out data/birdsong --seed 1")]
    Make {
        /// Which generator.
        #[arg(value_enum)]
        kind: Generator,
        /// Folder to write (default: data/NAME)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// The same seed gives the same bytes
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Size, as a factor of the default
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
    },
    /// Write a set of images in another format as VIMH, for instance CIFAR-100-MH
    #[command(after_help = "\
Examples:
  dtrain data convert data/cifar100mh data/vimh-32x32x3_cifar100mh")]
    Convert {
        /// Folder of the set.
        source: PathBuf,
        /// Folder to write.
        out: PathBuf,
    },
}

/// Generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generator {
    /// Species with their own syllables; every recording has its own hum, noise, microphone and gain.
    Birdsong,
    /// Digits in the layout of the Free Spoken Digit Dataset.
    SpokenDigits,
    /// Drawn digits in the files of MNIST, with thickness and smoothness.
    Digits,
    /// Spectrograms of struck resonators as VIMH, with note, velocity and decay.
    Vimh,
    /// Drawn objects in the files of CIFAR-10.
    Cifar10,
    /// Drawn objects in the files of CIFAR-100-MH, with class, color and size.
    Cifar100mh,
}
