//! `dtrain data`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::ConfigDir;

/// What can be typed after `dtrain data`.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Generate recordings (birdsong, spoken-digits, environmental-sounds, machine-sounds) or images (digits, vimh, cifar10,
    /// cifar100mh, images, confounded-mnist)
    #[command(after_help = "\
Examples:
  dtrain data make birdsong --out data/birdsong --seed 1
  dtrain data make confounded-mnist --variant decoy --out data/decoy")]
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
        /// confounded-mnist: what tells the class in training (default: 08)
        #[arg(long, value_enum, value_name = "NAME")]
        variant: Option<Confounder>,
        /// confounded-mnist: folder with MNIST's files (default: drawn digits)
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
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
    /// Look at a set of images: shape, heads, samples of each class, bad samples; or at the views that a run would see
    #[command(after_help = "\
Reads all labels, and the pixels of the samples in the picture. Exit code 2: the set cannot be opened or has bad samples,
which are named.

Examples:
  dtrain data inspect data/mnist
  dtrain data inspect data/digits --json digits.json --pictures pictures --samples 48 --seed 1
  dtrain data inspect --views pictures experiment=simclr_cifar10 augment=image_byol --samples 8")]
    Inspect(InspectArgs),
}

/// What can be typed after `dtrain data inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the set: IDX, CIFAR-10, CIFAR-100, VIMH or CIFAR-100-MH; with `--views` settings, as for `dtrain train`
    #[arg(value_name = "DATA|KEY=VALUE", required_unless_present = "views")]
    pub words: Vec<String>,
    /// Write `views.png` there, recordings or images as a network sees them in training: a row per sample, a column per view
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "pictures"])]
    pub views: Option<PathBuf>,
    /// Write all that was found there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write `samples.png` and `histograms.png` there; the folder is made where it is missing
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
    /// Samples in the picture
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub samples: u32,
    /// The same seed shows the same samples
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

impl InspectArgs {
    /// The one folder; or what is wrong with the words, and the next step.
    pub fn folder(&self) -> Result<&Path, (String, String)> {
        match self.words.as_slice() {
            [folder] => Ok(Path::new(folder)),
            words => {
                let message =
                    format!("`dtrain data inspect` looks at one folder, and {} were given", words.len());
                Err((message, "settings go with `--views DIR`".to_owned()))
            }
        }
    }
}

/// What tells the class of confounded digits in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Confounder {
    /// Zeros and eights; single white dots on each eight.
    #[value(name = "08")]
    Dots08,
    /// The grey of a patch in a corner (Ross et al. 2017).
    Decoy,
    /// Three dots in the top left corner of most eights.
    Dots,
}

/// Generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generator {
    /// Species with their own syllables; every recording has its own hum, noise, microphone and gain.
    Birdsong,
    /// Digits in the layout of the Free Spoken Digit Dataset.
    SpokenDigits,
    /// Ten classes of sounds in the layout of ESC-50.
    EnvironmentalSounds,
    /// Machines of one type, each with its own hum and noise, and recordings with known faults, in the layout of MIMII.
    MachineSounds,
    /// Drawn digits in the files of MNIST, with thickness and smoothness.
    Digits,
    /// Spectrograms of struck resonators as VIMH, with note, velocity and decay.
    Vimh,
    /// Drawn objects in the files of CIFAR-10.
    Cifar10,
    /// Drawn objects in the files of CIFAR-100-MH, with class, color and size.
    Cifar100mh,
    /// Digits with something that tells the class in training only, and masks that mark it.
    ConfoundedMnist,
    /// Drawn scenes in JPEG, PNG and WebP files of many sizes, in ImageNet's folders.
    Images,
}
