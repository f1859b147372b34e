//! What a proof found, for people and as JSON.

use std::fmt;

use comfy_table::{Cell, Table, presets};
use dtrain_trainer::verify::{Part, RESUME_TOLERANCE, Strictness};
use serde::Serialize;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// Optimizer steps of both runs.
    pub steps: u64,
    /// Ranks of the starts, in turn.
    pub worlds: Vec<usize>,
    /// Of moments and victims.
    pub seed: u64,
    /// How equal the runs have to be.
    pub strictness: Strictness,
    /// The run that was left alone.
    pub undisturbed: Undisturbed,
    /// The starts of the other one.
    pub starts: Vec<Started>,
    /// What both left behind, compared.
    pub parts: Vec<Part>,
}

/// The run that was left alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Undisturbed {
    /// From its start to its end.
    pub wall_secs: f64,
    /// From its start to its first line of metrics.
    pub first_step_secs: f64,
}

/// One start of the run that is killed.
#[derive(Debug, Serialize)]
pub struct Started {
    /// From 0.
    pub number: usize,
    /// Ranks.
    pub world: usize,
    /// With `dtrain resume`, not with the same command again.
    pub resumes: bool,
    /// The step of the checkpoint that it went on from; 0 without one.
    pub from_step: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How a start ended.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, all steps done.
    Finished,
    /// By SIGKILL.
    Killed {
        /// Seconds after the start.
        after_secs: f64,
        /// `the process`, `mpirun` or a rank.
        what: String,
        /// Processes of the job that did not notice and had to be ended.
        num_left: usize,
        /// Step of the newest checkpoint then.
        saved_step: u64,
    },
}

impl Proof {
    /// Whether nothing differs.
    pub fn holds(&self) -> bool {
        self.parts.iter().all(Part::is_equal)
    }

    fn num_kills(&self) -> usize {
        self.starts.iter().filter(|start| start.ended != Ended::Finished).count()
    }

    /// The table and the verdict.
    pub fn describe(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["part", "compared", "verdict"]);
        for part in &self.parts {
            let verdict = match part.differences.first() {
                None if self.strictness == Strictness::Bits => "equal".to_owned(),
                None => "within".to_owned(),
                Some(_) => format!("DIFFERS: {}", part.differences.join("; ")),
            };
            table.add_row([Cell::new(&part.name), Cell::new(&part.compared), Cell::new(verdict)]);
        }
        format!("{table}\n{}\n", self.verdict())
    }

    fn verdict(&self) -> String {
        let (kills, steps) = (self.num_kills(), self.steps);
        let kills = format!("{kills} kill{}", if kills == 1 { "" } else { "s" });
        let beyond = self.parts.iter().filter(|part| !part.is_equal()).count();
        match (beyond, self.strictness) {
            (0, Strictness::Bits) => {
                format!("resume is exact: {steps} steps with {kills} end as without, bit for bit")
            }
            (0, Strictness::Samples) => format!(
                "resume loses nothing: {steps} steps with {kills} on {} ranks in turn saw the same samples once each, \
                 values within {RESUME_TOLERANCE:.0e}",
                self.worlds.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
            ),
            _ => format!("resume is NOT exact: {beyond} of {} parts differ after {kills}", self.parts.len()),
        }
    }
}

/// `1 rank`, `2 ranks`.
pub(super) fn ranks(world: usize) -> String {
    if world == 1 { "1 rank".to_owned() } else { format!("{world} ranks") }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.from_step, self.resumes) {
            (0, false) => "from the beginning".to_owned(),
            (0, true) => "`dtrain resume` from the beginning".to_owned(),
            (step, false) => format!("the same command from step {step}"),
            (step, true) => format!("`dtrain resume` from step {step}"),
        };
        let ranks = ranks(self.world);
        write!(f, "start {}, {ranks}, {how}: ", self.number + 1)?;
        match &self.ended {
            Ended::Finished => write!(f, "finished"),
            Ended::Killed { after_secs, what, num_left, saved_step } => {
                write!(f, "killed {what} after {after_secs:.2} s, step {saved_step} is saved")?;
                if *num_left > 0 {
                    write!(f, "; {num_left} processes had to be ended")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(differences: &[&str], strictness: Strictness) -> Proof {
        let killed = Ended::Killed { after_secs: 1.234, what: "rank 1".into(), num_left: 0, saved_step: 10 };
        let start =
            |number, from_step, ended| Started { number, world: 2, resumes: number == 1, from_step, ended };
        Proof {
            steps: 40,
            worlds: vec![2, 1],
            seed: 0,
            strictness,
            undisturbed: Undisturbed { wall_secs: 5.0, first_step_secs: 1.0 },
            starts: vec![start(0, 0, killed), start(1, 10, Ended::Finished)],
            parts: vec![Part {
                name: "model.safetensors".into(),
                compared: "2 tensors, 9 elements".into(),
                differences: differences.iter().map(|text| (*text).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn starts_are_told_in_a_line() {
        let lines: Vec<String> =
            proof(&[], Strictness::Bits).starts.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "start 1, 2 ranks, from the beginning: killed rank 1 after 1.23 s, step 10 is saved",
                "start 2, 2 ranks, `dtrain resume` from step 10: finished"
            ]
        );
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let last = |proof: &Proof| proof.describe().lines().last().unwrap().to_owned();
        let exact = proof(&[], Strictness::Bits);
        assert_eq!(last(&exact), "resume is exact: 40 steps with 1 kill end as without, bit for bit");
        assert!(exact.holds());
        let turns = proof(&[], Strictness::Samples);
        assert!(last(&turns).contains("on 2, 1 ranks in turn saw the same samples once each"));
        let wrong = proof(&["`a`: 1 of 9 elements differ, 1 bits"], Strictness::Bits);
        assert_eq!(last(&wrong), "resume is NOT exact: 1 of 1 parts differ after 1 kill");
        assert!(wrong.describe().contains("DIFFERS: `a`: 1 of 9") && !wrong.holds());
    }
}
