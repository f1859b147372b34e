//! The table of an audit: what the embedding knows, best known first.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_trainer::track::{Audit, AuditedColumn, Known, WorstGroup};

use super::percent::percent;

/// One line per column, then what could not be asked for.
pub(super) fn audit_table(audit: &Audit) -> String {
    let Audit { part, class, columns, left_out } = audit;
    let has_linear = columns.iter().any(|column| column.linear.is_some());
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let mut header = vec![
        format!("known to the embedding ({part})"),
        "values".into(),
        "kNN".into(),
        "95 % interval".into(),
    ];
    header
        .extend(has_linear.then(|| ["linear".to_owned(), "95 % interval".to_owned()]).into_iter().flatten());
    header.extend(["chance", "answers from"].map(str::to_owned));
    header.extend(["worst group".to_owned(), format!("{class} there"), "samples".to_owned()]);
    table.set_header(header);
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for column in columns {
        let is_class = column.column == *class;
        let name = if is_class { format!("{class} (the class)") } else { column.column.clone() };
        let mut cells = vec![Cell::new(name), number(column.values.to_string())];
        cells.extend(known(Some(&column.knn)));
        cells.extend(has_linear.then(|| known(column.linear.as_ref())).into_iter().flatten());
        let from = if column.answers_from == "train" {
            "train".to_owned()
        } else {
            format!("other clips of {part}")
        };
        cells.extend([percent(Some(column.chance)), Cell::new(from)]);
        cells.extend(worst(column));
        table.add_row(cells);
    }
    let notes =
        left_out.iter().map(|left_out| format!("not asked for `{}`: {}", left_out.column, left_out.reason));
    let missing = columns.iter().filter(|column| column.without_value > 0);
    let missing = missing.map(|column| {
        format!(
            "`{}`: {} samples have no value and were not asked about",
            column.column, column.without_value
        )
    });
    std::iter::once(table.to_string()).chain(notes).chain(missing).collect::<Vec<_>>().join("\n")
}

/// Beyond chance, with the ends of its interval.
fn known(known: Option<&Known>) -> [Cell; 2] {
    let ends = known.map(|known| {
        let [low, high] = known.beyond_chance_interval;
        format!("[{:.2}, {:.2}]", 100.0 * low, 100.0 * high)
    });
    let ends = Cell::new(ends.unwrap_or_else(|| "-".to_owned())).set_alignment(CellAlignment::Right);
    [percent(known.map(|known| known.beyond_chance)), ends]
}

fn worst(column: &AuditedColumn) -> [Cell; 3] {
    match &column.worst_group {
        Some(WorstGroup { value, samples, class_accuracy }) => [
            Cell::new(value),
            percent(Some(*class_accuracy)),
            Cell::new(samples).set_alignment(CellAlignment::Right),
        ],
        None if column.small_groups > 0 => {
            let reason = format!("{} values of few samples", column.small_groups);
            [Cell::new(reason), percent(None), Cell::new("-").set_alignment(CellAlignment::Right)]
        }
        None => [Cell::new("-"), percent(None), Cell::new("-").set_alignment(CellAlignment::Right)],
    }
}
