//! `dtrain verify`.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use dtrain_configs::compose;
use dtrain_front::cli::{EquivalenceArgs, VerifyTarget};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;
use dtrain_trainer::verify::{
    Comparison, EquivalenceRequest, Measured, Progress, Report, Verdict, equivalence, tolerance,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::context::with_ranks;
use crate::failure::Failure;
use crate::logging;

/// Proves something, and says so.
pub fn run(what: VerifyTarget, printer: &Printer) -> Result<Exit, Failure> {
    match what {
        VerifyTarget::Equivalence(args) => run_equivalence(args, printer),
        VerifyTarget::Resume(args) => super::verify_resume::run(&args, printer),
        VerifyTarget::Device(args) => super::verify_device::run(&args, printer),
    }
}

fn run_equivalence(args: EquivalenceArgs, printer: &Printer) -> Result<Exit, Failure> {
    let options = args.config.options();
    let config = compose(&args.overrides, &options)?.config;
    logging::install(printer.rank());
    let comm = config.comm.clone();
    with_ranks(printer, &comm, |ranks| {
        let request = EquivalenceRequest {
            config,
            num_ranks: args.ranks,
            batch: args.batch,
            steps: args.steps as usize,
        };
        let mut talk = Talk::new(printer);
        let report = equivalence(request, ranks, &mut |progress| talk.say(progress))?;
        talk.end();
        if printer.speaks()
            && let Some(path) = &args.json
        {
            write(&report, path)?;
        }
        printer.data(&describe(&report));
        Ok(if report.num_beyond() == 0 { Exit::Done } else { Exit::Failed })
    })
}

fn write(report: &Report, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|e| Failure::agreed(Exit::Failed, format!("the report cannot be written: {e}"), None))?;
    Ok(fs_err::write(path, text + "\n").map_err(TrainError::from)?)
}

/// A bar on a terminal, lines elsewhere.
struct Talk<'a> {
    printer: &'a Printer,
    bar: Option<ProgressBar>,
}

impl<'a> Talk<'a> {
    fn new(printer: &'a Printer) -> Self {
        Self { printer, bar: None }
    }

    fn say(&mut self, progress: &Progress) {
        if !self.printer.is_terminal() {
            return self.printer.say(&format!("{}/{} {}", progress.done + 1, progress.total, progress.next));
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(progress.total as u64);
            // The template is a constant; a broken one would fall back to the plain bar.
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed_precise}] {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_position(progress.done as u64);
        bar.set_message(progress.next.clone());
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The table, what it leaves out, what is allowed, and the verdict.
fn describe(report: &Report) -> String {
    let mut text = format!("{}\n", table(&report.comparisons));
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let lens: Vec<String> = report.samples_per_step.iter().map(usize::to_string).collect();
    say(format!(
        "{} on {}; ranks: {}; samples of each step: {}",
        report.method,
        report.device,
        report.ranks_are,
        lens.join(", ")
    ));
    say(format!(
        "Relative differences from one rank and one piece (of a loss below 1: as they are), the largest of all steps. \
         Allowed: fp64 {:.0e}, tensors {:.0e}; fp32 loss {:.0e}, gradient {:.0e}, tensors {:.0e}, or {} times the noise on one rank (permuted \
         batches, distance from fp64) where that is more (*); bf16 loss {:.0e}.",
        tolerance::F64,
        tolerance::F64_TENSOR,
        tolerance::F32_LOSS,
        tolerance::F32_GRADIENT,
        tolerance::F32_TENSOR,
        tolerance::NOISE_FACTOR,
        tolerance::BF16_LOSS,
    ));
    if !report.zero_gradients.is_empty() {
        say(format!(
            "not judged by tensor, gradient zero by construction: {}",
            report.zero_gradients.join(", ")
        ));
    }
    for note in &report.notes {
        say(format!("note: {note}"));
    }
    let (judged, beyond) = (report.num_judged(), report.num_beyond());
    say(match beyond {
        0 => format!("all {judged} comparisons within tolerance"),
        _ => format!("{beyond} of {judged} comparisons beyond tolerance"),
    });
    text
}

/// One line for each comparison.
fn table(comparisons: &[Comparison]) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_header([
        "precision",
        "ranks",
        "steps",
        "variation",
        "loss",
        "gradient",
        "weights",
        "worst tensor",
        "verdict",
    ]);
    for comparison in comparisons {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let worst = comparison.worst.as_ref();
        let worst = worst.map_or("-".to_owned(), |w| format!("{} {}", w.name, number(Some(&w.measured))));
        table.add_row([
            Cell::new(format!("{:?}", comparison.precision).to_lowercase()),
            right(comparison.ranks.to_string()),
            right(comparison.steps.to_string()),
            Cell::new(&comparison.way),
            right(number(Some(&comparison.loss))),
            right(number(comparison.gradient.as_ref())),
            right(number(comparison.weights.as_ref())),
            Cell::new(worst),
            Cell::new(verdict(comparison)),
        ]);
    }
    table.to_string()
}

fn verdict(comparison: &Comparison) -> &'static str {
    match comparison.verdict {
        Verdict::Within => "within",
        Verdict::Beyond if !comparison.ranks_agree => "BEYOND: ranks differ",
        Verdict::Beyond => "BEYOND",
        Verdict::Reported => "reported",
    }
}

/// `1.2e-9`, followed by `!` beyond the tolerance, and by the tolerance where the noise gave it.
fn number(measured: Option<&Measured>) -> String {
    let Some(measured) = measured else { return "-".to_owned() };
    let value = match measured.difference {
        0.0 => "0".to_owned(),
        value if value.is_finite() => format!("{value:.1e}"),
        _ => "not finite".to_owned(),
    };
    let beyond = if measured.is_within() { "" } else { "!" };
    match measured.tolerance.filter(|_| measured.from_noise) {
        Some(tolerance) => format!("{value}{beyond} of {tolerance:.1e}*"),
        None => format!("{value}{beyond}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_what_allows_them() {
        let measured = |difference, tolerance, from_noise| Measured { difference, tolerance, from_noise };
        let shown = |m: Measured| number(Some(&m));
        assert_eq!(shown(measured(1.26e-9, Some(1e-8), false)), "1.3e-9");
        assert_eq!(shown(measured(1.26e-9, Some(1e-10), false)), "1.3e-9!");
        assert_eq!(shown(measured(2e-5, Some(4e-5), true)), "2.0e-5 of 4.0e-5*");
        assert_eq!(shown(measured(f64::INFINITY, Some(1.0), false)), "not finite!");
        assert_eq!(shown(measured(0.0, None, false)), "0");
        assert_eq!(number(None), "-");
    }
}
