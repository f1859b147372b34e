//! Checks of `data`.

use crate::checks::{Checks, Conflict};
use crate::schema::{DataConfig, DataKind, LabelSource, LabelUse, RunConfig};
use crate::suggest::{closest, listed};

/// Longest view, in samples: 1 GiB of 32-bit floats.
const MAX_CLIP_SAMPLES: f64 = (1u64 << 28) as f64;
/// Largest spectrogram, in cells.
const MAX_CELLS: f64 = (1u64 << 26) as f64;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let data = &config.data;
    checks.filled("data.name", &data.name);
    checks.require(
        !data.name.contains(['/', '\\']) && data.name != "..",
        ["data.name"],
        || format!("`data.name` names a folder and cannot be `{}`", data.name),
        None,
    );
    checks.require(
        data.root.is_some() || data.generate.is_some(),
        ["data.root", "data.generate"],
        || "there are no data: `data.root` and `data.generate` are both `null`".into(),
        "give the folder with the data: `data.root=PATH`",
    );
    if let Some(root) = &data.root {
        checks.filled("data.root", &root.to_string_lossy());
    }
    if let Some(generate) = &data.generate {
        checks.positive("data.generate.scale", generate.scale);
        checks.require(
            generate.scale.is_nan() || generate.scale <= 1000.0,
            ["data.generate.scale"],
            || format!("`data.generate.scale` must be at most 1000, not {}", generate.scale),
            None,
        );
    }
    check_generator(data, checks);
    check_corrections(data, checks);
    checks.filled("data.target", &data.target);
    if data.kind == DataKind::Sound {
        check_labels(config, checks);
        check_splits(data, checks);
        check_features(data, checks);
        super::segments::check(data, checks);
    } else if data.images.size.is_some() {
        check_labels(config, checks);
        check_splits(data, checks);
    }
}

fn check_generator(data: &DataConfig, checks: &mut Checks) {
    let Some(generate) = data.generate.as_ref().filter(|_| data.root.is_none()) else { return };
    checks.require(
        generate.kind.makes() == data.kind,
        ["data.generate.kind", "data.kind"],
        || "`data.generate.kind` does not make what `data.kind` asks for".into(),
        "`birdsong`, `spoken-digits` and `environmental-sounds` make sound, the others images",
    );
}

fn check_corrections(data: &DataConfig, checks: &mut Checks) {
    let Some(corrections) = &data.corrections else { return };
    checks.require(
        data.kind == DataKind::Images && data.images.size.is_none(),
        ["data.corrections", "data.kind"],
        || "`data.corrections` needs masks, which only sets of images in IDX files have".into(),
        "`dtrain data make confounded-mnist` makes such a set; without one: `data.corrections=null`",
    );
    checks.require(
        corrections.size != Some(0),
        ["data.corrections.size"],
        || "`data.corrections.size` is 0, which corrects nothing".into(),
        "without corrections: `data.corrections=null data.pools=[]`",
    );
}

/// The setting that names the labels, and their names, where they are known before the data are read.
fn known_labels(data: &DataConfig) -> Option<(&'static str, Vec<String>)> {
    match data.labels.source {
        LabelSource::Folder => Some(("data.labels.folders", data.labels.folders.clone())),
        LabelSource::Filename => Some(("data.labels.pattern", named_groups(&data.labels.pattern))),
        LabelSource::Csv => None,
    }
}

fn check_labels(config: &RunConfig, checks: &mut Checks) {
    let (data, labels) = (&config.data, &config.data.labels);
    if let Some(columns) = &labels.columns {
        let is_mapped = data.label_maps.contains_key(&data.target);
        checks.require(
            is_mapped || columns.contains(&data.target),
            ["data.labels.columns", "data.target"],
            || {
                let target = &data.target;
                format!(
                    "`data.target` = `{target}` is not among `data.labels.columns` = [{}]",
                    columns.join(", ")
                )
            },
            "name it there, or choose one of them as the target",
        );
    }
    match labels.source {
        LabelSource::Folder => checks.require(
            !labels.folders.is_empty() || config.method.facts().labels == LabelUse::Unused,
            ["data.labels.folders", "method.name"],
            || {
                let name = config.method.name();
                format!("`method.name` = {name} learns labels, but `data.labels.folders` names none")
            },
            "name what the folders stand for, outermost first: `data.labels.folders=[class]`",
        ),
        LabelSource::Csv => {
            checks.filled("data.labels.csv", &labels.csv.to_string_lossy());
            checks.filled("data.labels.csv_file_column", &labels.csv_file_column);
            let unclear = labels.rows.iter().find(|row| !row.contains('='));
            checks.require(
                unclear.is_none(),
                ["data.labels.rows"],
                || {
                    format!(
                        "`data.labels.rows` has `{}`, which names no value",
                        unclear.map_or("", String::as_str)
                    )
                },
                "write `COLUMN=VALUE`, such as `data.labels.rows=[esc10=True]`",
            );
            if let Some(folder) = &labels.csv_folder {
                checks.filled("data.labels.csv_folder", &folder.to_string_lossy());
            }
        }
        LabelSource::Filename => {
            checks.require(
                !labels.pattern.is_empty(),
                ["data.labels.pattern", "data.labels.source"],
                || "`data.labels.source` is `filename`, and `data.labels.pattern` is empty".into(),
                r"give a regular expression with named groups, such as `(?P<class>[a-z]+)_\d+\.wav$`",
            );
            checks.require(
                labels.pattern.is_empty() || !named_groups(&labels.pattern).is_empty(),
                ["data.labels.pattern"],
                || format!("`data.labels.pattern` has no named group: `{}`", labels.pattern),
                "each label is a group with a name: `(?P<class>...)`",
            );
        }
    }
    let Some((source, mut known)) = known_labels(data).filter(|(_, known)| !known.is_empty()) else { return };
    known.extend(data.label_maps.keys().cloned());
    let by = data.splits.get(&data.split).and_then(|split| split.by.as_deref());
    let by_key = format!("data.splits.{}.by", data.split);
    let mut used = vec![("data.target", "data.target", data.target.as_str())];
    used.extend(data.recording.iter().map(|label| ("data.recording", "data.recording", label.as_str())));
    used.extend(data.offset.iter().map(|label| ("data.offset", "data.offset", label.as_str())));
    used.extend(by.map(|label| ("data.splits", by_key.as_str(), label)));
    used.extend(config.eval.probes.iter().map(|label| ("eval.probes", "eval.probes", label.as_str())));
    for (key, shown, label) in used {
        // Probes can always ask for the recording: each file by itself, where no label names it.
        let implied = label == "recording" && key == "eval.probes";
        if label.is_empty() || implied || known.iter().any(|name| name == label) {
            continue;
        }
        let names = known.iter().map(String::as_str);
        let guess =
            closest(label, names.clone()).map_or(String::new(), |best| format!("did you mean `{best}`? "));
        checks.found.push(Conflict {
            keys: vec![key, source],
            message: format!("`{shown}` names `{label}`, which `{source}` does not have"),
            hint: Some(format!("{guess}the labels are {}", listed(names))),
            // A probe that an experiment brings along is left out where the data have no such label.
            only_if_asked: key == "eval.probes",
        });
    }
}

fn check_splits(data: &DataConfig, checks: &mut Checks) {
    if !data.splits.contains_key(&data.split) {
        let names = data.splits.keys().map(String::as_str);
        let best = closest(&data.split, names.clone());
        let guess = best.map_or(String::new(), |best| format!("did you mean `{best}`? "));
        checks.found.push(Conflict {
            keys: vec!["data.split", "data.splits"],
            message: format!("`data.split` is `{}`, which `data.splits` does not have", data.split),
            hint: Some(format!("{guess}there are {}", listed(names))),
            only_if_asked: false,
        });
    }
    for (name, split) in &data.splits {
        let keys = ["data.splits"];
        for (part, share) in [("test", split.test_fraction), ("val", split.val_fraction)] {
            let message =
                || format!("`data.splits.{name}.{part}_fraction` is a fraction from 0 to 1, not {share}");
            checks.require((0.0..=1.0).contains(&share), keys, message, None);
        }
        let (test, val) = (split.test_fraction, split.val_fraction);
        checks.require(
            // Out of range or not a number is reported above.
            !(0.0..=1.0).contains(&test) || !(0.0..=1.0).contains(&val) || test + val < 1.0,
            keys,
            || format!("`data.splits.{name}` leaves nothing to train on: test_fraction {test}, val_fraction {val}"),
            "the two fractions must add up to less than 1",
        );
        if let Some(both) = split.test.iter().find(|value| split.val.contains(value)) {
            let message = || format!("`data.splits.{name}` has `{both}` in both `test` and `val`");
            checks.require(false, keys, message, None);
        }
    }
}

fn check_features(data: &DataConfig, checks: &mut Checks) {
    let (audio, features) = (&data.audio, &data.features);
    checks.count("data.audio.sample_rate", audio.sample_rate, 100, 768_000);
    checks.positive("data.audio.clip_secs", audio.clip_secs);
    checks.count("data.features.n_fft", features.n_fft as u64, 2, 1 << 20);
    checks.count("data.features.hop_length", features.hop_length as u64, 1, 1 << 24);
    checks.count("data.features.n_mels", features.n_mels as u64, 1, 1 << 16);
    checks.positive("data.features.log_offset", features.log_offset);

    let bands = features.n_fft / 2 + 1;
    checks.require(
        features.n_mels <= bands,
        ["data.features.n_mels", "data.features.n_fft"],
        || {
            let (n_mels, n_fft) = (features.n_mels, features.n_fft);
            format!("`data.features.n_mels` is {n_mels}, but `data.features.n_fft` = {n_fft} gives only {bands} bands")
        },
        "use fewer mel bands, or a longer transform",
    );
    let nyquist = f64::from(audio.sample_rate) / 2.0;
    let f_max = features.f_max.unwrap_or(nyquist);
    checks.not_negative("data.features.f_min", features.f_min);
    checks.require(
        f_max <= nyquist,
        ["data.features.f_max", "data.audio.sample_rate"],
        || {
            let rate = audio.sample_rate;
            format!("`data.features.f_max` is {f_max} Hz, above half of `data.audio.sample_rate` = {rate} Hz")
        },
        "`data.features.f_max=null` takes half the sample rate",
    );
    checks.require(
        features.f_min < f_max,
        ["data.features.f_min", "data.features.f_max", "data.audio.sample_rate"],
        || {
            format!(
                "`data.features.f_min` = {} Hz is not below the highest frequency, {f_max} Hz",
                features.f_min
            )
        },
        None,
    );

    let samples = audio.clip_secs * f64::from(audio.sample_rate);
    checks.require(
        // Reflected borders of half a transform need that many samples.
        !samples.is_finite() || samples <= 0.0 || samples.floor() > (features.n_fft / 2) as f64,
        ["data.audio.clip_secs", "data.audio.sample_rate", "data.features.n_fft"],
        || {
            let (secs, rate, n_fft) = (audio.clip_secs, audio.sample_rate, features.n_fft);
            format!(
                "a clip is shorter than one frame: `data.audio.clip_secs` = {secs} at `data.audio.sample_rate` = {rate} is {samples:.0} samples, half of `data.features.n_fft` = {n_fft} is {}",
                n_fft / 2
            )
        },
        "use longer clips, or a shorter transform",
    );
    let too_long = samples.is_finite() && samples > MAX_CLIP_SAMPLES;
    checks.require(
        !too_long,
        ["data.audio.clip_secs", "data.audio.sample_rate"],
        || format!("a clip has {samples:.0} samples; at most {MAX_CLIP_SAMPLES} are possible"),
        "`data.audio.clip_secs` is the length of a view, not of a recording",
    );
    let cells = samples / features.hop_length.max(1) as f64 * features.n_mels as f64;
    checks.require(
        too_long || !cells.is_finite() || cells <= MAX_CELLS,
        ["data.features.hop_length", "data.features.n_mels", "data.audio.clip_secs"],
        || format!("a spectrogram has {cells:.0} cells; at most {MAX_CELLS} are possible"),
        "raise `data.features.hop_length`, or use shorter clips",
    );
}

/// Names in `(?P<name>` and `(?<name>`; the expression itself is compiled where it is used.
fn named_groups(pattern: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in pattern.split("(?").skip(1) {
        let part = part.strip_prefix('P').unwrap_or(part);
        let name = part.strip_prefix('<').filter(|rest| !rest.starts_with(['=', '!']));
        if let Some((name, _)) = name.and_then(|rest| rest.split_once('>')) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(
            named_groups(r"(?P<digit>\d)_(?<speaker>[a-z]+)_(\d+)(?:x)(?<=y)\.wav$"),
            ["digit", "speaker"]
        );
    }
}
