//! The one line that moves: a bar at the bottom of a terminal, for training steps and for any other long work. Elsewhere
//! plain lines at an interval.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dtrain_data::progress::{self, Listener, Stand};
use dtrain_front::Printer;
use indicatif::{ProgressBar, ProgressStyle};

/// Between two pictures of a bar.
const ON_A_TERMINAL: Duration = Duration::from_millis(200);
/// Between two lines of a work, and before its first.
const IN_A_LOG: Duration = Duration::from_secs(10);

static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);
/// Whether the bar is that of the training steps, which a work only lends its words.
static TRAINS: AtomicBool = AtomicBool::new(false);

fn bar() -> MutexGuard<'static, Option<ProgressBar>> {
    // A bar that somebody panicked over is still a bar.
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows a step of the run.
pub fn step(done: u64, total: u64, message: String) {
    let mut current = bar();
    if !TRAINS.swap(true, Ordering::Relaxed) {
        clear_locked(&mut current);
    }
    let bar = current.get_or_insert_with(|| counting(total));
    bar.set_position(done);
    bar.set_message(message);
}

/// The steps have ended.
pub fn end_steps() {
    TRAINS.store(false, Ordering::Relaxed);
    clear_locked(&mut bar());
}

fn show_work(stand: &Stand<'_>) {
    let mut current = bar();
    if TRAINS.load(Ordering::Relaxed) {
        if let Some(bar) = &*current {
            bar.set_message(line(stand));
        }
        return;
    }
    let bar = current.get_or_insert_with(|| stand.total.map_or_else(spinning, working));
    bar.set_prefix(stand.what.to_owned());
    bar.set_message(progress_of(stand));
    bar.set_position(stand.done);
}

fn end_work() {
    if !TRAINS.load(Ordering::Relaxed) {
        clear_locked(&mut bar());
    }
}

fn counting(total: u64) -> ProgressBar {
    ProgressBar::new(total)
        .with_style(style("{bar:30} {pos}/{len} [{elapsed_precise} < {eta_precise}] {msg}"))
}

/// The words say how much is done and what is left: the bar begins when the work has been going on for a while.
fn working(total: u64) -> ProgressBar {
    ProgressBar::new(total).with_style(style("{prefix} {bar:20} {msg}"))
}

fn spinning() -> ProgressBar {
    ProgressBar::no_length().with_style(style("{prefix} {spinner} {msg}"))
}

/// The templates are constants; a broken one would fall back to the plain bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn clear_locked(current: &mut Option<ProgressBar>) {
    if let Some(bar) = current.take() {
        bar.finish_and_clear();
    }
}

/// Talks while the line is out of the way.
pub fn aside(talk: impl FnOnce()) {
    match &*bar() {
        Some(bar) => bar.suspend(talk),
        None => talk(),
    }
}

/// From now on this rank hears of long work, if it is the one that speaks.
pub fn listen(printer: &Printer) {
    if printer.speaks() {
        progress::listen(Box::new(Speaker(printer.clone())));
    }
}

struct Speaker(Printer);

impl Listener for Speaker {
    fn interval(&self) -> Duration {
        if self.0.is_terminal() { ON_A_TERMINAL } else { IN_A_LOG }
    }

    fn report(&self, stand: &Stand<'_>) {
        if self.0.is_terminal() {
            show_work(stand);
        } else {
            self.0.say(&line(stand));
        }
    }

    fn ended(&self) {
        if self.0.is_terminal() {
            end_work();
        }
    }
}

/// `reading headers: 12000 of 50000 files, 1200/s, 32 s left`.
fn line(stand: &Stand<'_>) -> String {
    format!("{}: {}", stand.what, progress_of(stand))
}

/// `12000 of 50000 files, 1200/s, 32 s left`.
fn progress_of(stand: &Stand<'_>) -> String {
    let Stand { unit, done, total, .. } = stand;
    let of = total.map_or_else(String::new, |total| format!(" of {total}"));
    let speed = speed(stand);
    let left = stand.time_left().map_or_else(String::new, |left| format!(", {} left", rounded(left)));
    format!("{done}{of} {unit}, {speed}/s{left}")
}

fn speed(stand: &Stand<'_>) -> String {
    let speed = stand.per_sec();
    if speed < 10.0 { format!("{speed:.1}") } else { format!("{speed:.0}") }
}

fn rounded(left: Duration) -> String {
    let secs = left.as_secs_f64().round() as u64;
    match secs {
        0..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", (secs + 30) / 60),
        _ => format!("{:.1} h", secs as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_speed_and_time_left() {
        let at = |done, total, secs| {
            let elapsed = Duration::from_secs(secs);
            line(&Stand { what: "reading headers", unit: "files", done, total, elapsed })
        };
        assert_eq!(at(12_000, Some(50_000), 10), "reading headers: 12000 of 50000 files, 1200/s, 32 s left");
        assert_eq!(at(5, Some(5_000), 10), "reading headers: 5 of 5000 files, 0.5/s, 2.8 h left");
        assert_eq!(at(40, Some(1_000), 10), "reading headers: 40 of 1000 files, 4.0/s, 4 min left");
        assert_eq!(at(300, None, 10), "reading headers: 300 files, 30/s");
    }
}
