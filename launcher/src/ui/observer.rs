//! What a run looks like: a banner, a progress bar on a terminal or plain lines elsewhere, tables of accuracies.

use std::path::Path;

use dtrain_front::Printer;
use dtrain_trainer::coordinator::StopReason;
use dtrain_trainer::eval::{Coverage, Evaluation, HeadResult};
use dtrain_trainer::run::{Banner, Evaluated, Observer, Progress};

use super::percent::share_within;
use super::{bar, evaluation_tables};

/// Columns of the banner.
const NAME_WIDTH: usize = 24;

/// Speaks for rank 0.
pub struct TerminalObserver {
    printer: Printer,
    /// Whether the first table of the end has been shown.
    concludes: bool,
}

impl TerminalObserver {
    /// A bar on a terminal, plain lines elsewhere.
    pub fn new(printer: Printer) -> Self {
        Self { printer, concludes: false }
    }

    fn say(&self, text: &str) {
        bar::aside(|| self.printer.say(text));
    }
}

impl Observer for TerminalObserver {
    fn started(&mut self, banner: &Banner) {
        for line in &banner.lines {
            let reason = if line.reason.is_empty() { String::new() } else { format!("  ({})", line.reason) };
            self.say(&format!("{:NAME_WIDTH$} {}{reason}", line.name, line.value));
        }
        for warning in &banner.warnings {
            self.printer.warn(warning);
        }
        self.say("");
    }

    fn stepped(&mut self, progress: &Progress) {
        if self.printer.is_terminal() {
            let message = format!(
                "epoch {} loss {:.4} {:.0} samples/s",
                progress.epoch + 1,
                progress.loss,
                progress.samples_per_sec
            );
            bar::step(progress.step, progress.total_steps, message);
        } else if progress.logged {
            self.say(&format!(
                "epoch {} step {}/{} loss {:.4} {:.0} samples/s",
                progress.epoch + 1,
                progress.step,
                progress.total_steps,
                progress.loss,
                progress.samples_per_sec
            ));
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation, step: u64, which: Evaluated) {
        if which != Evaluated::During {
            let table = evaluation_tables(evaluation, evaluation.is_reported);
            if !std::mem::replace(&mut self.concludes, true) {
                let weights = if which == Evaluated::Best { "best" } else { "last" };
                self.say(&format!("\n{weights} weights: step {step}"));
            }
            self.say(&table);
            return;
        }
        let in_rows = |head: &&HeadResult| evaluation.rows.iter().any(|row| row.label == head.name);
        let mut parts: Vec<String> =
            evaluation.heads.iter().filter(|head| !in_rows(head)).map(brief).collect();
        for row in &evaluation.rows {
            parts.push(format!(
                "{} {} {} (chance {:.2} %)",
                row.label,
                row.probe_name(),
                share_within(row.accuracy, row.interval()),
                100.0 * row.baselines.chance
            ));
        }
        let stands_in = if evaluation.stands_in { " in place of val" } else { "" };
        let looked_at = evaluation.coverage.map(looked_at).unwrap_or_default();
        self.say(&format!("step {step} {}{stands_in}{looked_at}: {}", evaluation.part, parts.join(", ")));
    }

    fn saved(&mut self, path: &Path, step: u64) {
        tracing::debug!(step, path = %path.display(), "checkpoint is durable");
    }

    fn ended(&mut self, _: &StopReason) {
        bar::end_steps();
    }
}

/// ` (1000 of 5000 samples, from 9000 of 45000)`, where an evaluation did not look at all of them.
fn looked_at(Coverage { questions: (asked, all), bank }: Coverage) -> String {
    let bank = bank.map_or_else(String::new, |(bank, all)| format!(", from {bank} of {all}"));
    format!(" ({asked} of {all} samples{bank})")
}

/// `thickness 98.20 % [96.81, 98.99]`, with the error where classes are steps of a scale.
fn brief(head: &HeadResult) -> String {
    let error = head.mean_error.map_or(String::new(), |error| format!(" (mean error {error:.3})"));
    format!("{} {}{error}", head.name, share_within(head.accuracy, head.interval))
}
