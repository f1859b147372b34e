//! Whether two runs left the same behind, bit for bit; times are left out, and nothing else that can be read without
//! the program's own code.

use serde_json::Value;

use crate::run_files::RunFiles;

/// Differences that are told one by one.
const NUM_TOLD: usize = 5;

/// What differs between `run` and the undisturbed run `whole`, in words; empty when nothing does.
pub fn differences(run: &RunFiles, whole: &RunFiles) -> Vec<String> {
    let mut found = Vec::new();
    if run.latest_step() != whole.latest_step() {
        return vec![format!("newest checkpoint {:?} and {:?}", run.latest_step(), whole.latest_step())];
    }
    for file in ["model.safetensors", "optimizer.safetensors"] {
        if run.newest(file) != whole.newest(file) {
            found.push(format!("`{file}` differs"));
        }
    }
    let (lines, expected) = (run.metrics(), whole.metrics());
    let steps = |lines: &[crate::MetricsLine]| lines.iter().map(|line| line.step).collect::<Vec<u64>>();
    if steps(&lines) != steps(&expected) {
        found.push(format!("lines of steps {:?} instead of {:?}", steps(&lines), steps(&expected)));
    } else {
        for (line, expected) in lines.iter().zip(&expected) {
            let names = line.values.keys().chain(expected.values.keys());
            let mut names: Vec<&String> = names.filter(|name| !is_time(name)).collect();
            names.dedup();
            for name in names {
                let (value, wanted) = (line.values.get(name), expected.values.get(name));
                if value != wanted {
                    found.push(format!("`{name}` of step {} is {value:?} instead of {wanted:?}", line.step));
                }
            }
        }
    }
    let (result, expected) = (run.result(), whole.result());
    for key in ["step", "epoch", "samples_seen", "stop_reason"] {
        if result[key] != expected[key] {
            found.push(format!("`{key}` is {} instead of {}", result[key], expected[key]));
        }
    }
    found.extend(leftovers(run));
    if found.len() > NUM_TOLD {
        let rest = found.len() - NUM_TOLD;
        found.truncate(NUM_TOLD);
        found.push(format!("{rest} more"));
    }
    found
}

/// Folders that a killed save or deletion left and no start removed.
fn leftovers(run: &RunFiles) -> Vec<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).map(|name| format!("`checkpoints/{name}` was left")).collect()
}

fn is_time(name: &str) -> bool {
    name.starts_with("perf/") || name == "wall_s"
}

/// The text of a value of `result.json`.
pub fn result_text(run: &RunFiles, key: &str) -> String {
    match &run.result()[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
