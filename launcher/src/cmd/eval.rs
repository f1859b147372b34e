//! `dtrain eval`.

use std::collections::BTreeMap;

use dtrain_front::cli::EvalArgs;
use dtrain_front::{Exit, Printer};
use dtrain_trainer::run::{open_probed, write_reports};

use super::{Failure, Wanted, Weights};
use crate::context::with_ranks;
use crate::logging;
use crate::ui::evaluation_tables;

/// Probes a checkpoint on train and on the parts that are reported on.
pub fn run(args: &EvalArgs, printer: &Printer) -> Result<Exit, Failure> {
    let wanted = Wanted::best_or_as_set(args.best);
    // Short forms, with the checks of the long ones.
    let audit = args.audit.then(|| "eval.audit.enabled=true".to_owned());
    let pictures = args.pictures.then(|| "eval.pictures.enabled=true".to_owned());
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(audit).chain(pictures).collect();
    let mut weights = Weights::choose(&args.checkpoint, wanted, &overrides, &args.config)?;
    if !args.parts.is_empty() {
        weights.config.eval.parts.clone_from(&args.parts);
    }
    logging::install(printer.rank());
    let comm = weights.config.comm.clone();
    with_ranks(printer, &comm, |ranks| {
        let probed = open_probed(weights.config.clone(), &weights.origins, ranks, &weights.path)?;
        printer.say(&weights.describe(probed.step));
        let (mut metrics, mut heads) = (BTreeMap::new(), BTreeMap::new());
        let evaluations = probed.evaluate()?;
        for evaluation in &evaluations {
            printer.say(&evaluation_tables(evaluation, evaluation.is_reported));
        }
        if printer.rank() == 0 {
            // Files are an addition: a run directory that cannot be written is evaluated all the same.
            match write_reports(&evaluations, &weights.run_dir.evaluation(probed.step)) {
                Ok(written) => written.iter().for_each(|path| printer.say(&path.display().to_string())),
                Err(error) => printer.warn(&format!("reports were not written: {error}")),
            }
        }
        let evaluation = probed.full_evaluation(weights.which(), &evaluations);
        for evaluation in evaluations {
            metrics.extend(evaluation.metrics);
            heads.insert(evaluation.part, evaluation.heads);
        }
        if args.json {
            let document = serde_json::json!({
                "step": probed.step,
                "metrics": metrics,
                "heads": heads,
                "evaluation": evaluation,
            });
            printer.data(&format!("{document:#}"));
        }
        Ok(Exit::Done)
    })
}
