//! The proof that a run survives anything: it is trained undisturbed, then again with kills at random moments, each
//! followed by the same command or `dtrain resume`, and everything that the two leave behind is compared. Runs are child
//! processes of this very binary, so that what is killed is what users run.

mod dice;
mod found;
mod processes;
mod progress;
mod start;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dtrain_front::Exit;
use dtrain_trainer::TrainError;
use dtrain_trainer::checkpoint::{CheckpointStore, Validation};
use dtrain_trainer::run::{RunDir, StopFlag};
use dtrain_trainer::verify::{Strictness, compare_runs};

use crate::failure::Failure;
use dice::Dice;
pub use found::{Ended, Proof, Started, Undisturbed};
use progress::Progress;
use start::{End, Start};
pub use words::Words;

/// What is to be proved.
#[derive(Debug)]
pub struct Request {
    /// What the child processes are told.
    pub words: Words,
    /// Ranks of each start, in turn.
    pub worlds: Vec<usize>,
    /// Optimizer steps.
    pub steps: u64,
    /// Kills.
    pub kills: u32,
    /// Of the moments and of what is killed.
    pub seed: u64,
    /// Where the runs go.
    pub folder: PathBuf,
}

/// Proves it; `talk` hears of each start. What was found may be a difference; an error means that a run did not do what
/// it was told, or that the user has had enough.
pub fn prove(request: &Request, stop: &StopFlag, talk: &mut dyn FnMut(&str)) -> Result<Proof, Failure> {
    let proof = Prover { request, stop, dice: Dice::new(request.seed), num_starts: 0 };
    proof.run(talk)
}

struct Prover<'a> {
    request: &'a Request,
    stop: &'a StopFlag,
    dice: Dice,
    num_starts: usize,
}

impl Prover<'_> {
    fn run(mut self, talk: &mut dyn FnMut(&str)) -> Result<Proof, Failure> {
        let (steps, first_world) = (self.request.steps, self.world(0));
        // Says at once what is wrong with the settings, and makes generated data, which no run should have to wait for.
        self.start(first_world, &self.request.words.check(), "check")?.run_to_end(self.stop)?;

        let whole = RunDir::new(self.request.folder.join("undisturbed"));
        let undisturbed = self.undisturbed(&whole, first_world)?;
        talk(&format!(
            "undisturbed: {steps} steps on {}, {:.1} s, the first step after {:.1} s",
            found::ranks(first_world),
            undisturbed.wall_secs,
            undisturbed.first_step_secs
        ));

        let killed = RunDir::new(self.request.folder.join("killed"));
        let mut starts = Vec::new();
        loop {
            let started = self.next_start(&killed, starts.len(), &undisturbed)?;
            talk(&started.to_string());
            let finished = started.ended == Ended::Finished;
            starts.push(started);
            if finished {
                break;
            }
        }
        let strictness = match self.request.worlds.iter().any(|world| *world != first_world) {
            true => Strictness::Samples,
            false => Strictness::Bits,
        };
        let parts = compare_runs(&whole, &killed, strictness)?;
        Ok(Proof {
            steps,
            worlds: self.request.worlds.clone(),
            seed: self.request.seed,
            strictness,
            undisturbed,
            starts,
            parts,
        })
    }

    fn undisturbed(&mut self, run: &RunDir, world: usize) -> Result<Undisturbed, Failure> {
        let mut progress = Progress::new(run.metrics());
        let mut start = self.start(world, &self.request.words.train(run.path()), "undisturbed")?;
        let mut first_step_secs = None;
        let end = loop {
            if first_step_secs.is_none() && progress.step() > 0 {
                first_step_secs = Some(start.elapsed().as_secs_f64());
            }
            if let Some(end) = start.poll(self.stop)? {
                break end;
            }
        };
        let wall_secs = start.elapsed().as_secs_f64();
        start.succeeded(&end)?;
        Ok(Undisturbed { wall_secs, first_step_secs: first_step_secs.unwrap_or(wall_secs) })
    }

    /// The next start of the run that is killed: the first ones die, the last one finishes.
    fn next_start(&mut self, run: &RunDir, number: usize, whole: &Undisturbed) -> Result<Started, Failure> {
        let world = self.world(number);
        let from_step = saved_step(run)?;
        // The same command goes on with its directory, and so does `dtrain resume`, once there is one.
        let resumes = run.holds_a_run() && self.dice.coin();
        let words = match resumes {
            true => self.request.words.resume(run.path()),
            false => self.request.words.train(run.path()),
        };
        let mut progress = Progress::new(run.metrics());
        let mut start = self.start(world, &words, &format!("start_{number:03}"))?;
        let mut started = Started { number, world, resumes, from_step, ended: Ended::Finished };
        if number >= self.request.kills as usize {
            start.run_to_end(self.stop)?;
            return Ok(started);
        }
        let remaining = 1.0 - from_step as f64 / self.request.steps as f64;
        let expected = whole.first_step_secs + (whole.wall_secs - whole.first_step_secs) * remaining;
        let moment = Duration::from_secs_f64(expected * self.dice.share());
        let choice = self.dice.share();
        // A start that is faster than expected dies in its last step: a run that ends before its kill proves nothing.
        while start.elapsed() < moment && progress.step() + 1 < self.request.steps {
            if let Some(end) = start.poll(self.stop)? {
                start.succeeded(&end)?;
                return Ok(started);
            }
        }
        let after_secs = start.elapsed().as_secs_f64();
        let (what, num_left) = start.kill(choice, self.stop)?;
        started.ended = Ended::Killed { after_secs, what, num_left, saved_step: saved_step(run)? };
        Ok(started)
    }

    fn world(&self, number: usize) -> usize {
        let worlds = &self.request.worlds;
        worlds.get(number % worlds.len().max(1)).copied().unwrap_or(1)
    }

    fn start(&mut self, world: usize, words: &[std::ffi::OsString], name: &str) -> Result<Start, Failure> {
        self.num_starts += 1;
        let name = format!("{:03}_{name}", self.num_starts);
        Start::new(world, words, &self.request.folder, &name)
    }
}

/// The step that a run would go on from.
fn saved_step(run: &RunDir) -> Result<u64, Failure> {
    let store = CheckpointStore::inspect(run.checkpoints());
    match store.load_latest(Validation::Quick) {
        Ok(loaded) => Ok(loaded.map_or(0, |loaded| loaded.manifest.step)),
        Err(error) => Err(TrainError::from(error).into()),
    }
}

/// What to do when a run did not do what it was told.
fn broken(message: String, files: &Path) -> Failure {
    let hint = format!("see `{}` for what it said, with `--keep` after the end too", files.display());
    Failure::agreed(Exit::Failed, message, Some(hint))
}

impl End {
    fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}
