//! Shares in tables.

use comfy_table::{Cell, CellAlignment};
use dtrain_trainer::eval::Interval;

/// To the right, in hundredths of a percent; `-` where there is none.
pub(super) fn percent(share: Option<f64>) -> Cell {
    let text = match share {
        Some(share) if share.is_finite() => format!("{:.2} %", 100.0 * share),
        Some(_) | None => "-".to_owned(),
    };
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The ends of a 95 % interval, in hundredths of a percent: `[80.12, 89.01]`.
pub(super) fn ends(interval: Option<Interval>) -> Option<String> {
    interval.map(|interval| format!("[{:.2}, {:.2}]", 100.0 * interval.low, 100.0 * interval.high))
}

/// An accuracy with its 95 % interval: `85.00 % [80.12, 89.01]`.
pub(super) fn share_within(share: f64, interval: Option<Interval>) -> String {
    let ends = ends(interval).map_or_else(String::new, |ends| format!(" {ends}"));
    format!("{:.2} %{ends}", 100.0 * share)
}
