//! `dtrain eval`.

use std::collections::BTreeMap;

use dtrain_trainer::run::{open_checkpoint, open_probed, write_confusions};

use super::Failure;
use crate::cli::EvalArgs;
use crate::context::with_ranks;
use crate::exit::Exit;
use crate::logging;
use crate::ui::{Printer, evaluation_tables};

/// Probes a checkpoint on train, val and test.
pub fn run(args: &EvalArgs, printer: &Printer) -> Result<Exit, Failure> {
    let (run_dir, folder) = open_checkpoint(&args.checkpoint)?;
    let config = dtrain_configs::load_with_overrides(&run_dir.config(), &args.overrides)?;
    logging::install(printer.rank());
    let comm = config.comm.clone();
    with_ranks(printer, &comm, |ranks| {
        let path = folder.as_deref().unwrap_or(run_dir.path());
        let probed = open_probed(config, ranks, path)?;
        let (mut metrics, mut heads) = (BTreeMap::new(), BTreeMap::new());
        for evaluation in probed.evaluate()? {
            printer.say(&format!("step {}\n{}", probed.step, evaluation_tables(&evaluation)));
            if printer.rank() == 0 {
                // Pictures are an addition: a run directory that cannot be written is evaluated all the same.
                match write_confusions(&evaluation, &run_dir.evaluation(probed.step)) {
                    Ok(drawn) => drawn.iter().for_each(|path| printer.say(&path.display().to_string())),
                    Err(error) => printer.warn(&format!("no confusion matrices were drawn: {error}")),
                }
            }
            metrics.extend(evaluation.metrics);
            heads.insert(evaluation.part, evaluation.heads);
        }
        if args.json {
            let document = serde_json::json!({ "step": probed.step, "metrics": metrics, "heads": heads });
            printer.data(&format!("{document:#}"));
        }
        Ok(Exit::Done)
    })
}
