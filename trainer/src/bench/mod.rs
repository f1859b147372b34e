//! Measurements of this program's own parts on this machine, for comparison with other programs and for the cost model.

mod checkpoint;
mod comm;
mod data;
mod loss;
mod open;
mod predict;
mod probes;
mod process;
mod step;
mod synthetic;
mod upkeep;

pub use checkpoint::{CheckpointFigures, Round, checkpoint};
pub use comm::{CommFigures, CommRow, comm};
pub use data::{DataFigures, data};
pub use loss::{LossFigures, loss};
pub use open::{OpenFigures, open};
pub use predict::predict;
pub use probes::{ProbeFigures, ProbeSizes, probes};
pub use step::{ModelFigures, RankSplit, Spread, StepFigures, step};
pub use synthetic::{SyntheticFigures, synthetic};
pub use upkeep::{UpkeepFigures, upkeep};

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
