//! What two runs recorded: `metrics.jsonl` line by line, and `result.json`.

use super::{Part, RESUME_TOLERANCE, Strictness};
use crate::error::TrainError;
use crate::run::RunDir;
use crate::track::RunResult;
use crate::track::jsonl::{MetricsLine, read_metrics};

/// Metrics that tell times.
const TIMES: &str = "perf/";
/// Metrics that follow from weights and samples without a step that may tip over, as the rank of a neighbour does.
const SMOOTH: [&str; 3] = ["train/loss", "opt/lr", "opt/grad_norm"];
/// Differences that are told one by one.
const NUM_TOLD: usize = 3;

/// Each line once, in the same order, with the same values.
pub(super) fn compare_metrics(
    undisturbed: &RunDir,
    resumed: &RunDir,
    strictness: Strictness,
) -> Result<Part, TrainError> {
    let (one, other) = (read_metrics(&undisturbed.metrics())?, read_metrics(&resumed.metrics())?);
    Ok(Part::new("metrics.jsonl", format!("{} lines", one.len()), differences(&one, &other, strictness)))
}

fn differences(one: &[MetricsLine], other: &[MetricsLine], strictness: Strictness) -> Vec<String> {
    let steps = |lines: &[MetricsLine]| lines.iter().map(|line| (line.step, line.epoch)).collect::<Vec<_>>();
    let (steps_of_one, steps_of_other) = (steps(one), steps(other));
    if steps_of_one != steps_of_other {
        let at = steps_of_one.iter().zip(&steps_of_other).take_while(|(a, b)| a == b).count();
        let step =
            |lines: &[MetricsLine]| lines.get(at).map_or("none".to_owned(), |line| line.step.to_string());
        return vec![format!("line {} is of step {} and {}", at + 1, step(one), step(other))];
    }
    let mut found = Vec::new();
    for (a, b) in one.iter().zip(other) {
        let names = a.values.keys().chain(b.values.keys().filter(|name| !a.values.contains_key(*name)));
        for name in names.filter(|name| !name.starts_with(TIMES)) {
            let (x, y) = (a.values.get(name), b.values.get(name));
            if !are_equal(name, x.copied(), y.copied(), strictness) {
                let show = |value: Option<&f64>| value.map_or("not there".to_owned(), f64::to_string);
                found.push(format!("`{name}` of step {} is {} and {}", a.step, show(x), show(y)));
            }
        }
    }
    if found.len() > NUM_TOLD {
        let rest = found.len() - NUM_TOLD;
        found.truncate(NUM_TOLD);
        found.push(format!("{rest} more"));
    }
    found
}

fn are_equal(name: &str, one: Option<f64>, other: Option<f64>, strictness: Strictness) -> bool {
    match (one, other, strictness) {
        (Some(a), Some(b), Strictness::Bits) => a.to_bits() == b.to_bits(),
        (Some(a), Some(b), Strictness::Samples) => {
            !SMOOTH.contains(&name)
                || a.to_bits() == b.to_bits()
                || (a - b).abs() <= RESUME_TOLERANCE * a.abs().max(b.abs())
        }
        (one, other, _) => one.is_none() && other.is_none(),
    }
}

/// The counts of `result.json` and why the run ended.
pub(super) fn compare_results(undisturbed: &RunDir, resumed: &RunDir) -> Result<Part, TrainError> {
    let (one, other) = (RunResult::read(&undisturbed.result())?, RunResult::read(&resumed.result())?);
    let mut differences = Vec::new();
    for (name, a, b) in [
        ("step", one.step, other.step),
        ("epoch", one.epoch, other.epoch),
        ("samples_seen", one.samples_seen, other.samples_seen),
    ] {
        if a != b {
            differences.push(format!("`{name}` is {a} and {b}"));
        }
    }
    if one.stop_reason != other.stop_reason {
        differences.push(format!("`stop_reason` is {} and {}", one.stop_reason, other.stop_reason));
    }
    Ok(Part::new("result.json", format!("{} samples", one.samples_seen), differences))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, values: &[(&str, f64)]) -> MetricsLine {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        MetricsLine { step, epoch: step / 5, wall_s: step as f64, values }
    }

    #[test]
    fn times_may_differ_and_nothing_else() {
        let one =
            [line(1, &[("train/loss", 0.5), ("perf/data_s", 1.0)]), line(2, &[("train/loss", f64::NAN)])];
        let mut other =
            [line(1, &[("train/loss", 0.5), ("perf/wait_s", 2.0)]), line(2, &[("train/loss", f64::NAN)])];
        assert!(differences(&one, &other, Strictness::Bits).is_empty());
        other[0].values.insert("train/loss".into(), 0.5 + 1e-15);
        other[1].values.insert("val/top1".into(), 0.5);
        assert_eq!(
            differences(&one, &other, Strictness::Bits),
            [
                "`train/loss` of step 1 is 0.5 and 0.500000000000001",
                "`val/top1` of step 2 is not there and 0.5"
            ]
        );
        assert_eq!(differences(&one, &other, Strictness::Samples).len(), 1);
    }

    #[test]
    fn a_step_that_is_lost_or_repeated_is_named() {
        let lines = |steps: &[u64]| steps.iter().map(|step| line(*step, &[])).collect::<Vec<_>>();
        let found = |other: &[u64]| differences(&lines(&[1, 2, 3]), &lines(other), Strictness::Samples);
        assert_eq!(found(&[1, 3]), ["line 2 is of step 2 and 3"]);
        assert_eq!(found(&[1, 2, 2, 3]), ["line 3 is of step 3 and 2"]);
        assert_eq!(found(&[1, 2]), ["line 3 is of step 3 and none"]);
    }
}
