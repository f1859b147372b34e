//! `dtrain compare`.

use dtrain_configs::choice_hint;

use crate::cli::CompareArgs;
use crate::compare::{Comparison, EndedRun, Unfit, compare, run_dirs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints runs side by side.
pub(super) fn run(args: &CompareArgs, printer: &Printer) -> Result<Exit, Failure> {
    let paths = run_dirs(&args.runs)?;
    let (mut runs, mut left_out): (Vec<EndedRun>, Vec<String>) = (Vec::new(), Vec::new());
    for path in &paths {
        match EndedRun::read(path).and_then(|run| same_data(run, &runs)) {
            Ok(run) => runs.push(run),
            Err(unfit) => left_out.push(format!("`{}` cannot be compared: {unfit}", path.display())),
        }
    }
    let Some(first) = runs.first() else {
        let message = match left_out.is_empty() {
            true => "there is no run to compare".to_owned(),
            false => format!("none of {} runs can be compared:\n  {}", paths.len(), left_out.join("\n  ")),
        };
        return Err(Failure::agreed(
            Exit::Usage,
            message,
            Some("runs are compared once they have ended".into()),
        ));
    };
    let silent_about_data =
        runs.iter().find(|run| run.data.is_none()).map(|run| run.path.display().to_string());
    let first = first.path.display().to_string();
    let Comparison { sheet, unknown, in_common } = compare(&runs, &args.metrics);
    if let Some(name) = unknown.first() {
        let hint = choice_hint(name, in_common.iter().map(String::as_str));
        return Err(Failure::agreed(Exit::Usage, format!("no run has measured `{name}`"), Some(hint)));
    }
    if in_common.is_empty() && args.metrics.is_empty() {
        let message = format!("the {} runs have no metric in common", runs.len());
        let hint =
            "`--metric NAME` shows one that some of them have; a dash stands for the others".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    left_out.iter().for_each(|reason| printer.warn(&format!("{reason}; it is left out")));
    if let Some(path) = silent_about_data.filter(|_| runs.len() > 1) {
        printer.warn(&format!(
            "`{path}` does not say which data it has seen, as runs of earlier versions: whether they are those of `{first}` \
             is not known; `dtrain resume` of a run that has ended writes its result anew"
        ));
    }
    let text = match (args.csv, args.md) {
        (true, _) => sheet.csv(),
        (_, true) => sheet.markdown(),
        _ => sheet.terminal(),
    };
    printer.data(text.trim_end());
    Ok(Exit::Done)
}

fn same_data(run: EndedRun, earlier: &[EndedRun]) -> Result<EndedRun, Unfit> {
    let known = earlier.iter().find(|other| other.data.is_some());
    match known.filter(|other| run.data.is_some() && other.data != run.data) {
        Some(other) => Err(Unfit::OtherData(other.path.clone())),
        None => Ok(run),
    }
}
