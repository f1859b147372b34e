//! What a run looks like: a banner, a progress bar on a terminal or plain lines elsewhere, tables of accuracies.

use std::path::Path;

use dtrain_trainer::coordinator::StopReason;
use dtrain_trainer::eval::{Evaluation, HeadResult};
use dtrain_trainer::run::{Banner, Observer, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Printer, evaluation_tables};

/// Columns of the banner.
const NAME_WIDTH: usize = 24;

/// Speaks for rank 0.
pub struct TerminalObserver {
    printer: Printer,
    bar: Option<ProgressBar>,
    last_table: Option<String>,
}

impl TerminalObserver {
    /// A bar on a terminal, plain lines elsewhere.
    pub fn new(printer: Printer) -> Self {
        Self { printer, bar: None, last_table: None }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.say(text)),
            None => self.printer.say(text),
        }
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
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(progress.total_steps);
                // The template is a constant; a broken one would fall back to the plain bar.
                let style = ProgressStyle::with_template(
                    "{bar:30} {pos}/{len} [{elapsed_precise} < {eta_precise}] {msg}",
                );
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar
            });
            bar.set_position(progress.step);
            bar.set_message(format!(
                "epoch {} loss {:.4} {:.0} samples/s",
                progress.epoch + 1,
                progress.loss,
                progress.samples_per_sec
            ));
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

    fn evaluated(&mut self, evaluation: &Evaluation, step: u64, last: bool) {
        if last {
            let table = evaluation_tables(evaluation);
            self.say(&format!("\n{table}"));
            self.last_table = Some(table);
            return;
        }
        let mut parts: Vec<String> = evaluation.heads.iter().map(brief).collect();
        for row in &evaluation.rows {
            parts.push(format!(
                "{} {} {:.2} % (chance {:.2} %)",
                row.label,
                row.probe.as_str(),
                100.0 * row.accuracy,
                100.0 * row.baselines.chance
            ));
        }
        self.say(&format!("step {step} {}: {}", evaluation.part, parts.join(", ")));
    }

    fn saved(&mut self, path: &Path, step: u64) {
        tracing::debug!(step, path = %path.display(), "checkpoint is durable");
    }

    fn ended(&mut self, _: &StopReason) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `thickness 98.20 %`, or the error where classes are steps of a scale.
fn brief(head: &HeadResult) -> String {
    let error = head.mean_error.map_or(String::new(), |error| format!(" (mean error {error:.3})"));
    format!("{} {:.2} %{error}", head.name, 100.0 * head.accuracy)
}
