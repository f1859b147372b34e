//! `dtrain checkpoint`.

use std::path::Path;

use crate::failure::Failure;
use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_front::cli::CheckpointAction;
use dtrain_front::{Exit, Printer};
use dtrain_trainer::checkpoint::{Bytes, Fault, Validation};
use dtrain_trainer::run::{Entry, Inventory, RunDir, look_at};
use dtrain_trainer::track::rfc3339;
use serde_json::json;

/// Looks at checkpoints from outside; only rank 0 of a world does.
pub fn run(action: &CheckpointAction, printer: &Printer) -> Result<Exit, Failure> {
    if !printer.speaks() {
        return Ok(Exit::Done);
    }
    match action {
        CheckpointAction::Ls { run, json } => list(run, *json, printer),
        CheckpointAction::Verify { path, json } => verify(path, *json, printer),
        CheckpointAction::Prune { run, keep_last, dry_run, json } => {
            prune(run, keep_last.get(), *dry_run, *json, printer)
        }
    }
}

fn list(run: &Path, as_json: bool, printer: &Printer) -> Result<Exit, Failure> {
    let entries = inventory(run)?.list(Validation::Quick)?;
    if as_json {
        printer.data(&format!("{:#}", json!(entries.iter().map(described).collect::<Vec<_>>())));
    } else if entries.is_empty() {
        printer.say(&format!("`{}` holds no checkpoint yet", run.display()));
    } else {
        printer.data(&table(&entries).to_string());
    }
    Ok(Exit::Done)
}

fn verify(path: &Path, as_json: bool, printer: &Printer) -> Result<Exit, Failure> {
    let entries = if RunDir::new(path).holds_a_run() {
        inventory(path)?.list(Validation::Full)?
    } else {
        vec![look_at(path)?]
    };
    if entries.is_empty() {
        let message = format!("`{}` holds no checkpoint yet", path.display());
        return Err(Failure::agreed(Exit::Usage, message, None));
    }
    if as_json {
        printer.data(&format!("{:#}", json!(entries.iter().map(described).collect::<Vec<_>>())));
    } else {
        for entry in &entries {
            let verdict = entry.manifest.as_ref().err().map_or("valid".to_owned(), Fault::to_string);
            printer.data(&format!("{}: {verdict}", entry.dir.display()));
        }
    }
    let is_newer = |entry: &&Entry| matches!(entry.manifest, Err(Fault::NewerFormat { .. }));
    let (newer, damaged): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().filter(|entry| entry.manifest.is_err()).partition(is_newer);
    Ok(match (damaged.is_empty(), newer.is_empty()) {
        (true, true) => Exit::Done,
        // Nothing is wrong with it, but for the program that looks.
        (true, false) => Exit::Usage,
        (false, _) => Exit::Failed,
    })
}

fn prune(
    run: &Path,
    keep_last: usize,
    dry_run: bool,
    as_json: bool,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let inventory = inventory(run)?;
    if !dry_run && is_running(run) {
        let message = format!("`{}` is being trained, which deletes checkpoints itself", run.display());
        let hint = "wait for its end, or set `checkpoint.keep_last`; `--dry-run` only looks".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let pruned = inventory.prune(keep_last, dry_run)?;
    if as_json {
        let described = |entries: &[Entry]| entries.iter().map(described).collect::<Vec<_>>();
        let document = json!({
            "dry_run": dry_run, "deleted": described(&pruned.deleted), "kept": described(&pruned.kept),
        });
        printer.data(&format!("{document:#}"));
        return Ok(Exit::Done);
    }
    let verb = if dry_run { "would be deleted" } else { "deleted" };
    for entry in &pruned.deleted {
        printer.data(&format!("{verb}: {}", entry.dir.display()));
    }
    let bytes: u64 = pruned.deleted.iter().filter_map(Entry::num_bytes).sum();
    printer.say(&format!("{} {verb} ({}), {} kept", pruned.deleted.len(), Bytes(bytes), pruned.kept.len()));
    Ok(Exit::Done)
}

fn inventory(run: &Path) -> Result<Inventory, Failure> {
    let run_dir = RunDir::new(run);
    if !run_dir.holds_a_run() {
        let message = format!("`{}` is not a run directory: it has no config.yaml", run.display());
        let hint = "give the folder that the run printed, such as `runs/<experiment>/<date_time>`".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let config = dtrain_configs::load(&run_dir.config())?;
    Ok(Inventory::open(&run_dir, &config)?)
}

/// Whether a process holds the run's lock. Where there is no such file, or no locks, nobody is known to.
fn is_running(run: &Path) -> bool {
    let file = std::fs::File::open(run.join(".lock"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

fn described(entry: &Entry) -> serde_json::Value {
    let manifest = entry.manifest.as_ref().ok();
    json!({
        "tier": entry.tier.to_string(),
        "step": entry.step,
        "path": entry.dir,
        "latest": entry.is_latest,
        "best": entry.is_best,
        "valid": manifest.is_some(),
        "fault": entry.manifest.as_ref().err().map(Fault::to_string),
        "epoch": manifest.map(|manifest| manifest.epoch),
        "bytes": entry.num_bytes(),
        "created_unix_secs": manifest.map(|manifest| manifest.created_unix_secs),
        "metrics": manifest.map(|manifest| &manifest.metrics),
    })
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["step", "epoch", "written", "size", "tier", "state"]);
    for entry in entries {
        let manifest = entry.manifest.as_ref();
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let written = manifest.map_or("-".to_owned(), |manifest| {
            rfc3339(std::time::UNIX_EPOCH + std::time::Duration::from_secs(manifest.created_unix_secs))
        });
        let marks = [(entry.is_latest, "latest"), (entry.is_best, "best")];
        let mut state: Vec<String> =
            marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| (*mark).to_owned()).collect();
        state.extend(manifest.err().map(Fault::to_string));
        table.add_row([
            Cell::new(number(entry.step)).set_alignment(CellAlignment::Right),
            Cell::new(number(manifest.ok().map(|manifest| manifest.epoch)))
                .set_alignment(CellAlignment::Right),
            Cell::new(written),
            Cell::new(entry.num_bytes().map_or("-".to_owned(), |bytes| Bytes(bytes).to_string())),
            Cell::new(entry.tier),
            Cell::new(state.join(", ")),
        ]);
    }
    table
}
