//! `dtrain train`.

use dtrain_configs::{ComposeOptions, Composition, RunConfig, compose};
use dtrain_trainer::run::{Extent, Observer, Outcome, RunDir, Silent, TrainRequest};

use super::Failure;
use crate::cli::TrainArgs;
use crate::context::with_ranks;
use crate::exit::Exit;
use crate::logging::LogFile;
use crate::ui::{Printer, TerminalObserver};
use crate::{logging, signals};

/// Composes the settings, then trains.
pub fn run(mut args: TrainArgs, printer: &Printer) -> Result<Exit, Failure> {
    let world = args.take_planned_world().map_err(|message| {
        Failure::agreed(Exit::Usage, message, Some("write `dtrain --dry-run world=1024 ...`".into()))
    })?;
    let composition = composed_for_training(&args)?;
    if args.cfg {
        printer.data(&composition.render(true));
        return Ok(Exit::Done);
    }
    let extent = match (args.dry_run, args.fast_dev_run) {
        (true, _) => Extent::DryRun { world },
        (false, Some(steps)) => Extent::FastDev { steps },
        (false, None) => Extent::Full,
    };
    launch(composition.config, args.overrides, extent, printer)
}

/// The settings that were asked for.
pub fn composed_for_training(args: &TrainArgs) -> Result<Composition, Failure> {
    let options = ComposeOptions { config_dir: args.config.config_dir.clone() };
    Ok(compose(&args.overrides, &options)?)
}

/// Trains with composed settings.
pub fn launch(
    config: RunConfig,
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
            overrides,
            collective: std::sync::Arc::clone(ranks),
            observer: &mut *observer,
            stop,
            extent,
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
        return Exit::from(&outcome.reason);
    }
    let mut text = format!(
        "{} after {} steps, {} samples, {:.1} s",
        outcome.reason.as_str(),
        outcome.steps,
        outcome.samples_seen,
        outcome.wall_secs
    );
    if let Some(dir) = run_dir {
        let path = dir.path().display();
        text.push_str(&format!("\nrun directory: {path}"));
        let exit = Exit::from(&outcome.reason);
        text.push_str(&match exit {
            Exit::Done => format!("\nnext: dtrain eval {path}"),
            Exit::Failed => {
                format!("\nnext: lower `optimizer.lr` or set `trainer.grad_clip`; see {path}/metrics.jsonl")
            }
            _ => format!("\nnext: dtrain resume {path}"),
        });
    }
    printer.say(&text);
    Exit::from(&outcome.reason)
}
