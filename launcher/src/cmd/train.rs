//! `dtrain train`.

use dtrain_configs::{Origins, RunConfig, shell_path};
use dtrain_front::cli::TrainArgs;
use dtrain_front::{Exit, Printer, composed_for_training, take_planned_world};
use dtrain_trainer::coordinator::StopReason;
use dtrain_trainer::run::{Extent, Observer, Outcome, RunDir, Silent, TrainRequest};

use crate::context::with_ranks;
use crate::exit::of_end;
use crate::failure::Failure;
use crate::logging::LogFile;
use crate::ui::{TerminalObserver, best_table};
use crate::{logging, signals};

/// Composes the settings, then trains.
pub fn run(mut args: TrainArgs, printer: &Printer) -> Result<Exit, Failure> {
    let world = take_planned_world(&mut args)?;
    let composition = composed_for_training(&args)?;
    let extent = match (args.dry_run, args.fast_dev_run) {
        (true, _) => Extent::DryRun { world },
        (false, Some(steps)) => Extent::FastDev { steps },
        (false, None) => Extent::Full,
    };
    launch(composition.config, composition.origins, args.overrides, extent, printer)
}

/// Trains with composed settings.
pub fn launch(
    config: RunConfig,
    origins: Origins,
    overrides: Vec<String>,
    extent: Extent,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let log = logging::install(printer.rank());
    let stop = signals::watch()
        .map_err(|e| Failure::agreed(Exit::Environment, format!("signals cannot be watched: {e}"), None))?;
    let comm = config.comm.clone();
    with_ranks(printer, &comm, |ranks| {
        let mut observer: Box<dyn Observer> = if printer.speaks() {
            Box::new(TerminalObserver::new(printer.clone()))
        } else {
            Box::new(Silent)
        };
        let run_dir = std::cell::RefCell::new(None);
        let request = TrainRequest {
            config,
            origins,
            overrides,
            collective: std::sync::Arc::clone(ranks),
            observer: &mut *observer,
            stop,
            extent,
            git_revision: option_env!("DTRAIN_BUILD_REVISION"),
            on_run_dir: &|dir: &RunDir| begin(&log, dir, printer, &run_dir),
        };
        let outcome = dtrain_trainer::run::train(request)?;
        Ok(conclude(outcome.as_ref(), run_dir.borrow().as_ref(), extent, ranks.world().world_size, printer))
    })
}

fn begin(
    log: &LogFile,
    dir: &RunDir,
    printer: &Printer,
    known: &std::cell::RefCell<Option<RunDir>>,
) -> std::io::Result<()> {
    known.replace(Some(dir.clone()));
    log.open(dir, printer.rank())
}

/// How a run ended, for people; a file says [`StopReason::as_str`].
fn described(reason: &StopReason) -> &'static str {
    match reason {
        // Whoever presses Ctrl-C at a bare mpirun has not asked for a requeue, and cannot be told from a scheduler.
        StopReason::Requeue => {
            "saved to be started again (SIGTERM, which mpirun makes of Ctrl-C too, SIGUSR1, a time limit or `dtrain stop`)"
        }
        reason => reason.as_str(),
    }
}

/// The last lines: how it ended, where everything is, what to do next.
fn conclude(
    outcome: Option<&Outcome>,
    run_dir: Option<&RunDir>,
    extent: Extent,
    world_size: usize,
    printer: &Printer,
) -> Exit {
    let Some(outcome) = outcome else {
        printer.say("dry run: settings, data and model fit; no run directory was made");
        return Exit::Done;
    };
    if matches!(extent, Extent::FastDev { .. }) {
        printer.say(&format!(
            "fast dev run: {} steps, world size {world_size}; no run directory was made",
            outcome.steps
        ));
        return of_end(&outcome.reason);
    }
    if let Some(table) = best_table(outcome) {
        printer.say(&table);
    }
    let mut text = format!(
        "{} after {} steps, {} samples, {:.1} s",
        described(&outcome.reason),
        outcome.steps,
        outcome.samples_seen,
        outcome.wall_secs
    );
    if let Some(dir) = run_dir {
        let (path, word) = (dir.path().display(), shell_path(dir.path()));
        text.push_str(&format!("\nrun directory: {path}"));
        let exit = of_end(&outcome.reason);
        text.push_str(&match exit {
            Exit::Done => format!("\nnext: dtrain eval {word}"),
            Exit::Failed => {
                format!("\nnext: lower `optimizer.lr` or set `trainer.grad_clip`; see {path}/metrics.jsonl")
            }
            _ => format!("\nnext: dtrain resume {word}"),
        });
    }
    printer.say(&text);
    of_end(&outcome.reason)
}
