//! What a sweep runs: a study in stages, as a YAML file or as words of a command line.
//!
//! ```
//! use dtrain_configs::sweep::Study;
//!
//! let words = ["experiment=supcon_fsdd", "optimizer.lr=1e-3,1e-4", "seed=range(5)"].map(String::from);
//! let study = Study::from_words(&words, None, 0)?;
//! assert_eq!(study.settings, ["experiment=supcon_fsdd"]);
//! assert_eq!(study.stages[0].combinations().len(), 10);
//! # Ok::<(), dtrain_configs::ConfigErrors>(())
//! ```
//!
//! The grammar of values is in [`values`], that of files in [`read`], which combinations a stage has in [`expand`], names of
//! trials in [`name`].

pub mod expand;
pub mod name;
pub mod read;
mod sequence;
pub mod values;

use crate::schema::MonitorMode;
pub use expand::Combination;
pub use name::Template;
pub use values::Values;

/// Stages, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Settings of all trials.
    pub settings: Vec<String>,
    /// The metric by which trials are compared; `None`: the settings' own `optimized_metric`.
    pub optimize: Option<String>,
    /// Which way it is better; `None`: by its name.
    pub direction: Option<MonitorMode>,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// Trials that may run side by side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stage {
    /// Unique in the study.
    pub name: String,
    /// Settings of all trials of the stage, behind those of the study.
    pub settings: Vec<String>,
    /// Values that an earlier stage has found best.
    pub take: Vec<Take>,
    /// Groups of settings that belong together; each combination has one of them. Empty: none has any.
    pub runs: Vec<Vec<(String, String)>>,
    /// Settings that vary by themselves.
    pub axes: Vec<Axis>,
    /// Points of the search over those axes that are ranges of numbers.
    pub search: Option<Search>,
    /// Settings that only some combinations have.
    pub conditions: Vec<Condition>,
    /// What trials are called; `None`: by their number.
    pub trial_name: Option<Template>,
    /// Whether trials that lag behind are stopped.
    pub halving: Option<Halving>,
}

/// A setting that varies.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Dotted key or name of a group.
    pub key: String,
    /// What it can be.
    pub values: Values,
}

/// A value of an earlier stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Dotted key or name of a group.
    pub key: String,
    /// The stage.
    pub stage: String,
    /// Not a value but the folder of its best trial's run, such as for `init_from`.
    pub folder: bool,
}

/// Points that fill a space evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// How many.
    pub trials: usize,
    /// Moves all of them.
    pub seed: u64,
}

/// A setting is there only where another one has one of these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is left out elsewhere.
    pub key: String,
    /// What it depends on.
    pub on: String,
    /// Values of `on` with which it is there.
    pub values: Vec<String>,
}

/// Successive halving in its stopping form (ASHA, Li et al. 2020, <https://arxiv.org/abs/1810.05934>): a trial that reaches a
/// rung goes on if it is among the best 1 / `reduction` of those that have reached it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Halving {
    /// By how much each rung thins out.
    pub reduction: u32,
    /// The first rung, as a part of the full length.
    pub first: f64,
}

impl Default for Halving {
    fn default() -> Self {
        Self { reduction: 4, first: 1.0 / 16.0 }
    }
}

impl Halving {
    /// Epochs after which a trial of `max_epochs` is judged: multiples of `every`, between which nothing is measured.
    pub fn rungs(&self, max_epochs: u64, every: u64) -> Vec<u64> {
        let every = every.max(1);
        let mut rungs = Vec::new();
        let mut part = self.first;
        while part < 1.0 {
            let epochs = (max_epochs as f64 * part).ceil() as u64;
            let rung = epochs.max(1).div_ceil(every) * every;
            if rung < max_epochs && rungs.last() != Some(&rung) {
                rungs.push(rung);
            }
            part *= f64::from(self.reduction.max(2));
        }
        rungs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_epochs_with_a_measurement() {
        let halving = Halving::default();
        assert_eq!(halving.rungs(16, 1), [1, 4]);
        assert_eq!(halving.rungs(64, 1), [4, 16]);
        assert_eq!(halving.rungs(64, 5), [5, 20]);
        assert_eq!(halving.rungs(2, 1), [1]);
        assert_eq!(halving.rungs(1, 1), [0_u64; 0]);
        assert_eq!(Halving { reduction: 2, first: 0.125 }.rungs(8, 1), [1, 2, 4]);
    }
}
