//! What a head took for what, for a terminal: precision, recall and F1 of each class beside the counts of what was predicted.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_trainer::eval::{HeadResult, Row};

use super::percent::percent;

/// Up to this number of classes the counts of the confusion matrix stand in the table.
const MAX_WITH_COUNTS: usize = 12;
/// Up to this number of classes there is a table.
const MAX_CLASSES: usize = 30;
/// Letters of a class's name, in its row and above its column.
const MAX_NAME: usize = 20;
const MAX_ABOVE: usize = 7;

/// One line per class; `None` where a head has too many classes for a terminal, or a single one.
pub fn class_table(part: &str, head: &HeadResult) -> Option<String> {
    let num_classes = head.per_class.len();
    if !(2..=MAX_CLASSES).contains(&num_classes) || head.total == 0 {
        return None;
    }
    let with_counts = num_classes <= MAX_WITH_COUNTS;
    // Names that are cut off above a column might be alike.
    let numbered = with_counts && head.per_class.iter().any(|class| class.name.chars().count() > MAX_ABOVE);
    let mut header: Vec<Cell> =
        ["precision", "recall", "F1", "samples"].iter().map(|name| right((*name).to_owned())).collect();
    header.insert(0, Cell::new(format!("{} on {part}", head.name)));
    if with_counts {
        let first = if numbered { "taken for 1" } else { "taken for" };
        for (number, class) in head.per_class.iter().enumerate() {
            let name = if numbered { (number + 1).to_string() } else { class.name.clone() };
            header.push(right(if number == 0 && numbered { first.to_owned() } else { name }));
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    let rows = head.per_class.iter().zip(head.confusion.chunks(num_classes)).enumerate();
    for (number, (class, counts)) in rows {
        let name = shortened(&class.name);
        let mut row = vec![
            Cell::new(if numbered { format!("{}  {name}", number + 1) } else { name }),
            percent(Some(class.precision)),
            percent(Some(class.recall)),
            percent(Some(class.f1)),
            right(class.samples.to_string()),
        ];
        if with_counts {
            row.extend(
                counts.iter().map(|&count| right(if count == 0 { ".".into() } else { count.to_string() })),
            );
        }
        table.add_row(row);
    }
    let mean = head.macro_averages;
    table.add_row([
        Cell::new("macro average"),
        percent(Some(mean.precision)),
        percent(Some(mean.recall)),
        percent(Some(mean.f1)),
        right(head.total.to_string()),
    ]);
    Some(table.to_string())
}

/// What the probes reach on each class of the target, one line per class and a column per probe; `None` where there are
/// too many classes for a terminal, or a single one.
pub fn probe_class_table(part: &str, rows: &[Row]) -> Option<String> {
    let probes: Vec<&Row> = rows.iter().filter(|row| !row.by_class.is_empty()).collect();
    let mut classes: Vec<&str> = Vec::new();
    for class in probes.iter().flat_map(|row| &row.by_class) {
        if !classes.contains(&class.class.as_str()) {
            classes.push(&class.class);
        }
    }
    let first = probes.first()?;
    if !(2..=MAX_CLASSES).contains(&classes.len()) {
        return None;
    }
    let hits = |row: &Row, class: &str| row.by_class.iter().find(|of| of.class == class).map(|of| of.hits);
    let mut header = vec![Cell::new(format!("{} on {part}", first.label))];
    header.extend(probes.iter().map(|row| right(row.probe_name())));
    header.push(right("samples".to_owned()));
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    for class in classes {
        let mut row = vec![Cell::new(shortened(class))];
        row.extend(probes.iter().map(|probe| percent(hits(probe, class).map(|hits| hits.accuracy()))));
        let samples = probes.iter().filter_map(|probe| hits(probe, class)).map(|hits| hits.total).max();
        row.push(right(samples.unwrap_or(0).to_string()));
        table.add_row(row);
    }
    Some(table.to_string())
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        None => name.to_owned(),
        Some(_) => name.chars().take(MAX_NAME - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtrain_trainer::eval::{Baselines, ClassHits, Hits, Probe, Protocol};

    fn head(names: &[&str], confusion: &[u64]) -> HeadResult {
        HeadResult::of_confusion("species", names.iter().map(|name| (*name).to_owned()).collect(), confusion)
    }

    #[test]
    fn few_classes_show_what_they_were_taken_for() {
        let table = class_table("test", &head(&["koel", "rook", "wren"], &[9, 1, 0, 0, 8, 2, 0, 0, 10]));
        insta::assert_snapshot!(table.unwrap(), @"
        ─────────────────────────────────────────────────────────────────────────────────
         species on test   precision     recall        F1   samples   koel   rook   wren 
        ═════════════════════════════════════════════════════════════════════════════════
         koel               100.00 %    90.00 %   94.74 %        10      9      1      . 
        ─────────────────────────────────────────────────────────────────────────────────
         rook                88.89 %    80.00 %   84.21 %        10      .      8      2 
        ─────────────────────────────────────────────────────────────────────────────────
         wren                83.33 %   100.00 %   90.91 %        10      .      .     10 
        ─────────────────────────────────────────────────────────────────────────────────
         macro average       90.74 %    90.00 %   89.95 %        30                      
        ─────────────────────────────────────────────────────────────────────────────────
        ");
    }

    #[test]
    fn long_names_stand_in_their_row_alone() {
        let names = ["Great Spotted Woodpecker", "Barn owl", "rook"];
        let table = class_table("val", &head(&names, &[1200, 1, 0, 0, 8, 2, 0, 0, 0]));
        insta::assert_snapshot!(table.unwrap(), @"
        ─────────────────────────────────────────────────────────────────────────────────────────
         species on val            precision    recall        F1   samples   taken for 1   2   3 
        ═════════════════════════════════════════════════════════════════════════════════════════
         1  Great Spotted Woodp…    100.00 %   99.92 %   99.96 %      1201          1200   1   . 
        ─────────────────────────────────────────────────────────────────────────────────────────
         2  Barn owl                 88.89 %   80.00 %   84.21 %        10             .   8   2 
        ─────────────────────────────────────────────────────────────────────────────────────────
         3  rook                      0.00 %    0.00 %    0.00 %         0             .   .   . 
        ─────────────────────────────────────────────────────────────────────────────────────────
         macro average               62.96 %   59.97 %   61.39 %      1211                       
        ─────────────────────────────────────────────────────────────────────────────────────────
        ");
    }

    #[test]
    fn many_classes_have_no_table() {
        let names: Vec<String> = (0..31).map(|class| class.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(class_table("test", &head(&names, &vec![1; 31 * 31])), None);
        assert_eq!(class_table("test", &head(&["only"], &[5])), None);
        assert!(!class_table("test", &head(&names[..13], &vec![1; 13 * 13])).unwrap().contains("taken for"));
    }

    #[test]
    fn probes_stand_beside_each_other_for_each_class() {
        let by_class = |counts: [(&str, u64, u64); 2]| {
            let of = |(class, correct, total): (&str, u64, u64)| ClassHits {
                class: class.to_owned(),
                hits: Hits { correct, total },
            };
            counts.map(of).to_vec()
        };
        let row = |probe, by_class: Vec<ClassHits>| Row {
            label: "species".into(),
            probe,
            setting: None,
            beside: Vec::new(),
            protocol: Protocol::Transfer,
            train: None,
            accuracy: 0.5,
            baselines: Baselines { chance: 0.5, majority: 0.5 },
            total: 14,
            by_class,
        };
        let rows = [
            row(Probe::Knn, by_class([("koel", 9, 10), ("rook", 0, 4)])),
            row(Probe::Linear, by_class([("koel", 10, 10), ("rook", 1, 4)])),
        ];
        insta::assert_snapshot!(probe_class_table("test", &rows).unwrap(), @"
        ────────────────────────────────────────────────
         species on test       kNN     linear   samples 
        ════════════════════════════════════════════════
         koel              90.00 %   100.00 %        10 
        ────────────────────────────────────────────────
         rook               0.00 %    25.00 %         4 
        ────────────────────────────────────────────────
        ");
        assert_eq!(probe_class_table("test", &[row(Probe::Knn, Vec::new())]), None);
    }
}
