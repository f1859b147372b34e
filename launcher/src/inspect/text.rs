//! The report for the terminal.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_data::images::inspect::ClassCounts;
use dtrain_data::images::{Head, StatedBy};
use dtrain_trainer::track::number::percent;

use super::{Found, Part, class_text, kind_of_classes};
use crate::ui::fact_table;

/// Heads of up to so many classes have a bar for each.
const MAX_BARS: usize = 16;
/// Characters of the longest bar.
const BAR_WIDTH: u64 = 30;
/// Classes without samples that are named.
const NUM_EMPTY_NAMED: usize = 8;

/// All that was found.
pub fn report(found: &Found<'_>) -> String {
    let folder = found.folder;
    let mut facts = vec![
        ("format", folder.format.name().to_owned()),
        ("folder", folder.root.display().to_string()),
        ("images", format!("{} (rows x columns x channels)", folder.train.shape())),
    ];
    facts.extend(found.parts.iter().map(|part| (part.split.name(), samples(part))));
    if folder.test.is_none() {
        facts.push(("test", "no such part".into()));
    }
    let mut blocks = vec![fact_table(&facts)];
    blocks.extend(stated_shapes(found));
    let heads = folder.train.heads().iter().enumerate();
    blocks.extend(heads.map(|(at, head)| of_head(found, at, head)));
    let mut notes: Vec<String> = folder.notes().map(|note| format!("note: {note}")).collect();
    notes.dedup();
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    blocks.join("\n\n")
}

fn samples(part: &Part<'_>) -> String {
    let names = part.set.files().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let files = names.collect::<Vec<_>>().join(", ");
    let bad = match part.counts.num_bad {
        0 => String::new(),
        num_bad => format!(", {num_bad} of them bad"),
    };
    format!("{} samples{bad} ({files})", part.counts.num_samples)
}

/// What each source says about the shape, where the format has several.
fn stated_shapes(found: &Found<'_>) -> Option<String> {
    let mut stated: Vec<&StatedBy> = Vec::new();
    for one in found.parts.iter().flat_map(|part| part.set.stated_shapes()) {
        if !stated.contains(&one) {
            stated.push(one);
        }
    }
    let mut table = plain_table(&["shape stated by", "rows", "columns", "channels"]);
    for StatedBy { source, shape } in &stated {
        let side = |side: Option<u64>| right(side.map_or("-".to_owned(), |side| side.to_string()));
        table.add_row([Cell::new(source), side(shape.height), side(shape.width), side(shape.channels)]);
    }
    (!stated.is_empty()).then(|| trimmed(&table))
}

fn of_head(found: &Found<'_>, at: usize, head: &Head) -> String {
    let mut lines = vec![head.to_string()];
    let about: Vec<&str> =
        [&head.scale, &head.description].into_iter().flatten().map(String::as_str).collect();
    if !about.is_empty() {
        lines.push(about.join(", "));
    }
    let counts: Vec<(&Part<'_>, &ClassCounts)> =
        found.parts.iter().filter_map(|part| Some((part, part.counts.heads.get(at)?))).collect();
    let mut table =
        plain_table(&["part", "samples", "classes seen", "rarest", "most frequent", "without samples"]);
    for (part, counts) in &counts {
        let share = |class: Option<(usize, u64)>| match class {
            Some((class, count)) => {
                format!("{} ({})", class_text(head, class), percent(count, counts.total()))
            }
            None => "-".into(),
        };
        table.add_row([
            Cell::new(part.split.name()),
            right(counts.total()),
            right(format!("{} of {}", counts.num_seen(), head.num_classes)),
            Cell::new(share(counts.rarest())),
            Cell::new(share(counts.most_frequent())),
            Cell::new(empty_classes(head, counts)),
        ]);
    }
    lines.push(trimmed(&table));
    if head.num_classes <= MAX_BARS {
        lines.push(format!("\n{}", bars(head, &counts)));
    }
    lines.join("\n")
}

fn empty_classes(head: &Head, counts: &ClassCounts) -> String {
    let num_empty = head.num_classes - counts.num_seen();
    let mut names: Vec<String> =
        counts.empty().take(NUM_EMPTY_NAMED).map(|class| class_text(head, class)).collect();
    if num_empty > names.len() {
        names.push(format!("and {} more", num_empty - names.len()));
    }
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// A line for each class, with a bar for each part; bars of one head have one scale.
fn bars(head: &Head, counts: &[(&Part<'_>, &ClassCounts)]) -> String {
    let share = |counts: &ClassCounts, count: u64| count as f64 / counts.total().max(1) as f64;
    let largest = counts.iter().filter_map(|(_, counts)| Some(share(counts, counts.most_frequent()?.1)));
    let largest = largest.fold(0.0, f64::max);
    let mut header = vec![kind_of_classes(head)];
    header.extend(counts.iter().map(|(part, _)| part.split.name()));
    let mut table = plain_table(&header);
    for class in 0..head.num_classes {
        let mut row = vec![Cell::new(class_text(head, class))];
        for (_, counts) in counts {
            let count = counts.counts().get(class).copied().unwrap_or(0);
            let length = (share(counts, count) / largest.max(f64::MIN_POSITIVE) * BAR_WIDTH as f64).round();
            let bar = "#".repeat(length as usize);
            row.push(Cell::new(format!("{:>7} {bar}", percent(count, counts.total()))));
        }
        table.add_row(row);
    }
    trimmed(&table)
}

fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn right(content: impl ToString) -> Cell {
    Cell::new(content).set_alignment(CellAlignment::Right)
}

fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
