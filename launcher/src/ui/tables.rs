//! Tables of what an evaluation found.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_trainer::eval::{Evaluation, HeadResult, Protocol, Row};

/// What the heads predict and what probes read off the embeddings, whichever there is.
pub fn evaluation_tables(evaluation: &Evaluation) -> String {
    let part = &evaluation.part;
    let mut tables = Vec::new();
    if !evaluation.heads.is_empty() {
        tables.push(head_table(part, &evaluation.heads));
    }
    if !evaluation.rows.is_empty() {
        tables.push(accuracy_table(part, &evaluation.rows));
    }
    tables.join("\n")
}

/// One line per head, with what guessing reaches, and the error in units where classes have values.
fn head_table(part: &str, heads: &[HeadResult]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let has_values = heads.iter().any(|head| head.mean_error.is_some());
    let mut header = vec!["head", part, "chance", "majority", "loss", "classes", "samples"];
    if has_values {
        header.extend(["mean error", "of range"]);
    }
    table.set_header(header);
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for head in heads {
        let mut row = vec![
            Cell::new(&head.name),
            percent(Some(head.accuracy)),
            percent(Some(head.chance)),
            percent(Some(head.majority)),
            number(format!("{:.4}", head.loss)),
            number(head.classes.len().to_string()),
            number(head.total.to_string()),
        ];
        if has_values {
            row.push(number(head.mean_error.map_or("-".into(), |error| format!("{error:.4}"))));
            row.push(percent(head.mean_error.zip(head.span).map(|(error, span)| error / span)));
        }
        table.add_row(row);
    }
    table.to_string()
}

/// One line per label and probe, with what guessing reaches.
fn accuracy_table(part: &str, rows: &[Row]) -> String {
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
