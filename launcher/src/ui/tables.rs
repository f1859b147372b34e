//! Accuracy tables.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_trainer::eval::{Protocol, Row};

/// One line per label and probe, with what guessing reaches.
pub fn accuracy_table(part: &str, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["label", "probe", "answers from", "train", part, "chance", "majority", "samples"]);
    for row in rows {
        let source = match row.protocol {
            Protocol::Transfer => "train".to_owned(),
            Protocol::WithinPart => format!("other clips of {part}"),
        };
        table.add_row([
            Cell::new(&row.label),
            Cell::new(row.probe.as_str()),
            Cell::new(source),
            percent(row.train),
            percent(Some(row.accuracy)),
            percent(Some(row.baselines.chance)),
            percent(Some(row.baselines.majority)),
            Cell::new(row.total).set_alignment(CellAlignment::Right),
        ]);
    }
    table.to_string()
}

/// Names and values, one below the other; a value may have several lines.
pub fn fact_table(facts: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in facts {
        table.add_row([Cell::new(name), Cell::new(value)]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn percent(share: Option<f64>) -> Cell {
    let text = match share {
        Some(share) if share.is_finite() => format!("{:.2} %", 100.0 * share),
        Some(_) | None => "-".to_owned(),
    };
    Cell::new(text).set_alignment(CellAlignment::Right)
}
