//! Samples that could not be read while training: they drop out with true counts, and too many end the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::Report;
use crate::error::TrainError;
use crate::run::checkpoints::DroppedSample;

/// Samples that could not be read are named up to this number in a step, and counted beyond.
const MAX_NAMED_FAILURES: usize = 3;

/// Adds to `dropped` what the ranks report before step `step`; more than `limit`, which is `data.max_bad_files`, are an error.
///
/// # Errors
/// Too many samples have dropped out.
pub(super) fn remember(
    dropped: &mut Vec<DroppedSample>,
    reports: &[Report],
    step: u64,
    limit: usize,
) -> Result<(), TrainError> {
    let known: BTreeSet<u32> = dropped.iter().map(|sample| sample.id).collect();
    let failed = reports.iter().flat_map(|report| &report.failed_samples);
    let fresh: BTreeMap<u32, &String> =
        failed.filter(|(id, _)| !known.contains(id)).map(|(id, reason)| (*id, reason)).collect();
    let unnamed = fresh.len().saturating_sub(MAX_NAMED_FAILURES);
    for (nth, (id, reason)) in fresh.into_iter().enumerate() {
        let count = dropped.len() + 1;
        if nth < MAX_NAMED_FAILURES {
            tracing::warn!(
                "sample left out from step {step} on, {count} of at most `data.max_bad_files` = {limit}: {reason}"
            );
        } else {
            tracing::debug!("sample left out from step {step} on, {count}: {reason}");
        }
        dropped.push(DroppedSample { id, step, reason: reason.clone() });
    }
    if unnamed > 0 {
        tracing::warn!("{unnamed} more samples left out from step {step} on; `RUST_LOG=debug` names them");
    }
    match dropped.last() {
        Some(last) if dropped.len() > limit => Err(TrainError::config(
            format!(
                "samples that could not be read during training: {}, the last one {}",
                dropped.len(),
                last.reason
            ),
            format!("restore or remove them, or raise `data.max_bad_files=` (now {limit})"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failed: &[u32]) -> Report {
        let failed_samples = failed.iter().map(|&id| (id, format!("sample {id}"))).collect();
        Report { failed_samples, ..Report::default() }
    }

    #[test]
    fn a_sample_drops_out_once_whoever_reports_it() {
        let mut dropped = Vec::new();
        remember(&mut dropped, &[report(&[7, 3]), report(&[3])], 4, 3).unwrap();
        remember(&mut dropped, &[report(&[]), report(&[3, 9])], 5, 3).unwrap();
        let found: Vec<(u32, u64)> = dropped.iter().map(|sample| (sample.id, sample.step)).collect();
        assert_eq!(found, [(3, 4), (7, 4), (9, 5)]);
        let error = remember(&mut dropped, &[report(&[1])], 6, 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "samples that could not be read during training: 4, the last one sample 1"
        );
        assert!(error.hint().unwrap().contains("(now 3)"));
    }
}
