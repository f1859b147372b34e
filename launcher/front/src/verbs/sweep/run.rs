//! Trials run here until none is left, and what is said about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dtrain_configs::{choice_hint, shell_path};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use super::{unreadable, usage};
use crate::cli::LocalArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::sweep::folder::{SweepDir, write_atomic};
use crate::sweep::plan::Plan;
use crate::sweep::slots::{Machine, Share, described};
use crate::sweep::table;
use crate::sweep::trial::Starter;
use crate::sweep::worker::{Work, work as take_trials};

/// Trials that are shown at the end.
const SHOWN: usize = 10;

/// `dtrain sweep worker`.
pub(super) fn work(
    dir: &SweepDir,
    stage: Option<&str>,
    local: &LocalArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let plan = Plan::read(dir)?;
    let last = match stage {
        None => None,
        Some(name) => Some(plan.stage_index(name).ok_or_else(|| {
            let names = plan.header.stages.iter().map(|stage| stage.name.as_str());
            usage(format!("the sweep has no stage `{name}`"), choice_hint(name, names))
        })?),
    };
    run(dir, &plan, last, false, local, printer)
}

/// The same for all stages, in the process that has made the plan.
pub(super) fn go_on(
    dir: &SweepDir,
    on_cpu: bool,
    local: &LocalArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let plan = Plan::read(dir)?;
    run(dir, &plan, None, on_cpu, local, printer)
}

fn run(
    dir: &SweepDir,
    plan: &Plan,
    stage: Option<usize>,
    on_cpu: bool,
    local: &LocalArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let word = shell_path(dir.path());
    if dir.stop().exists() {
        let hint = format!("`dtrain sweep resume {word}` goes on");
        return Err(usage(format!("the sweep in `{}` was stopped", dir.path().display()), hint));
    }
    let on_cpu = on_cpu
        || plan.trials.iter().all(|trial| trial.settings.iter().any(|word| word == "trainer.device=cpu"));
    let ranks = plan.header.ranks.max(1);
    let share = Share {
        at_once: local.at_once.map(std::num::NonZeroUsize::get),
        cores: local.cores_per_trial.map(std::num::NonZeroUsize::get),
        ranks,
        bytes: (local.memory_per_trial * f64::from(1 << 30)) as u64,
        on_cpu,
    };
    let (slots, reason) =
        Machine::look().slots(&share).map_err(|message| usage(message, "give a smaller `--at-once`"))?;
    printer.say(&format!("{} trial(s) at once ({reason}), {} each", slots.len(), described(&slots)));
    let program = std::env::current_exe().map_err(|error| unreadable(&error))?.into_os_string();
    let starter =
        match (ranks, std::env::var("SLURM_NTASKS").ok().and_then(|tasks| tasks.parse::<usize>().ok())) {
            (1, _) => Starter::Alone(program),
            (_, Some(tasks)) if tasks >= ranks => Starter::Srun(program, ranks),
            _ => Starter::Launched(program, ranks),
        };
    let signals = Signals::watch().map_err(|error| unreadable(&error))?;
    let done = take_trials(Work {
        dir: dir.clone(),
        slots,
        stage,
        starter,
        is_asked: &|| signals.is_asked(),
        tell: &|text| printer.say(text),
    })?;
    let plan = Plan::read(dir)?;
    let rows = table::rows(&plan, dir).map_err(|error| unreadable(&error))?;
    write_atomic(&dir.table(), table::csv(&plan, &rows).as_bytes()).map_err(|error| unreadable(&error))?;
    printer.say(&format!("\n{}", table::counts(&plan, &rows)));
    if let Some(failure) = done.failure {
        return Err(failure);
    }
    if done.stopped {
        printer.say(&format!("stopped; all trials have saved\nnext: dtrain sweep resume {word}"));
        return Ok(signals.exit());
    }
    printer.say(&table::terminal(&plan, &rows, SHOWN));
    let metric = &plan.header.optimize;
    let ended: Vec<_> = rows.iter().filter_map(|row| row.ending.as_ref()).collect();
    if !ended.is_empty() && ended.iter().all(|ending| !ending.metrics.contains_key(metric)) {
        let names: Vec<&str> =
            ended.iter().flat_map(|ending| ending.metrics.keys()).map(String::as_str).collect();
        let hint = choice_hint(metric, {
            let mut names = names;
            names.sort_unstable();
            names.dedup();
            names
        });
        return Err(Failure::agreed(Exit::Failed, format!("no trial has measured `{metric}`"), Some(hint)));
    }
    let has_failed = rows.iter().any(|row| row.word() == "failed");
    if has_failed {
        printer.say(&format!("some trials have failed: `dtrain sweep status {word}` says why, `dtrain sweep retry {word}` runs them once more"));
    }
    let is_stuck = rows.iter().any(|row| ["waiting", "stopped"].contains(&row.word())) && stage.is_none();
    if is_stuck {
        printer
            .say(&format!("some trials wait for others that were stopped\nnext: dtrain sweep resume {word}"));
    }
    printer.say(&format!("next: dtrain report {word}"));
    Ok(if has_failed || is_stuck { Exit::Failed } else { Exit::Done })
}

/// Ctrl-C once lets the trials save, twice ends them with this process, which they do not outlive.
struct Signals {
    interrupted: Arc<AtomicBool>,
    requeue: Arc<AtomicBool>,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        let (interrupted, requeue) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        flag::register_conditional_shutdown(SIGINT, Exit::Interrupted as i32, Arc::clone(&interrupted))?;
        flag::register(SIGINT, Arc::clone(&interrupted))?;
        for signal in [SIGTERM, SIGUSR1] {
            flag::register(signal, Arc::clone(&requeue))?;
        }
        Ok(Self { interrupted, requeue })
    }

    fn is_asked(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.requeue.load(Ordering::Relaxed)
    }

    fn exit(&self) -> Exit {
        if self.requeue.load(Ordering::Relaxed) { Exit::Requeue } else { Exit::Interrupted }
    }
}
