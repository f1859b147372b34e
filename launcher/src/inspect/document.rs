//! The report for programs. docs/formats.md describes the keys.

use dtrain_data::images::inspect::ClassCounts;
use dtrain_data::images::{FormatError, Head, Reading};
use serde_json::{Value, json};

use super::{Found, Part};

/// All that was found.
pub fn document(found: &Found<'_>) -> Value {
    let folder = found.folder;
    let shape = folder.train.shape();
    let mut notes: Vec<&String> = folder.notes().collect();
    notes.dedup();
    json!({
        "format": folder.format.name(),
        "folder": folder.root,
        "shape": {"height": shape.height, "width": shape.width, "channels": shape.channels},
        "heads": folder.train.heads().iter().map(of_head).collect::<Vec<_>>(),
        "parts": found.parts.iter().map(of_part).collect::<Vec<_>>(),
        "notes": notes,
    })
}

fn of_head(head: &Head) -> Value {
    let reading = match head.reading {
        Reading::ClassIndex => "class",
        Reading::Steps => "steps",
        Reading::Raw => "raw",
    };
    json!({
        "name": head.name,
        "num_classes": head.num_classes,
        "reading": reading,
        "source": head.source,
        "min": head.range.map(|range| range.min),
        "max": head.range.map(|range| range.max),
        "step": head.range.map(|range| range.step),
        "scale": head.scale,
        "description": head.description,
        "class_names": head.class_names,
    })
}

fn of_part(part: &Part<'_>) -> Value {
    let stated: Vec<Value> = part
        .set
        .stated_shapes()
        .iter()
        .map(|stated| {
            json!({
                "source": stated.source,
                "height": stated.shape.height,
                "width": stated.shape.width,
                "channels": stated.shape.channels,
            })
        })
        .collect();
    let heads = part.set.heads().iter().zip(&part.counts.heads);
    json!({
        "part": part.split.name(),
        "files": part.set.files().collect::<Vec<_>>(),
        "stated_shapes": stated,
        "num_samples": part.counts.num_samples,
        "num_bad": part.counts.num_bad,
        "bad": part.counts.bad.iter().map(of_bad).collect::<Vec<_>>(),
        "heads": heads.map(|(head, counts)| of_counts(head, counts)).collect::<Vec<_>>(),
    })
}

fn of_bad(error: &FormatError) -> Value {
    json!({"file": error.path, "problem": error.problem.to_string()})
}

fn of_counts(head: &Head, counts: &ClassCounts) -> Value {
    let class = |(class, count): (usize, u64)| json!({"class": class, "samples": count, "share": count as f64 / counts.total() as f64});
    json!({
        "name": head.name,
        "counts": counts.counts(),
        "num_seen": counts.num_seen(),
        "rarest": counts.rarest().map(class),
        "most_frequent": counts.most_frequent().map(class),
        "empty": counts.empty().collect::<Vec<_>>(),
    })
}
