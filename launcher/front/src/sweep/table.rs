//! How the trials of a sweep stand, and what has come of them.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_configs::schema::MonitorMode;
use serde_json::{Value, json};

use super::ending::{Cause, Ending};
use super::folder::SweepDir;
use super::plan::{Plan, Trial};
use super::tokens::{State, Tokens};
use super::worker::is_gone;

/// A trial.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    /// What it is.
    pub trial: &'a Trial,
    /// How it stands; `None`: its name changes at this moment.
    pub state: Option<State>,
    /// What it has left.
    pub ending: Option<Ending>,
    /// Why it has failed.
    pub cause: Option<Cause>,
    /// Its folder is not there any more.
    pub is_gone: bool,
}

/// All trials, in the order of the plan.
pub(crate) fn rows<'a>(plan: &'a Plan, dir: &SweepDir) -> std::io::Result<Vec<Row<'a>>> {
    let mut states = Tokens::new(dir.tokens()).states()?;
    let row = |trial: &'a Trial| {
        let state = states.remove(&trial.id);
        let run = dir.run(&trial.name);
        let has_begun = !matches!(state, Some(State::Waiting));
        Row {
            trial,
            ending: has_begun.then(|| Ending::read(&run)).flatten(),
            cause: (state == Some(State::Failed)).then(|| Cause::read(dir, &trial.id)).flatten(),
            is_gone: state.as_ref().is_some_and(|state| is_gone(&run, state)),
            state,
        }
    };
    Ok(plan.trials.iter().map(row).collect())
}

impl Row<'_> {
    /// For tables.
    pub fn word(&self) -> &'static str {
        match &self.state {
            _ if self.is_gone => "lost",
            Some(state) => state.word(),
            None => "running",
        }
    }

    /// For people.
    fn described(&self) -> String {
        match &self.state {
            Some(State::Held(owner)) => format!("running on {}", owner.host()),
            _ => self.word().to_owned(),
        }
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.ending.as_ref()?.metrics.get(name).copied()
    }

    /// Words by which runs are filtered.
    pub fn tags(&self) -> Vec<&str> {
        let mut texts = self.trial.settings.iter().rev().filter_map(|word| word.strip_prefix("tags="));
        let last = texts.next().map(|text| text.trim_matches(['[', ']']));
        last.into_iter()
            .flat_map(|text| text.split(','))
            .map(|tag| tag.trim().trim_matches(['\'', '"']))
            .collect()
    }

    fn json(&self, metric: &str) -> Value {
        let values: BTreeMap<&str, &str> =
            self.trial.values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        json!({
            "id": self.trial.id,
            "name": self.trial.name,
            "state": self.word(),
            "values": values,
            "metric": metric,
            "value": self.metric(metric).filter(|value| value.is_finite()),
            "epochs": self.ending.as_ref().map(|ending| ending.epochs),
            "steps": self.ending.as_ref().map(|ending| ending.steps),
            "seconds": self.ending.as_ref().map(|ending| ending.secs),
            "cause": self.cause,
        })
    }
}

/// Best first, what is no number last.
pub(crate) fn order(mode: MonitorMode, a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    let number = |value: Option<f64>| value.filter(|value| !value.is_nan());
    match (number(a), number(b)) {
        (Some(a), Some(b)) if mode.is_better(a, b) => std::cmp::Ordering::Less,
        (Some(a), Some(b)) if mode.is_better(b, a) => std::cmp::Ordering::Greater,
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        _ => std::cmp::Ordering::Equal,
    }
}

/// How many trials of each stage stand how.
pub(crate) fn counts(plan: &Plan, rows: &[Row<'_>]) -> String {
    let words = ["done", "halted", "running", "waiting", "stopped", "failed", "lost"];
    let several = plan.header.stages.len() > 1;
    let line = |(index, stage): (usize, &super::plan::PlannedStage)| {
        let of_stage = || rows.iter().filter(move |row| row.trial.stage == index);
        let parts: Vec<String> = words
            .iter()
            .map(|word| (of_stage().filter(|row| row.word() == *word).count(), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let total = of_stage().count();
        let name = if several { format!("{}: ", stage.name) } else { String::new() };
        format!("{name}{total} trials: {}", parts.join(", "))
    };
    plan.header.stages.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// For a terminal; `most` trials, the best first.
pub(crate) fn terminal(plan: &Plan, rows: &[Row<'_>], most: usize) -> String {
    let metric = &plan.header.optimize;
    let keys = varying(plan);
    let mut sorted: Vec<&Row<'_>> = rows.iter().collect();
    sorted.sort_by(|a, b| order(plan.header.direction, a.metric(metric), b.metric(metric)));
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let mut headings = vec!["trial".to_owned(), "state".to_owned()];
    headings.extend(keys.iter().cloned());
    headings.extend([metric.clone(), "epochs".into(), "seconds".into()]);
    table.set_header(headings);
    for row in sorted.iter().take(most) {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let mut cells = vec![Cell::new(&row.trial.name), Cell::new(row.described())];
        cells.extend(keys.iter().map(|key| Cell::new(row.trial.value(key).unwrap_or("-"))));
        cells.push(right(row.metric(metric).map_or("-".into(), |value| format!("{value:.4}"))));
        cells.push(right(row.ending.as_ref().map_or("-".into(), |ending| ending.epochs.to_string())));
        cells.push(right(row.ending.as_ref().map_or("-".into(), |ending| format!("{:.1}", ending.secs))));
        table.add_row(cells);
    }
    let mut text = table.to_string();
    if rows.len() > most {
        text.push_str(&format!("\n... and {} more: `--all` shows them", rows.len() - most));
    }
    text
}

/// All trials with all digits and all metrics, for other programs (RFC 4180).
pub(crate) fn csv(plan: &Plan, rows: &[Row<'_>]) -> String {
    let keys = varying(plan);
    let mut metrics: Vec<&String> =
        rows.iter().filter_map(|row| row.ending.as_ref()).flat_map(|ending| ending.metrics.keys()).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let mut line: Vec<String> = ["id", "name", "stage", "state"].map(str::to_owned).into();
    line.extend(keys.iter().cloned());
    line.extend(["epochs", "steps", "seconds"].map(str::to_owned));
    line.extend(metrics.iter().map(|name| (*name).clone()));
    line.push("cause".into());
    let mut text = csv_line(&line);
    for row in rows {
        let stage = plan.stage_of(row.trial).map(|stage| stage.name.clone()).unwrap_or_default();
        let mut line = vec![row.trial.id.clone(), row.trial.name.clone(), stage, row.word().to_owned()];
        line.extend(keys.iter().map(|key| row.trial.value(key).unwrap_or_default().to_owned()));
        let ending = row.ending.as_ref();
        line.push(ending.map_or(String::new(), |ending| ending.epochs.to_string()));
        line.push(ending.map_or(String::new(), |ending| ending.steps.to_string()));
        line.push(ending.map_or(String::new(), |ending| ending.secs.to_string()));
        line.extend(
            metrics.iter().map(|name| row.metric(name).map_or(String::new(), |value| value.to_string())),
        );
        line.push(
            row.cause.as_ref().map_or(String::new(), |cause| format!("{}: {}", cause.ended, cause.message)),
        );
        text.push_str(&csv_line(&line));
    }
    text
}

pub(crate) fn csv_line(cells: &[String]) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    format!("{}\n", cells.iter().map(quoted).collect::<Vec<_>>().join(","))
}

/// For scripts.
pub(crate) fn json(plan: &Plan, rows: &[Row<'_>]) -> Value {
    let metric = &plan.header.optimize;
    json!({
        "optimize": metric,
        "direction": plan.header.direction,
        "trials": rows.iter().map(|row| row.json(metric)).collect::<Vec<_>>(),
    })
}

/// Settings in which trials differ, in the order in which they come.
pub(crate) fn varying(plan: &Plan) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in plan.trials.iter().flat_map(|trial| &trial.values) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::super::plan::examples;
    use super::*;

    #[test]
    fn trials_are_told_with_what_has_come_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SweepDir::new(folder.path());
        let mut plan = examples::plan(&["1", "a,b", "3", "4"]);
        plan.trials[0].settings.push("tags=[x, 'y']".into());
        let tokens = Tokens::new(dir.tokens());
        tokens.create(plan.trials.iter().map(|trial| trial.id.as_str())).unwrap();
        for (trial, state) in plan.trials.iter().zip([State::Done, State::Done, State::Failed]) {
            tokens.turn(&trial.id, &State::Waiting, &state).unwrap();
        }
        std::fs::create_dir_all(dir.run("0002").path()).unwrap();
        let text = r#"{"stop_reason": "finished", "step": 9, "epoch": 3, "wall_s": 1.5, "metrics": {"val/acc": 0.5}}"#;
        std::fs::write(dir.run("0002").result(), text).unwrap();
        let cause = Cause::find("exit code 1".into(), "error: no memory");
        std::fs::create_dir_all(dir.cause("x").parent().unwrap()).unwrap();
        std::fs::write(dir.cause("t-0003"), serde_json::to_vec(&cause).unwrap()).unwrap();
        plan.write(&dir).unwrap();

        let rows = rows(&plan, &dir).unwrap();
        assert_eq!(counts(&plan, &rows), "4 trials: 1 done, 1 waiting, 1 failed, 1 lost");
        assert_eq!(rows[0].tags(), ["x", "y"]);
        assert_eq!(
            csv(&plan, &rows),
            "id,name,stage,state,x,epochs,steps,seconds,val/acc,cause\n\
             t-0001,0001,trials,lost,1,,,,,\n\
             t-0002,0002,trials,done,\"a,b\",3,9,1.5,0.5,\n\
             t-0003,0003,trials,failed,3,,,,,exit code 1: no memory\n\
             t-0004,0004,trials,waiting,4,,,,,\n"
        );
        let json = json(&plan, &rows);
        assert_eq!(json["trials"][1]["value"], 0.5);
        assert_eq!(json["trials"][2]["cause"]["message"], "no memory");
        assert!(terminal(&plan, &rows, 2).contains("and 2 more"));
    }

    #[test]
    fn what_is_no_number_comes_last() {
        let mut values = [Some(f64::NAN), Some(0.5), None, Some(0.7)];
        values.sort_by(|a, b| order(MonitorMode::Max, *a, *b));
        assert_eq!(values[..2], [Some(0.7), Some(0.5)]);
        values.sort_by(|a, b| order(MonitorMode::Min, *a, *b));
        assert_eq!(values[..2], [Some(0.5), Some(0.7)]);
    }
}
