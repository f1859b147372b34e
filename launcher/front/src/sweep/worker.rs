//! A process that takes trials of a sweep and runs them, some side by side, until none is left. Any number of them, on any
//! machines that see the folder, work on one sweep; what they know of each other are the tokens.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use dtrain_configs::RunDir;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::choose::Chosen;
use super::curve::Curve;
use super::ending::{Cause, Ending};
use super::folder::{SweepDir, write_atomic};
use super::halving::goes_on;
use super::owner::Owner;
use super::plan::{Plan, Taken, Trial};
use super::slots::Slot;
use super::tokens::{State, Tokens, Watch};
use super::trial::{Starter, ask_to_save, described, kill_at_once, start, tail};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::running::is_running;

/// Between two looks at trials that run.
const POLL: Duration = Duration::from_millis(20);
/// In which a worker is reached by what has reached its trial.
const MOMENT: Duration = Duration::from_millis(500);
/// Between two looks at what a trial has measured.
const GLANCE: Duration = Duration::from_millis(50);
/// Between two looks at the folder while all places are taken or nothing waits.
const LOOK: Duration = Duration::from_millis(500);

/// What a worker is given.
pub(crate) struct Work<'a> {
    /// The sweep.
    pub dir: SweepDir,
    /// Places for trials.
    pub slots: Vec<Slot>,
    /// The last stage that it works on; `None`: all.
    pub stage: Option<usize>,
    /// How trials are started.
    pub starter: Starter,
    /// Whether somebody outside wants trials to save and end.
    pub is_asked: &'a dyn Fn() -> bool,
    /// Who is told what happens.
    pub tell: &'a dyn Fn(&str),
}

/// How a worker has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    /// What kept it from going on.
    pub failure: Option<Failure>,
    /// Whether it was asked to stop.
    pub stopped: bool,
    /// Trials that it has brought to an end.
    pub settled: usize,
}

struct Running {
    trial: Trial,
    child: Child,
    /// Epochs at which it is judged, the next one first.
    rungs: Vec<u64>,
    curve: Curve,
    /// It lags behind, and was asked to end.
    halted: bool,
    renewed: Instant,
    looked: Instant,
    judged: Instant,
    asked: bool,
}

struct Worker<'a> {
    work: Work<'a>,
    plan: Plan,
    written: Option<SystemTime>,
    tokens: Tokens,
    owner: Owner,
    watch: Watch,
    lease: Duration,
    running: Vec<Option<Running>>,
    states: HashMap<String, State>,
    looked: Option<Instant>,
    heard: Option<Instant>,
    /// Trials that cannot be started before.
    not_before: HashMap<String, Instant>,
    chosen: HashMap<usize, Chosen>,
    rungs: HashMap<(usize, u64, String), f64>,
    /// Since when a trial has no token.
    missing: Option<Instant>,
    done: Done,
}

/// Runs trials until none is left that could be run.
///
/// # Errors
/// The folder cannot be read or written.
pub(crate) fn work(work: Work<'_>) -> Result<Done, Failure> {
    let plan = Plan::read(&work.dir)?;
    let lease = Duration::from_secs_f64(plan.header.lease_secs.clamp(0.05, 86_400.0));
    let mut worker = Worker {
        written: written(&work.dir),
        tokens: Tokens::new(work.dir.tokens()),
        owner: Owner::this(),
        watch: Watch::new(lease),
        lease,
        running: work.slots.iter().map(|_| None).collect(),
        states: HashMap::new(),
        looked: None,
        heard: None,
        not_before: HashMap::new(),
        chosen: HashMap::new(),
        rungs: HashMap::new(),
        done: Done { failure: None, stopped: false, settled: 0 },
        missing: None,
        plan,
        work,
    };
    let ended = worker.run();
    if ended.is_err() {
        // Whoever looks next finds tokens of a process that is gone.
        for running in worker.running.iter_mut().flatten() {
            kill_at_once(&mut running.child);
        }
    }
    ended.map(|()| worker.done).map_err(|error| broken_folder(&error))
}

fn broken_folder(error: &std::io::Error) -> Failure {
    let hint = "free space or mend the file system; `dtrain sweep resume DIR` goes on, nothing that has ended is lost";
    Failure::agreed(Exit::Environment, format!("the sweep's folder: {error}"), Some(hint.into()))
}

fn written(dir: &SweepDir) -> Option<SystemTime> {
    std::fs::metadata(dir.plan()).ok()?.modified().ok()
}

impl Worker<'_> {
    fn run(&mut self) -> std::io::Result<()> {
        loop {
            self.hear();
            for index in 0..self.running.len() {
                if let Some(running) = self.running.get_mut(index).and_then(Option::take) {
                    let left = self.look_after(running)?;
                    if let Some(place) = self.running.get_mut(index) {
                        *place = left;
                    }
                }
                let is_free = self.running.get(index).is_some_and(Option::is_none);
                if is_free && !self.is_ending() {
                    let started = self.start_next(index)?;
                    if let Some(place) = self.running.get_mut(index) {
                        *place = started;
                    }
                }
            }
            let is_idle = self.running.iter().all(Option::is_none);
            if is_idle && (self.is_ending() || !self.may_get_work()) {
                return Ok(());
            }
            std::thread::sleep(if is_idle { POLL * 5 } else { POLL });
        }
    }

    fn is_ending(&self) -> bool {
        self.done.stopped || self.done.failure.is_some()
    }

    /// Stop requests, and trials that were added.
    fn hear(&mut self) {
        let looks = self.heard.is_none_or(|heard| heard.elapsed() >= LOOK);
        if looks {
            self.heard = Some(Instant::now());
        }
        if !self.is_ending() && ((self.work.is_asked)() || looks && self.work.dir.stop().exists()) {
            self.done.stopped = true;
        }
        if self.is_ending() {
            for running in self.running.iter_mut().flatten().filter(|running| !running.asked) {
                running.asked = true;
                ask_to_save(&running.child);
            }
        }
    }

    fn reread_plan(&mut self) {
        let now = written(&self.work.dir);
        if now == self.written {
            return;
        }
        match Plan::read(&self.work.dir) {
            Ok(plan) if self.plan.grew_into(&plan) => {
                self.plan = plan;
                self.written = now;
            }
            Ok(_) => self.fail(
                "the plan was changed under the running sweep",
                "only `dtrain sweep add` may change it; begin other studies in a folder of their own with `--dir`",
            ),
            Err(failure) => self.done.failure = Some(failure),
        }
    }

    fn fail(&mut self, message: impl std::fmt::Display, hint: &str) {
        let failure = Failure::agreed(Exit::Failed, message, Some(hint.to_owned()));
        self.done.failure.get_or_insert(failure);
    }

    /// A trial that runs: whether it goes on, and what becomes of it if not.
    fn look_after(&mut self, mut running: Running) -> std::io::Result<Option<Running>> {
        if let Some(status) = running.child.try_wait()? {
            return self.ended(running, status).map(|()| None);
        }
        // Often enough that a slow file system costs no lease.
        if running.looked.elapsed() > self.lease / 6 {
            running.looked = Instant::now();
            match self.tokens.renew(&running.trial.id, &self.owner) {
                Ok(true) => running.renewed = Instant::now(),
                Ok(false) => return Ok(self.lost(running, "another worker has taken it")),
                Err(error) => tracing::warn!("the lease of {} is not renewed: {error}", running.trial.id),
            }
        }
        if running.renewed.elapsed() > self.lease * 2 / 3 {
            return Ok(self.lost(running, "its lease could not be renewed in time"));
        }
        let is_due = !running.asked && running.judged.elapsed() >= GLANCE;
        if is_due {
            running.judged = Instant::now();
        }
        if is_due && !self.judge_at_rungs(&mut running)? {
            running.halted = true;
            running.asked = true;
            ask_to_save(&running.child);
        }
        Ok(Some(running))
    }

    /// Whoever has lost a lease ends its trial before anything more is written.
    fn lost(&self, mut running: Running, why: &str) -> Option<Running> {
        kill_at_once(&mut running.child);
        (self.work.tell)(&format!("{}: left to others, since {why}", running.trial.name));
        None
    }

    fn held(&self) -> State {
        State::Held(self.owner.clone())
    }

    /// A trial's process has ended.
    fn ended(&mut self, mut running: Running, status: ExitStatus) -> std::io::Result<()> {
        // One that was faster than the looks at it is what others are measured by all the same.
        let goes_on = running.halted || self.judge_at_rungs(&mut running)?;
        let trial = &running.trial;
        match status.code() {
            Some(0) => self.settle(trial, &State::Done)?,
            Some(75) if running.halted || !goes_on => self.settle(trial, &State::Halted)?,
            Some(75) => self.give_back(trial)?,
            Some(130) => {
                self.tokens.turn(&trial.id, &self.held(), &State::Stopped)?;
                (self.work.tell)(&format!("{}: stopped; `dtrain sweep resume` goes on with it", trial.name));
            }
            // Asked to end before it could hear that, or along with this worker, whose own end may come a moment later.
            None if self.was_asked_from_outside(status) => self.give_back(trial)?,
            // The machine lacks something: the next trial would fail alike.
            Some(3) => {
                let cause = Cause::find(described(status), &tail(&self.work.dir.output(&trial.name)));
                self.give_back(trial)?;
                let hint = "mend it and go on with `dtrain sweep resume DIR`; no other trial was started";
                let message = format!("{}: {}", trial.name, cause.message);
                self.done.failure = Some(Failure::agreed(Exit::Environment, message, Some(hint.into())));
            }
            _ => {
                let cause = Cause::find(described(status), &tail(&self.work.dir.output(&trial.name)));
                write_atomic(&self.work.dir.cause(&trial.id), &serde_json::to_vec_pretty(&cause)?)?;
                self.settle(trial, &State::Failed)?;
            }
        }
        Ok(())
    }

    fn was_asked_from_outside(&self, status: ExitStatus) -> bool {
        std::thread::sleep(MOMENT);
        let asks = [SIGTERM, SIGINT, SIGHUP, SIGUSR1];
        status.signal().is_some_and(|signal| asks.contains(&signal))
            || self.is_ending()
            || (self.work.is_asked)()
    }

    fn give_back(&mut self, trial: &Trial) -> std::io::Result<()> {
        self.tokens.turn(&trial.id, &self.held(), &State::Waiting)?;
        self.states.insert(trial.id.clone(), State::Waiting);
        Ok(())
    }

    fn settle(&mut self, trial: &Trial, state: &State) -> std::io::Result<()> {
        if !self.tokens.turn(&trial.id, &self.held(), state)? {
            (self.work.tell)(&format!("{}: ended here, but another worker has taken it", trial.name));
            return Ok(());
        }
        self.done.settled += 1;
        self.states.insert(trial.id.clone(), state.clone());
        let metric = &self.plan.header.optimize;
        let ending = Ending::read(&self.work.dir.run(&trial.name));
        let value = ending.as_ref().and_then(|ending| ending.metrics.get(metric));
        let text = match (state, ending.as_ref(), value) {
            (State::Failed, ..) => Cause::read(&self.work.dir, &trial.id)
                .map_or("failed".into(), |cause| format!("failed ({}): {}", cause.ended, cause.message)),
            (_, Some(ending), Some(value)) => {
                let epochs = if *state == State::Halted {
                    format!(" after {} epoch(s)", ending.epochs)
                } else {
                    String::new()
                };
                format!("{}{epochs}, {metric} {value:.4}, {:.1} s", state.word(), ending.secs)
            }
            (_, Some(_), None) => format!("{}, without `{metric}`", state.word()),
            (_, None, _) => state.word().to_owned(),
        };
        (self.work.tell)(&format!("{}: {text}", trial.described()));
        Ok(())
    }

    /// Judges a trial at the rungs that it has reached; `false`: it lags behind.
    fn judge_at_rungs(&mut self, running: &mut Running) -> std::io::Result<bool> {
        while let Some(rung) = running.rungs.first().copied() {
            let Some(value) = running.curve.at(rung) else { return Ok(true) };
            running.rungs.remove(0);
            if !self.judge(&running.trial, rung, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a trial goes on at a rung. What was decided is noted, so that whoever goes on with it decides the same.
    fn judge(&mut self, trial: &Trial, rung: u64, value: f64) -> std::io::Result<bool> {
        let Some(stage) = self.plan.stage_of(trial).cloned() else { return Ok(true) };
        let folder = self.work.dir.rung(&stage.name, rung);
        let others = self.values_at(trial, rung, &folder)?;
        let on = goes_on(value, &others, stage.reduction.unwrap_or(2), self.plan.header.direction);
        write_atomic(
            &folder.join(&trial.id),
            format!("{value} {}\n", if on { "on" } else { "halted" }).as_bytes(),
        )?;
        Ok(on)
    }

    /// What other trials have reached at a rung. A value never changes, so that each is read once.
    fn values_at(&mut self, trial: &Trial, rung: u64, folder: &std::path::Path) -> std::io::Result<Vec<f64>> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut values = Vec::new();
        for entry in entries.flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            if id == trial.id || id.starts_with('.') {
                continue;
            }
            let key = (trial.stage, rung, id);
            let known = self.rungs.get(&key).copied();
            let read = || {
                let text = std::fs::read_to_string(entry.path()).ok()?;
                text.split_whitespace().next()?.parse::<f64>().ok()
            };
            if let Some(value) = known.or_else(read) {
                self.rungs.insert(key, value);
                values.push(value);
            }
        }
        Ok(values)
    }

    /// The states, looked at anew after a while.
    fn look(&mut self) -> std::io::Result<()> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.reread_plan();
            self.states = self.tokens.states()?;
            self.looked = Some(Instant::now());
            let missing = self.plan.trials.iter().find(|trial| !self.states.contains_key(&trial.id));
            match missing.map(|trial| trial.id.clone()) {
                // Its name changes at this moment.
                Some(id) if self.missing.get_or_insert_with(Instant::now).elapsed() > self.lease * 2 => self
                    .fail(
                        format!("trial `{id}` has no token: somebody has deleted it"),
                        "put an empty file `tokens/ID.waiting` there to run it, `tokens/ID.failed` not to",
                    ),
                Some(_) => {}
                None => self.missing = None,
            }
        }
        Ok(())
    }

    /// Whether there is, or may be, something to do: trials that wait, or others whose worker may be gone.
    fn may_get_work(&self) -> bool {
        let mine = |trial: &&Trial| self.work.stage.is_none_or(|last| trial.stage <= last);
        self.looked.is_none()
            || self.plan.trials.iter().filter(mine).any(|trial| match self.states.get(&trial.id) {
                Some(State::Waiting) => self.readiness(trial.stage) != Readiness::Never,
                Some(State::Held(_)) | None => true,
                Some(_) => false,
            })
    }

    fn start_next(&mut self, index: usize) -> std::io::Result<Option<Running>> {
        self.look()?;
        let mut ready = HashMap::new();
        for at in 0..self.plan.trials.len() {
            let Some(trial) = self.plan.trials.get(at) else { break };
            if self.work.stage.is_some_and(|last| trial.stage > last)
                || self.not_before.get(&trial.id).is_some_and(|time| Instant::now() < *time)
            {
                continue;
            }
            let from = match self.states.get(&trial.id) {
                Some(State::Waiting) => State::Waiting,
                Some(State::Held(owner))
                    if *owner != self.owner && self.watch.is_abandoned(&self.tokens, &trial.id, owner) =>
                {
                    State::Held(owner.clone())
                }
                _ => continue,
            };
            if *ready.entry(trial.stage).or_insert_with(|| self.readiness(trial.stage)) != Readiness::Now {
                continue;
            }
            let trial = trial.clone();
            if !self.tokens.turn(&trial.id, &from, &self.held())? {
                // Somebody was faster; what it is now is seen at the next look.
                self.states.remove(&trial.id);
                continue;
            }
            self.states.insert(trial.id.clone(), self.held());
            if from != State::Waiting {
                (self.work.tell)(&format!("{}: its worker is gone, taken over", trial.name));
            }
            match self.start(trial, index)? {
                Some(running) => return Ok(Some(running)),
                None if self.is_ending() => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// Starts a trial whose token is held. `None`: there was nothing to run.
    fn start(&mut self, trial: Trial, index: usize) -> std::io::Result<Option<Running>> {
        let run = self.work.dir.run(&trial.name);
        // A file system without locks tells nothing.
        if is_running(&run).unwrap_or(false) {
            // A process that its worker has left behind: it ends by itself, or its worker comes back.
            self.not_before.insert(trial.id.clone(), Instant::now() + Duration::from_secs(1));
            self.give_back(&trial)?;
            return Ok(None);
        }
        // Its worker has not come to say so.
        if Ending::read(&run).is_some_and(|ending| ending.is_over()) {
            self.settle(&trial, &State::Done)?;
            return Ok(None);
        }
        let Some(rungs) = self.rungs_left(&trial)? else {
            self.settle(&trial, &State::Halted)?;
            return Ok(None);
        };
        let settings = match self.taken(&trial) {
            Ok(settings) => settings,
            Err(message) => {
                self.give_back(&trial)?;
                self.fail(message, "look at `dtrain sweep status DIR`");
                return Ok(None);
            }
        };
        let Some(slot) = self.work.slots.get(index) else { return Ok(None) };
        let place = (&self.work.dir, &self.plan.header);
        let child = start(&self.work.starter, place, &trial, &settings, slot)?;
        let now = Instant::now();
        let curve = Curve::new(run.metrics(), &self.plan.header.optimize);
        Ok(Some(Running {
            trial,
            child,
            rungs,
            curve,
            halted: false,
            renewed: now,
            looked: now,
            judged: now,
            asked: false,
        }))
    }

    /// The rungs at which a trial was not judged yet; `None`: it lagged behind at one.
    fn rungs_left(&self, trial: &Trial) -> std::io::Result<Option<Vec<u64>>> {
        let stage = self.plan.stage_of(trial).map(|stage| stage.name.as_str()).unwrap_or_default();
        let mut left = Vec::new();
        for epochs in &trial.rungs {
            match std::fs::read_to_string(self.work.dir.rung(stage, *epochs).join(&trial.id)) {
                Ok(text) if text.trim_end().ends_with("halted") => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => left.push(*epochs),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(left))
    }

    /// The settings of a trial with those that earlier stages have found, which come before its own.
    fn taken(&mut self, trial: &Trial) -> Result<Vec<String>, String> {
        let Some(stage) = self.plan.stage_of(trial).cloned() else { return Ok(trial.settings.clone()) };
        let mut found = Vec::new();
        for Taken { key, stage: from, folder } in &stage.take {
            let Some(index) = self.plan.stage_index(from) else { continue };
            if !self.chosen.contains_key(&index) {
                let chosen = Chosen::of(&self.plan, index, &self.work.dir)?;
                let given = match chosen.values.as_slice() {
                    [] => format!("the run of {}", chosen.trials.join(", ")),
                    values => words(values),
                };
                (self.work.tell)(&format!("stage `{from}` gives {given}"));
                self.chosen.insert(index, chosen);
            }
            let Some(chosen) = self.chosen.get(&index) else { continue };
            if *folder {
                let best = self.plan.trials.iter().find(|trial| chosen.trials.contains(&trial.id));
                let run = best.map(|trial| self.work.dir.run(&trial.name));
                let path = run.map(|run| std::path::absolute(run.path()).unwrap_or(run.path().to_owned()));
                found.extend(path.map(|path| format!("{key}={}", path.display())));
            } else {
                found.extend(chosen.value(key).map(|value| format!("{key}={value}")));
            }
        }
        let own = trial.values.len();
        let common = trial.settings.len().saturating_sub(own);
        let (before, behind) = trial.settings.split_at(common);
        Ok(before.iter().chain(&found).chain(behind).cloned().collect())
    }

    /// Whether the stages that a stage takes of are settled.
    fn readiness(&self, stage: usize) -> Readiness {
        let takes = self.plan.header.stages.get(stage).map(|stage| stage.take.as_slice()).unwrap_or_default();
        let stages: HashSet<usize> =
            takes.iter().filter_map(|taken| self.plan.stage_index(&taken.stage)).collect();
        let mut readiness = Readiness::Now;
        for trial in stages.iter().flat_map(|stage| self.plan.trials_of(*stage)) {
            match self.states.get(&trial.id) {
                Some(state) if state.is_settled() => {}
                Some(State::Stopped) => return Readiness::Never,
                _ => readiness = Readiness::Later,
            }
        }
        let own_stages = stages.iter().map(|stage| self.readiness(*stage));
        if own_stages.max() == Some(Readiness::Never) { Readiness::Never } else { readiness }
    }
}

fn words(values: &[(String, String)]) -> String {
    values.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    Now,
    Later,
    /// Somebody has to go on with the earlier stage first.
    Never,
}

/// Whether a trial's folder was deleted although the trial has ended.
pub(crate) fn is_gone(run: &RunDir, state: &State) -> bool {
    matches!(state, State::Done | State::Halted) && !run.path().is_dir()
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
