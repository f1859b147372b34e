//! `dtrain verify equivalence`: the proof holds for every method, over threads and over processes; it finds what depends on
//! the ranks, and says what it cannot compare.

use dtrain_configs::schema::MethodConfig;
use dtrain_tests::{Finished, Job, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// A verification of a small run; `more` holds further settings and options.
fn verification(sandbox: &Sandbox, method: &str, more: &[&str]) -> Job {
    let mut all = vec!["verify".to_owned(), "equivalence".to_owned(), "--steps=4".to_owned()];
    all.extend(settings(method, more));
    sandbox.dtrain(all)
}

/// The rows of the table that hold `name`.
fn lines<'a>(finished: &'a Finished, name: &str) -> Vec<&'a str> {
    let rows = finished.stdout.lines().filter(|line| line.starts_with(" fp") || line.starts_with(" bf"));
    rows.filter(|line| line.contains(name)).collect()
}

#[track_caller]
fn assert_all_within(finished: &Finished) {
    let last = finished.stdout.lines().next_back().unwrap_or_default();
    assert!(
        last.starts_with("all ") && last.ends_with(" comparisons within tolerance"),
        "{}",
        finished.report()
    );
    assert!(!finished.stdout.contains("BEYOND"), "{}", finished.report());
}

#[test]
fn every_method_is_the_same_over_two_threads() {
    // Two kinds of tiles in f64 and one in fp32.
    for method in MethodConfig::all() {
        let tiles = if method.facts().pairs.is_some() { 3 } else { 0 };
        let method = method.name();
        let sandbox = with_recordings(10);
        let more = ["--ranks=1,2", "--batch=7", "--json=equivalence.json", "optimizer=sgd"];
        let finished = verification(&sandbox, method, &more).finish().succeeded();
        assert_all_within(&finished);
        assert_eq!(lines(&finished, "tiles of").len(), tiles, "{}", finished.report());
        for name in [
            "buckets of one tensor, overlapped",
            "sharded optimizer",
            "deferred outcomes",
            "micro-batches of",
        ] {
            assert!(!lines(&finished, name).is_empty(), "{name}\n{}", finished.report());
        }

        let text = std::fs::read_to_string(sandbox.join("equivalence.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let samples: Vec<u64> = serde_json::from_value(report["samples_per_step"].clone()).unwrap();
        let full = samples[0];
        assert!(full == 7 || full == 6, "{samples:?}");
        assert_eq!(samples, [full, full - 1, full, 2]);
        let comparisons = report["comparisons"].as_array().unwrap();
        let judged = comparisons.iter().filter(|c| c["verdict"] == "within").count();
        assert!(finished.stdout.contains(&format!("all {judged} comparisons")), "{}", finished.report());
        let double = comparisons.iter().filter(|c| c["precision"] == "fp64" && c["verdict"] == "within");
        assert!(double.clone().count() >= 8);
        for comparison in double {
            assert!(comparison["loss"]["difference"].as_f64().unwrap() <= 1e-10, "{comparison}");
            assert!(comparison["weights"]["difference"].as_f64().unwrap() <= 1e-10, "{comparison}");
        }
    }
}

#[test]
fn two_processes_are_the_same_as_one() {
    let sandbox = with_recordings(10);
    let more = ["--batch=7", "trainer.device=cpu", "optimizer=sgd"];
    let finished = verification(&sandbox, "simclr", &more).ranks(2).finish().succeeded();
    assert_all_within(&finished);
    assert!(finished.stdout.contains("ranks: mpi"), "{}", finished.report());
    assert_eq!(finished.stdout.matches("comparisons within tolerance").count(), 1);
}

#[test]
fn without_batch_norm_micro_batches_equal_the_whole() {
    let sandbox = with_recordings(10);
    let more = ["--ranks=1,2", "--batch=7", "model.norm=group", "model.norm_groups=8"];
    let finished = verification(&sandbox, "supcon", &more).finish().succeeded();
    assert_all_within(&finished);
    // One rank in pieces of 4 samples, two ranks in pieces of 3.
    assert_eq!(lines(&finished, "micro-batches of 4").len(), 2, "{}", finished.report());
    assert_eq!(lines(&finished, "micro-batches of 3").len(), 1, "{}", finished.report());
}

/// Batch norm over each rank's share makes the weights depend on the number of ranks.
#[test]
fn what_depends_on_the_ranks_is_found() {
    let sandbox = with_recordings(10);
    let more = ["--ranks=2", "--batch=8", "trainer.sync_bn=false"];
    let finished = verification(&sandbox, "supervised", &more).finish().expect(1);
    assert!(
        lines(&finished, " ranks ").iter().all(|line| line.contains("BEYOND") || line.contains("reported"))
    );
    assert!(finished.stdout.contains("comparisons beyond tolerance"), "{}", finished.report());
    assert!(finished.stdout.contains("`trainer.sync_bn=false` normalizes"), "{}", finished.report());
}

#[test]
fn what_cannot_be_compared_is_said_at_once() {
    let sandbox = with_recordings(3);
    let error = |more: &[&str], ranks| {
        let job = verification(&sandbox, "simclr", more).ranks(ranks);
        job.finish().expect(2).error(sandbox.path())
    };
    let too_large = error(&["--batch=16", "--ranks=1,2"], 1);
    assert!(too_large.contains("`--batch`") && too_large.contains("hint: set `--batch 9"), "{too_large}");
    assert!(error(&["--batch=1"], 1).contains("cannot be divided"));
    assert!(error(&["--ranks=0,2"], 1).contains("`--ranks` has 0"));
    assert!(
        error(&["--batch=4", "--ranks=2"], 2).contains("`--ranks` is for one process, and 2 were started")
    );
}
