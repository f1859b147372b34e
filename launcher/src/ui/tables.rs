//! Tables of what an evaluation found.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_configs::schema::Baseline;
use dtrain_trainer::eval::{Evaluation, FewShot, HeadResult, Interval, Protocol, Row};
use dtrain_trainer::run::Outcome;

use super::audit::audit_table;
use super::classes::{class_table, probe_class_table};
use super::percent::{ends, percent};

/// Above the ends of an interval, in percent.
const INTERVAL: &str = "95 % interval";

fn within(interval: Option<Interval>) -> Cell {
    Cell::new(ends(interval).unwrap_or_else(|| "-".to_owned())).set_alignment(CellAlignment::Right)
}

/// What the heads predict and what probes read off the embeddings, whichever there is; `by_class`: the classes of the
/// heads too.
pub fn evaluation_tables(evaluation: &Evaluation, by_class: bool) -> String {
    let part = &evaluation.part;
    let mut tables = Vec::new();
    if evaluation.stands_in {
        tables.push(
            "test in place of val: the data have no validation part, and `val/...` is measured on test"
                .into(),
        );
    }
    if !evaluation.heads.is_empty() {
        tables.push(head_table(part, &evaluation.heads));
    }
    if !evaluation.rows.is_empty() {
        tables.push(accuracy_table(part, &evaluation.rows));
    }
    if !evaluation.few_shot.is_empty() {
        tables.push(few_shot_table(&evaluation.few_shot));
    }
    tables.extend(evaluation.audit.as_ref().map(audit_table));
    tables.extend(by_class.then(|| probe_class_table(part, &evaluation.rows)).flatten());
    tables.extend(evaluation.heads.iter().filter(|_| by_class).filter_map(|head| class_table(part, head)));
    tables.join("\n")
}

/// One line per head, with what guessing reaches, and the error in units where classes have values.
fn head_table(part: &str, heads: &[HeadResult]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let has_values = heads.iter().any(|head| head.mean_error.is_some());
    let has_train = heads.iter().any(|head| head.train_accuracy.is_some());
    let mut header = vec!["head"];
    header.extend(has_train.then_some("train"));
    header.extend([part, INTERVAL, "chance", "majority", "macro F1", "loss", "classes", "samples"]);
    if has_values {
        header.extend(["mean error", "of range"]);
    }
    table.set_header(header);
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for head in heads {
        let mut row = vec![Cell::new(&head.name)];
        row.extend(has_train.then(|| percent(head.train_accuracy)));
        row.extend([
            percent(Some(head.accuracy)),
            within(head.interval),
            percent(Some(head.chance)),
            percent(Some(head.majority)),
            percent(Some(head.macro_averages.f1)),
            number(format!("{:.4}", head.loss)),
            number(head.classes.len().to_string()),
            number(head.total.to_string()),
        ]);
        if has_values {
            row.push(number(head.mean_error.map_or("-".into(), |error| format!("{error:.4}"))));
            row.push(percent(head.mean_error.zip(head.span).map(|(error, span)| error / span)));
        }
        table.add_row(row);
    }
    table.to_string()
}

/// One line per label and probe, with what guessing and, where it was asked, baselines reach.
fn accuracy_table(part: &str, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let asked = |baseline: &Baseline| rows.iter().any(|row| row.of_baseline(*baseline).is_some());
    let baselines: Vec<Baseline> = Baseline::ALL.into_iter().filter(asked).collect();
    let mut header = vec!["label", "probe", "answers from", "train", part, INTERVAL];
    header.extend(baselines.iter().map(|baseline| baseline.as_str()));
    header.extend(["chance", "majority", "samples"]);
    table.set_header(header);
    for row in rows {
        let source = match row.protocol {
            Protocol::Transfer => "train".to_owned(),
            Protocol::WithinPart => format!("other clips of {part}"),
        };
        let mut cells = vec![
            Cell::new(&row.label),
            Cell::new(row.probe_name()),
            Cell::new(source),
            percent(row.train),
            percent(Some(row.accuracy)),
            within(row.interval()),
        ];
        cells.extend(baselines.iter().map(|baseline| percent(row.of_baseline(*baseline))));
        cells.extend([
            percent(Some(row.baselines.chance)),
            percent(Some(row.baselines.majority)),
            Cell::new(row.total).set_alignment(CellAlignment::Right),
        ]);
        table.add_row(cells);
    }
    table.to_string()
}

/// One line per number of shots.
fn few_shot_table(found: &[FewShot]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["held-out classes", "accuracy", INTERVAL, "chance", "episodes"]);
    for FewShot { ways, shots, episodes, accuracy, interval } in found {
        table.add_row([
            Cell::new(format!("{ways} classes, {shots} shot")),
            percent(Some(*accuracy)),
            within(*interval),
            percent(Some(1.0 / *ways as f64)),
            Cell::new(episodes).set_alignment(CellAlignment::Right),
        ]);
    }
    table.to_string()
}

/// What the last weights reach beside the best ones, or a line where these are the same; `None` without best weights.
pub fn best_table(outcome: &Outcome) -> Option<String> {
    let best = outcome.best.as_ref()?;
    let by = format!("{} {:.4} ({} is better)", best.monitor, best.value, best.mode.word());
    if best.step == outcome.steps {
        return Some(format!("best weights: step {}, the last ones, by {by}", best.step));
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "metric".to_owned(),
        format!("last, step {}", outcome.steps),
        format!("best, step {}", best.step),
    ]);
    let measured = |name: &String| ["val/", "test/", "bank_"].iter().any(|part| name.starts_with(part));
    let guess = |name: &String| ["chance", "majority", "acc_best"].iter().any(|end| name.ends_with(end));
    for (name, value) in best.metrics.iter().filter(|(name, _)| measured(name) && !guess(name)) {
        let cell = |value: Option<&f64>| {
            let text = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
            Cell::new(text).set_alignment(CellAlignment::Right)
        };
        table.add_row([Cell::new(name), cell(outcome.metrics.get(name)), cell(Some(value))]);
    }
    Some(format!("best weights: step {}, epoch {}, by {by}\n{table}", best.step, best.epoch))
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

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::MonitorMode;
    use dtrain_trainer::coordinator::StopReason;
    use dtrain_trainer::track::BestWeights;

    use super::*;

    fn outcome(best_step: u64) -> Outcome {
        let metrics = |acc: f64, loss: f64| {
            [("val/acc", acc), ("val/chance", 0.1), ("val/loss", loss), ("train/loss", 9.0)]
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        };
        let best = BestWeights {
            step: best_step,
            epoch: best_step / 10,
            monitor: "val/loss".into(),
            mode: MonitorMode::Min,
            value: 0.25,
            metrics: metrics(0.9, 0.25),
        };
        Outcome {
            reason: StopReason::Finished,
            steps: 40,
            metrics: metrics(0.875, 0.5),
            wall_secs: 1.0,
            samples_seen: 640,
            best: Some(best),
            alarms: Vec::new(),
        }
    }

    #[test]
    fn the_best_weights_stand_beside_the_last() {
        let table = best_table(&outcome(30)).unwrap();
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            lines.next().as_deref(),
            Some("best weights: step 30, epoch 3, by val/loss 0.2500 (less is better)")
        );
        let lines: Vec<String> = lines.filter(|line| line.contains(char::is_alphanumeric)).collect();
        assert_eq!(
            lines,
            ["metric last, step 40 best, step 30", "val/acc 0.8750 0.9000", "val/loss 0.5000 0.2500"]
        );
        assert_eq!(
            best_table(&outcome(40)).as_deref(),
            Some("best weights: step 40, the last ones, by val/loss 0.2500 (less is better)")
        );
        assert_eq!(best_table(&Outcome { best: None, ..outcome(40) }), None);
    }
}
