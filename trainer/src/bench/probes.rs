//! Probes of embeddings, in time and memory.

use std::hint::black_box;
use std::time::Instant;

use dtrain_comm::Single;
use dtrain_configs::schema::EvalConfig;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::process::{memory, reset_peak};
use crate::error::TrainError;
use crate::eval::{Labelled, LinearProbe, classify_by_neighbours};

/// How many embeddings of which width are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProbeSizes {
    /// Embeddings with a known class.
    pub rows: usize,
    /// Embeddings whose class is asked for.
    pub queries: usize,
    /// Width of an embedding.
    pub dim: usize,
    /// Classes.
    pub classes: usize,
}

/// Both probes.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeFigures {
    /// Seconds of nearest neighbours, with every k and temperature of the default settings.
    pub knn_s: f64,
    /// Seconds of the linear probe, fitted and asked once for each weight decay.
    pub linear_s: f64,
    /// Both.
    pub probes_s: f64,
    /// Peak memory, the embeddings included and the program itself not, in bytes.
    pub extra_bytes: u64,
    /// Share of questions that nearest neighbours get right, with the first setting.
    pub knn_accuracy: f64,
    /// The same of the linear probe, with the best decay.
    pub linear_accuracy: f64,
    /// What was asked about.
    #[serde(flatten)]
    pub sizes: ProbeSizes,
    /// Weight decays.
    pub decays: Vec<f64>,
    /// Iterations of L-BFGS at most.
    pub iterations: usize,
    /// CPU threads.
    pub threads: usize,
}

/// Times both probes on embeddings of overlapping Gaussian classes, as the default settings ask them but for `decays`.
///
/// # Errors
/// Sizes without a question, or too little memory.
pub fn probes(sizes: ProbeSizes, decays: &[f64], threads: usize) -> Result<ProbeFigures, TrainError> {
    let ProbeSizes { rows, queries, dim, classes } = sizes;
    if rows < 1 || queries < 1 || dim < 1 || classes < 2 || decays.is_empty() {
        return Err(TrainError::config(
            format!(
                "probes need rows, queries, a width, 2 classes and a weight decay, not {rows}, {queries}, {dim}, {classes} and \
                 {}",
                decays.len()
            ),
            "raise `--rows`, `--queries`, `--dim` or `--classes`, or give `--decays`",
        ));
    }
    tch::set_num_threads(threads.max(1) as i32);
    tch::manual_seed(0);
    let EvalConfig { knn, linear, .. } = EvalConfig::default();
    reset_peak();
    let before = memory("VmRSS:");
    let centres = Tensor::randn([classes as i64, dim as i64], (Kind::Float, Device::Cpu)) * 0.1;
    let bank = around(&centres, rows, 0)?;
    let asked = around(&centres, queries, rows)?;
    let ranks = Single::new();

    let begin = Instant::now();
    let neighbours = classify_by_neighbours(&ranks, &bank, &asked, classes, &knn.variants())?;
    let knn_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut linear_accuracy = 0.0_f64;
    for &decay in decays {
        let probe = LinearProbe::fit(&ranks, &bank, classes, (linear.iterations, decay))?;
        linear_accuracy = linear_accuracy.max(probe.score(&ranks, &asked)?.hits().accuracy());
    }
    let linear_s = begin.elapsed().as_secs_f64();
    Ok(ProbeFigures {
        knn_s,
        linear_s,
        probes_s: knn_s + linear_s,
        extra_bytes: memory("VmHWM:").saturating_sub(before),
        knn_accuracy: neighbours.first().map_or(f64::NAN, |answers| black_box(answers.hits().accuracy())),
        linear_accuracy,
        sizes,
        decays: decays.to_vec(),
        iterations: linear.iterations,
        threads,
    })
}

/// `count` embeddings around the centres of the classes, each class in turn.
fn around(centres: &Tensor, count: usize, first_id: usize) -> Result<Labelled, TrainError> {
    let [num_classes, dim] = centres.size2()?.into();
    let classes: Vec<i64> = (0..count as i64).map(|row| row % num_classes).collect();
    let mut embeddings = Tensor::f_randn([count as i64, dim], (Kind::Float, Device::Cpu))?;
    let _ = embeddings.f_add_(&centres.f_index_select(0, &Tensor::from_slice(&classes))?)?;
    let first = first_id as i64;
    Ok(Labelled { embeddings, classes, ids: (first..first + count as i64).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_probes_find_the_classes() {
        let sizes = ProbeSizes { rows: 600, queries: 200, dim: 256, classes: 4 };
        let figures = probes(sizes, &[1e-4, 1e-2], 1).unwrap();
        assert!(figures.knn_accuracy > 0.4 && figures.linear_accuracy > 0.4, "{figures:?}");
        assert!(figures.extra_bytes > 0);
        let none = probes(ProbeSizes { classes: 1, ..sizes }, &[1e-4], 1).unwrap_err();
        assert!(none.to_string().contains("2 classes"), "{none}");
    }
}
