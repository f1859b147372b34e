//! Shares in tables.

use comfy_table::{Cell, CellAlignment};

/// To the right, in hundredths of a percent; `-` where there is none.
pub(super) fn percent(share: Option<f64>) -> Cell {
    let text = match share {
        Some(share) if share.is_finite() => format!("{:.2} %", 100.0 * share),
        Some(_) | None => "-".to_owned(),
    };
    Cell::new(text).set_alignment(CellAlignment::Right)
}
