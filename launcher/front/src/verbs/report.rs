//! `dtrain report`.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_configs::schema::MonitorMode;
use dtrain_configs::{choice_hint, shell_path};
use serde_json::json;

use crate::cli::ReportArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::sweep::folder::SweepDir;
use crate::sweep::plan::{Plan, Trial};
use crate::sweep::report::{Effect, Group, effects, groups, pareto};
use crate::sweep::table::{self, Row, varying};

/// Groups that are shown.
const SHOWN: usize = 10;

/// Tells what a sweep has found.
pub(super) fn run(args: &ReportArgs, printer: &Printer) -> Result<Exit, Failure> {
    let dir = SweepDir::new(&args.dir);
    if !dir.holds_a_sweep() && args.dir.is_dir() {
        let message = format!("`{}` holds no sweep", args.dir.display());
        return Err(usage(
            message,
            format!("`dtrain compare {}` puts runs side by side", shell_path(&args.dir)),
        ));
    }
    let plan = Plan::read(&dir)?;
    let mut rows =
        table::rows(&plan, &dir).map_err(|error| Failure::agreed(Exit::Environment, error, None))?;
    filter(&mut rows, args, &plan)?;
    if args.csv {
        printer.data(&table::csv(&plan, &rows));
        return Ok(Exit::Done);
    }
    let metric = args.metric.as_ref().unwrap_or(&plan.header.optimize);
    let mode =
        if *metric == plan.header.optimize { plan.header.direction } else { MonitorMode::of_metric(metric) };
    let measured = measured(&rows, metric)?;
    let (groups, effects) = (groups(&measured, mode), effects(&measured, &varying(&plan)));
    if args.json {
        printer.data(&format!("{:#}", as_json(metric, mode, (&groups, &effects), table::json(&plan, &rows))));
        return Ok(Exit::Done);
    }
    let mut text = format!("{}\n\n{}", table::counts(&plan, &rows), best(&groups, metric, args.all));
    if !effects.is_empty() {
        text.push_str(&format!("\n\n{}", effects_table(&effects, metric, mode)));
    }
    if let Some(other) = &args.pareto {
        text.push_str(&format!("\n\n{}", front(&rows, (metric, mode), other)?));
    }
    let left_out = rows.iter().filter(|row| !has_ended(row)).count();
    if left_out > 0 {
        text.push_str(&format!("\n\n{left_out} trial(s) have not run to their end and are left out"));
    }
    printer.data(&text);
    Ok(Exit::Done)
}

fn has_ended(row: &Row<'_>) -> bool {
    row.word() == "done"
}

fn filter(rows: &mut Vec<Row<'_>>, args: &ReportArgs, plan: &Plan) -> Result<(), Failure> {
    let keys = varying(plan);
    for filter in &args.filters {
        let Some((key, value)) = filter.split_once('=') else {
            return Err(usage(
                format!("`--where {filter}` is no `KEY=VALUE`"),
                "write `--where optimizer.lr=0.01`",
            ));
        };
        if !keys.iter().any(|known| known == key) {
            return Err(usage(
                format!("`{key}` does not vary in this sweep"),
                choice_hint(key, keys.iter().map(String::as_str)),
            ));
        }
        rows.retain(|row| row.trial.value(key) == Some(value));
    }
    for tag in &args.tags {
        rows.retain(|row| row.tags().contains(&tag.as_str()));
    }
    if rows.is_empty() {
        return Err(usage(
            "no trial is left by `--where` and `--tag`",
            "`dtrain sweep status DIR --all` shows all",
        ));
    }
    Ok(())
}

fn measured<'a>(rows: &[Row<'a>], metric: &str) -> Result<Vec<(&'a Trial, f64)>, Failure> {
    let ended = rows.iter().filter(|row| has_ended(row));
    let found: Vec<_> = ended.clone().filter_map(|row| Some((row.trial, row.metric(metric)?))).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut names: Vec<&str> = ended
        .filter_map(|row| row.ending.as_ref())
        .flat_map(|ending| ending.metrics.keys().map(String::as_str))
        .collect();
    if names.is_empty() {
        return Err(usage(
            "no trial has run to its end yet",
            "`dtrain sweep status DIR` shows how they stand",
        ));
    }
    names.sort_unstable();
    names.dedup();
    Err(usage(format!("no trial has measured `{metric}`"), choice_hint(metric, names)))
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn best(groups: &[Group], metric: &str, all: bool) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in groups.iter().flat_map(|group| &group.values) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let headings = keys.iter().copied().chain([metric, "runs", "trials"]);
    table.set_header(headings.collect::<Vec<_>>());
    for group in groups.iter().take(if all { usize::MAX } else { SHOWN }) {
        let value = |key: &&str| {
            let found = group.values.iter().find(|(known, _)| known == key);
            Cell::new(found.map_or("-", |(_, value)| value.as_str()))
        };
        let number = match group.deviation {
            Some(deviation) => format!("{:.4} \u{b1} {deviation:.4}", group.mean),
            None => format!("{:.4}", group.mean),
        };
        let names = match group.trials.as_slice() {
            [only] => only.clone(),
            [first, .., last] => format!("{first} ... {last}"),
            [] => String::new(),
        };
        let cells = keys.iter().map(value);
        table.add_row(
            cells
                .chain([right(number), right(group.trials.len().to_string()), Cell::new(names)])
                .collect::<Vec<_>>(),
        );
    }
    let more = groups.len().saturating_sub(SHOWN);
    let note =
        if more > 0 && !all { format!("\n... and {more} more: `--all` shows them") } else { String::new() };
    format!("best settings, by {metric}\n{table}{note}")
}

fn effects_table(effects: &[Effect], metric: &str, mode: MonitorMode) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["setting", "value", "against", "difference", "95 % interval", "pairs", ""]);
    for effect in effects {
        let (interval, verdict) = match effect.half_width {
            None => ("-".to_owned(), "one pair"),
            Some(half) => {
                let (low, high) = (effect.difference - half, effect.difference + half);
                let verdict = match (low > 0.0, high < 0.0) {
                    (false, false) => "may be chance",
                    (up, _) if up == (mode == MonitorMode::Max) => "better",
                    _ => "worse",
                };
                (format!("{low:+.4} to {high:+.4}"), verdict)
            }
        };
        table.add_row([
            Cell::new(&effect.key),
            Cell::new(&effect.value),
            Cell::new(&effect.against),
            right(format!("{:+.4}", effect.difference)),
            right(interval),
            right(effect.pairs.to_string()),
            Cell::new(verdict),
        ]);
    }
    format!("what each setting changes in {metric}, all else equal\n{table}")
}

fn front(rows: &[Row<'_>], (metric, mode): (&str, MonitorMode), other: &str) -> Result<String, Failure> {
    let ended: Vec<&Row<'_>> = rows.iter().filter(|row| has_ended(row)).collect();
    let second = measured(rows, other)?;
    let other_mode = MonitorMode::of_metric(other);
    let values: BTreeMap<&str, f64> =
        second.iter().map(|(trial, value)| (trial.id.as_str(), *value)).collect();
    let points: Vec<(f64, f64)> = ended
        .iter()
        .map(|row| {
            let second = values.get(row.trial.id.as_str()).copied();
            (row.metric(metric).unwrap_or(f64::NAN), second.unwrap_or(f64::NAN))
        })
        .collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["trial", metric, other]);
    for index in pareto(&points, (mode, other_mode)) {
        let (Some(row), Some((first, second))) = (ended.get(index), points.get(index)) else { continue };
        table.add_row([
            Cell::new(row.trial.described()),
            right(format!("{first:.4}")),
            right(format!("{second:.4}")),
        ]);
    }
    Ok(format!(
        "not beaten in both {metric} ({}) and {other} ({})\n{table}",
        mode.as_str(),
        other_mode.as_str()
    ))
}

fn as_json(
    metric: &str,
    mode: MonitorMode,
    (groups, effects): (&[Group], &[Effect]),
    trials: serde_json::Value,
) -> serde_json::Value {
    let group = |group: &Group| {
        let values: BTreeMap<&str, &str> =
            group.values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        json!({"values": values, "mean": group.mean, "deviation": group.deviation, "trials": group.trials})
    };
    let effect = |effect: &Effect| {
        json!({
            "key": effect.key, "value": effect.value, "against": effect.against, "pairs": effect.pairs,
            "difference": effect.difference, "half_width_95": effect.half_width,
        })
    };
    json!({
        "metric": metric,
        "direction": mode,
        "settings": groups.iter().map(group).collect::<Vec<_>>(),
        "effects": effects.iter().map(effect).collect::<Vec<_>>(),
        "trials": trials["trials"],
    })
}

fn usage(message: impl std::fmt::Display, hint: impl Into<String>) -> Failure {
    Failure::agreed(Exit::Usage, message, Some(hint.into()))
}
