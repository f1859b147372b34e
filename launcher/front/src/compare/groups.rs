//! What differs between runs, and what came of it: runs that differ by the seed alone are one line.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{EndedRun, Metrics};
use super::sheet::{Column, Number, Row, Sheet};

/// Shown where nobody asks for others and the runs have them, after what the runs are judged by.
const USUAL: [&str; 8] = [
    "val/loss",
    "val/acc",
    "val/knn_top1",
    "test/loss",
    "test/acc",
    "test/knn_top1",
    "test/linear_top1",
    "train/loss",
];

/// Runs side by side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// The table.
    pub sheet: Sheet,
    /// Asked for, and measured by none of the runs.
    pub unknown: Vec<String>,
    /// What all runs have measured.
    pub in_common: Vec<String>,
}

/// Compares runs; `asked` are the metrics to show, or none for the usual ones.
pub(crate) fn compare(runs: &[EndedRun], asked: &[String]) -> Comparison {
    let in_common = in_common(runs);
    let known: BTreeSet<&String> = runs.iter().flat_map(|run| run.last.keys()).collect();
    let unknown = asked.iter().filter(|name| !known.contains(name)).cloned().collect();
    let metrics = if asked.is_empty() { usual(runs, &in_common) } else { asked.to_vec() };
    let differing = differing(runs);
    let several_seeds = runs.iter().any(|run| Some(&run.seed) != runs.first().map(|first| &first.seed));

    let mut columns = vec![Column::Text("run".into())];
    columns.extend(differing.iter().map(|key| Column::Text(key.clone())));
    columns.extend(several_seeds.then(|| Column::Text("seed".into())));
    for metric in &metrics {
        columns.push(Column::Number { name: metric.clone(), weights: "last" });
        if runs.iter().any(|run| run.best.as_ref().is_some_and(|best| best.contains_key(metric))) {
            columns.push(Column::Number { name: metric.clone(), weights: "best" });
        }
    }
    let rows =
        groups(runs).into_iter().map(|group| row(&group, &columns, &differing, several_seeds)).collect();
    Comparison { sheet: Sheet { columns, rows }, unknown, in_common }
}

fn row(group: &[&EndedRun], columns: &[Column], differing: &[String], several_seeds: bool) -> Row {
    let first = group.first();
    let path = first.map_or_else(String::new, |run| run.path.display().to_string());
    let name = if group.len() > 1 { format!("{} runs: {path}, ...", group.len()) } else { path };
    let mut texts = vec![name];
    let setting = |key: &String| first.and_then(|run| run.settings.get(key)).cloned();
    texts.extend(differing.iter().map(|key| setting(key).unwrap_or_else(|| "-".into())));
    if several_seeds {
        texts.push(group.iter().map(|run| run.seed.as_str()).collect::<Vec<_>>().join(", "));
    }
    let numbers = columns.iter().filter_map(|column| match column {
        Column::Text(_) => None,
        Column::Number { name, weights } => {
            let of = |run: &&EndedRun| -> Option<f64> {
                let metrics: Option<&Metrics> =
                    if *weights == "best" { run.best.as_ref() } else { Some(&run.last) };
                metrics.and_then(|metrics| metrics.get(name).copied())
            };
            Some(Number::of(&group.iter().filter_map(of).collect::<Vec<_>>()))
        }
    });
    Row { texts, numbers: numbers.collect() }
}

/// Runs with the same settings but for the seed, in the order in which they were given.
fn groups(runs: &[EndedRun]) -> Vec<Vec<&EndedRun>> {
    let mut groups: Vec<Vec<&EndedRun>> = Vec::new();
    for run in runs {
        let same =
            |group: &&mut Vec<&EndedRun>| group.first().is_some_and(|first| first.settings == run.settings);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

/// Keys whose values are not the same in all runs.
fn differing(runs: &[EndedRun]) -> Vec<String> {
    let mut values: BTreeMap<&String, BTreeSet<Option<&String>>> = BTreeMap::new();
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    for key in keys {
        values.entry(key).or_default().extend(runs.iter().map(|run| run.settings.get(key)));
    }
    values.into_iter().filter(|(_, values)| values.len() > 1).map(|(key, _)| key.clone()).collect()
}

fn in_common(runs: &[EndedRun]) -> Vec<String> {
    let Some((first, rest)) = runs.split_first() else { return Vec::new() };
    let is_result = |name: &&String| !name.starts_with("perf/") && !name.starts_with("opt/");
    let in_all = |name: &&String| rest.iter().all(|run| run.last.contains_key(*name));
    first.last.keys().filter(is_result).filter(in_all).cloned().collect()
}

/// What the runs are judged by, then the usual ones that all of them have.
fn usual(runs: &[EndedRun], in_common: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let monitors = runs.iter().filter_map(|run| run.monitor.clone());
    for name in monitors.chain(USUAL.iter().map(|name| (*name).to_owned())) {
        if in_common.contains(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { in_common.to_vec() } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(path: &str, lr: &str, seed: &str, acc: f64) -> EndedRun {
        let metrics = |acc: f64| {
            [("val/acc", acc), ("val/chance", 0.1), ("perf/wait_s", 3.0)]
                .map(|(n, v)| (n.to_owned(), v))
                .into()
        };
        EndedRun {
            path: path.into(),
            settings: [("optimizer.lr", lr), ("model.name", "resnet18")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            seed: seed.into(),
            last: metrics(acc),
            best: Some(metrics(acc + 0.1)),
            monitor: Some("val/acc".into()),
            data: None,
        }
    }

    #[test]
    fn runs_that_differ_by_the_seed_alone_are_one_line_with_mean_and_spread() {
        let runs = [
            run("runs/a", "0.1", "1", 0.5),
            run("runs/b", "0.01", "1", 0.25),
            run("runs/c", "0.1", "2", 0.75),
        ];
        let Comparison { sheet, unknown, in_common } = compare(&runs, &[]);
        assert!(unknown.is_empty());
        assert_eq!(in_common, ["val/acc", "val/chance"]);
        assert_eq!(
            sheet.csv(),
            "\
            run,optimizer.lr,seed,val/acc last,val/acc last sd,val/acc best,val/acc best sd\n\
            \"2 runs: runs/a, ...\",0.1,\"1, 2\",0.625,0.1767766952966369,0.725,0.1767766952966369\n\
            runs/b,0.01,1,0.25,,0.35,\n"
        );
        assert_eq!(
            sheet.markdown(),
            "\
            | run | optimizer.lr | seed | val/acc last | val/acc best |\n\
            |---|---|---|---:|---:|\n\
            | 2 runs: runs/a, ... | 0.1 | 1, 2 | 0.6250 \u{b1} 0.1768 | 0.7250 \u{b1} 0.1768 |\n\
            | runs/b | 0.01 | 1 | 0.2500 | 0.3500 |\n"
        );
    }

    #[test]
    fn a_metric_that_no_run_knows_is_named_and_one_that_some_lack_is_a_dash() {
        let mut other = run("runs/b", "0.1", "1", 0.5);
        other.last = [("test/acc".to_owned(), 0.5)].into();
        other.best = None;
        let asked = ["val/acc".to_owned(), "val/f1".to_owned()];
        let compared = compare(&[run("runs/a", "0.2", "1", 0.5), other], &asked);
        assert_eq!(compared.unknown, ["val/f1"]);
        assert!(compared.in_common.is_empty());
        let markdown = compared.sheet.markdown();
        assert!(markdown.contains("| runs/b | 0.1 | - | - | - |"), "{markdown}");
    }
}
