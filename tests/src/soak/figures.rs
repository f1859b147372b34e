//! What the soak counts, as text and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::moments::Victim;
use crate::soak::plan::{Moment, RunPlan};
use crate::soak::run::{Reference, RunOutcome};

/// Counts over runs.
#[derive(Debug, Default)]
pub struct Figures {
    runs: Vec<Value>,
    num_identical: usize,
    num_missed: usize,
    by_moment: BTreeMap<&'static str, usize>,
    by_victim: BTreeMap<&'static str, usize>,
    by_both: BTreeMap<String, usize>,
    /// From a death to training again, and beyond what a start takes, in seconds.
    restarts: Vec<f64>,
    beyond_start_up: Vec<f64>,
    start_ups: Vec<f64>,
}

fn moment(moment: Moment) -> &'static str {
    match moment {
        Moment::Anytime => "anytime",
        Moment::InWrite => "inside_a_write",
        Moment::StartUp => "start_up",
        Moment::InEvaluation => "evaluation",
    }
}

fn victim(victim: Victim) -> &'static str {
    match victim {
        Victim::Rank0 => "rank_0",
        Victim::OtherRank => "other_rank",
        Victim::Mpirun => "mpirun",
        Victim::Launcher => "launcher",
    }
}

impl Figures {
    /// Adds a run.
    pub fn add(&mut self, plan: &RunPlan, reference: &Reference, outcome: &RunOutcome) {
        let start_up = reference.start_up.as_secs_f64();
        self.start_ups.push(start_up);
        self.num_identical += usize::from(outcome.faults.is_empty());
        self.num_missed += outcome.missed.len();
        for (when, whom) in &outcome.kills {
            *self.by_moment.entry(moment(*when)).or_default() += 1;
            *self.by_victim.entry(victim(*whom)).or_default() += 1;
            *self.by_both.entry(format!("{} of {}", moment(*when), victim(*whom))).or_default() += 1;
        }
        for secs in outcome.restarts.iter().map(Duration::as_secs_f64) {
            self.restarts.push(secs);
            self.beyond_start_up.push((secs - start_up).max(0.0));
        }
        self.runs.push(json!({
            "number": plan.number,
            "method": plan.method,
            "world": plan.world,
            "async": plan.asynchronous,
            "supervision": format!("{:?}", plan.supervision).to_lowercase(),
            "kills": outcome.kills.len(),
            "missed": outcome.missed.iter().map(|missed| format!("{missed:?}")).collect::<Vec<_>>(),
            "faults": outcome.faults,
        }));
    }

    /// Kills so far.
    pub fn num_kills(&self) -> usize {
        self.by_moment.values().sum()
    }

    /// Runs that did not end as they should.
    pub fn num_faulty(&self) -> usize {
        self.runs.len() - self.num_identical
    }

    /// Everything.
    pub fn to_json(&self, seed: u64, wall: Duration) -> Value {
        json!({
            "seed": seed,
            "wall_secs": wall.as_secs_f64().round(),
            "num_runs": self.runs.len(),
            "num_identical": self.num_identical,
            "num_kills": self.num_kills(),
            "num_moments_that_never_came": self.num_missed,
            "kills_by_moment": self.by_moment,
            "kills_by_victim": self.by_victim,
            "kills_by_moment_and_victim": self.by_both,
            "start_up_secs": summary(&self.start_ups),
            "death_to_training_secs": summary(&self.restarts),
            "death_to_training_beyond_start_up_secs": summary(&self.beyond_start_up),
            "runs": self.runs,
        })
    }
}

fn summary(values: &[f64]) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let hundredths = |value: f64| (value * 100.0).round() / 100.0;
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(min), Some(median), Some(max)) => json!({
            "num": sorted.len(),
            "min": hundredths(*min),
            "median": hundredths(*median),
            "max": hundredths(*max),
        }),
        _ => Value::Null,
    }
}
