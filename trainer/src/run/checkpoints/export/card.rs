//! The page beside exported weights: what they are, what they were trained on, what they reached, and how to use them.

use std::fmt::Write;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{DataKind, Encoder, LogScale, Normalize};

use super::{ExportPart, ExportRequest, Exported, WeightFormat};
use crate::checkpoint::Manifest;

/// The page, in Markdown.
pub(super) fn page(
    request: &ExportRequest<'_>,
    config: &RunConfig,
    encoder: Encoder,
    manifest: &Manifest,
    exported: &Exported,
) -> String {
    let name = request.out.file_name().unwrap_or_default().to_string_lossy();
    let mut page = format!("# {name}\n\n");
    let method = config.method.name();
    let (step, epoch) = (manifest.step, manifest.epoch);
    // Writing into a text does not fail.
    let _ = writeln!(
        page,
        "Weights of `{method}` on `{}`, after step {step} (epoch {epoch}).\n",
        config.data.name
    );
    page += "| | |\n|---|---|\n";
    let mut row = |what: &str, value: String| {
        let _ = writeln!(page, "| {what} | {} |", value.replace('|', "\\|").replace('\n', " "));
    };
    row(
        "network",
        format!("{}, {} features", config.model.name(), config.model.network.facts().num_features),
    );
    row("part", part(request.part).to_owned());
    row("encoder", if encoder == Encoder::Teacher { "teacher" } else { "online" }.to_owned());
    row("method", method.to_owned());
    row("data", data(config));
    row("input", input(exported.input));
    row("normalization", normalization(config));
    row("names of tensors", exported.names.to_owned());
    row(
        "format",
        if request.format == WeightFormat::Pth { "`torch.save`" } else { "safetensors" }.to_owned(),
    );
    row("seed", config.seed.to_string());
    let figures: Vec<_> = manifest.metrics.iter().filter(|(name, _)| is_figure(name)).collect();
    if !figures.is_empty() {
        page += "\n## Figures\n\nLast values at this step.\n\n| metric | value |\n|---|---|\n";
        for (name, value) in figures {
            let _ = writeln!(page, "| `{name}` | {value:.4} |");
        }
    }
    if !exported.python.is_empty() {
        let _ = write!(page, "\n## Loading\n\n```python\n{}\n```\n", exported.python.join("\n"));
    }
    page += "\n## Commands\n\n";
    if let Some(trained) = &request.trained_by {
        let _ = writeln!(page, "Trained by\n\n    {trained}\n");
    }
    let _ = writeln!(page, "Written by\n\n    {}", request.command);
    page
}

/// Those of evaluations; those of steps say nothing about the weights.
fn is_figure(name: &str) -> bool {
    ["val/", "test/", "held_out/"].iter().any(|part| name.starts_with(part))
}

fn part(part: ExportPart) -> &'static str {
    match part {
        ExportPart::Backbone => "the backbone, whose output is the embedding",
        ExportPart::All => "the backbone and what was trained on it",
    }
}

fn data(config: &RunConfig) -> String {
    let place = match (&config.data.root, &config.data.generate) {
        (Some(root), _) => format!(" in `{}`", root.display()),
        (None, Some(_)) => ", generated".to_owned(),
        (None, None) => String::new(),
    };
    format!("{}{place}", config.data.name)
}

fn input([channels, height, width]: [u64; 3]) -> String {
    match height {
        0 => format!("{channels} channels"),
        _ => format!("{channels} x {height} x {width} (channels, rows, columns)"),
    }
}

fn normalization(config: &RunConfig) -> String {
    match config.data.kind {
        DataKind::Sound => {
            let (audio, features) = (&config.data.audio, &config.data.features);
            let log = match features.log {
                LogScale::Offset => format!("log(power + {:e})", features.log_offset),
                LogScale::Log1p => "log(1 + power)".to_owned(),
            };
            let normalized = match features.normalize {
                Normalize::View => "each view to mean 0 and standard deviation 1",
                Normalize::None => "not normalized",
            };
            format!(
                "{log} of {} mel bands, windows of {} and steps of {} samples at {} Hz; {normalized}",
                features.n_mels, features.n_fft, features.hop_length, audio.sample_rate
            )
        }
        DataKind::Images => match (&config.data.images.mean, &config.data.images.std) {
            (Some(mean), Some(std)) => {
                format!("pixels from 0 to 1, minus {mean:?}, divided by {std:?}")
            }
            _ => {
                "pixels from 0 to 1, with the mean and standard deviation that are usual for so many channels"
                    .to_owned()
            }
        },
    }
}
