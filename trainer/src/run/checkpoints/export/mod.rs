//! Weights for other programs: a safetensors file or one of `torch.save` under the names of torchvision or timm, the lines of
//! Python that load it, and a page that says what they are.

mod card;
mod python;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Elsewhere, Encoder, PythonLibrary};
use dtrain_data::torch_file::{self, TensorToWrite};

use crate::checkpoint::durable::replace_atomic;
use crate::checkpoint::{
    CheckpointStore, MODEL_FILE, Manifest, TensorFile, TensorSpec, Validation, write_tensors,
};
use crate::error::TrainError;
use crate::method::{BACKBONE, CLASSIFIER};
use crate::model::parameters::of_teacher;

/// Under which a checkpoint says which views its network was built for: channels, rows and columns.
pub(crate) const VIEW_SHAPE: &str = "view_shape";

/// Which weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportPart {
    /// The network that turns a view into an embedding.
    Backbone,
    /// What was trained on it too: classifier, projector, heads.
    All,
}

/// In which form weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// <https://github.com/huggingface/safetensors>
    Safetensors,
    /// As `torch.save` writes a state dict.
    Pth,
}

/// What is written, and how.
#[derive(Debug, Clone)]
pub struct ExportRequest<'a> {
    /// Which weights.
    pub part: ExportPart,
    /// Of the trained network or its teacher; nothing: what is evaluated.
    pub encoder: Option<Encoder>,
    /// In which form.
    pub format: WeightFormat,
    /// For which library; nothing: that whose names the network has, if there is one.
    pub names: Option<PythonLibrary>,
    /// The file.
    pub out: &'a Path,
    /// The command that was typed, for the page beside the file.
    pub command: String,
    /// The command that trained the weights, where it is known.
    pub trained_by: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Optimizer steps that the weights have seen.
    pub step: u64,
    /// Number of tensors.
    pub num_tensors: usize,
    /// Lines of Python that load the file; empty where no library has such a network.
    pub python: Vec<String>,
    /// Whose names the tensors have.
    pub names: &'static str,
    /// Channels, rows and columns of the views; rows and columns are 0 where the checkpoint does not say.
    pub input: [u64; 3],
    /// The page beside the file.
    pub card: PathBuf,
}

/// What a classifier is called where no library has the network.
const LAST_LAYER: &str = "fc";

/// Writes the weights of the checkpoint at `path` (a run directory stands for its newest), and a page about them.
///
/// # Errors
/// A checkpoint that cannot be read, names that the network does not have, or a file that cannot be written.
pub fn export(path: &Path, config: &RunConfig, request: &ExportRequest<'_>) -> Result<Exported, TrainError> {
    let encoder = request.encoder.unwrap_or_else(|| config.encoder());
    if encoder == Encoder::Teacher && config.method.facts().teacher.is_none() {
        return Err(TrainError::config(
            format!("`method={}` has no teacher to export", config.method.name()),
            "leave `--encoder` and `eval.encoder` out: there is one network",
        ));
    }
    let loaded = CheckpointStore::open_at(path, Validation::Quick)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let file = TensorFile::parse(loaded.read_file(MODEL_FILE)?)?;
    let input = input(&loaded.manifest, &file);
    let there = library(config, input, request.names)?;
    let last_layer = there.as_ref().map_or(LAST_LAYER, |there| there.last_layer);
    let chosen: Vec<(TensorSpec, &[u8])> = file
        .tensors()
        .filter_map(|view| {
            let name = exported_name(of_encoder(&view.spec.name, encoder)?, request.part, last_layer)?;
            Some((TensorSpec { name, ..view.spec.clone() }, view.bytes))
        })
        .collect();
    if chosen.is_empty() {
        return Err(TrainError::internal("a checkpoint without a tensor of a backbone"));
    }
    let specs: Vec<TensorSpec> = chosen.iter().map(|(spec, _)| spec.clone()).collect();
    let step = loaded.manifest.step;
    replace_atomic(request.out, |writer| {
        let fill = |index: usize, writer: &mut dyn Write| {
            chosen.get(index).map_or(Ok(()), |(_, bytes)| writer.write_all(bytes))
        };
        write_weights(writer, request.format, &specs, step, fill)
    })?;
    let python = match &there {
        Some(there) if input.iter().all(|&size| size > 0) || there.library == PythonLibrary::Torchvision => {
            python::lines(there, &config.model, &specs, request.format, request.out)
        }
        _ => Vec::new(),
    };
    let names = there.map_or("dtrain's own", |there| there.library.name());
    let mut card = request.out.as_os_str().to_owned();
    card.push(".md");
    let exported = Exported { step, num_tensors: specs.len(), python, names, input, card: card.into() };
    let page = card::page(request, config, encoder, &loaded.manifest, &exported);
    replace_atomic(&exported.card, |writer| writer.write_all(page.as_bytes()))?;
    Ok(exported)
}

fn write_weights(
    writer: &mut dyn Write,
    format: WeightFormat,
    specs: &[TensorSpec],
    step: u64,
    fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match format {
        WeightFormat::Safetensors => {
            // `format` is what other readers of such files look for.
            let metadata = BTreeMap::from([
                ("format".to_owned(), "pt".to_owned()),
                ("step".to_owned(), step.to_string()),
            ]);
            write_tensors(writer, specs, &metadata, fill).map_err(io::Error::other)
        }
        WeightFormat::Pth => {
            let tensor = |spec: &'_ TensorSpec| (spec.name.clone(), spec.dtype, spec.shape.clone());
            let tensors: Vec<_> = specs.iter().map(tensor).collect();
            let tensors: Vec<TensorToWrite<'_>> = tensors
                .iter()
                .map(|(name, dtype, shape)| TensorToWrite { name, dtype: *dtype, shape })
                .collect();
            torch_file::write(writer, &tensors, fill)
        }
    }
}

/// What the network saw, by the checkpoint, or as far as the shapes of its tensors tell it.
fn input(manifest: &Manifest, file: &TensorFile) -> [u64; 3] {
    let stated = manifest.metadata.get(VIEW_SHAPE).and_then(|shape| {
        let sizes: Option<Vec<u64>> = shape.as_array()?.iter().map(serde_json::Value::as_u64).collect();
        <[u64; 3]>::try_from(sizes?).ok()
    });
    // Checkpoints of earlier versions do not say it.
    let channels = file.tensors().find_map(|view| match view.spec.shape[..] {
        [_, channels, _, _] if view.spec.name.starts_with(BACKBONE) => Some(channels),
        _ => None,
    });
    stated.unwrap_or([channels.unwrap_or(3), 0, 0])
}

/// The library that the file is for.
///
/// # Errors
/// One that does not have the network.
fn library(
    config: &RunConfig,
    input: [u64; 3],
    wanted: Option<PythonLibrary>,
) -> Result<Option<Elsewhere>, TrainError> {
    let mut all = config.model.network.elsewhere(input);
    let Some(wanted) = wanted else { return Ok((!all.is_empty()).then(|| all.remove(0))) };
    let place = all.iter().position(|there| there.library == wanted);
    if let Some(place) = place {
        return Ok(Some(all.remove(place)));
    }
    let (name, wanted) = (config.model.name(), wanted.name());
    Err(TrainError::config(
        format!("`--names {wanted}`: {wanted} has no `{name}` with tensors of these names"),
        match all.first() {
            Some(there) => format!("leave it out, or write `--names {}`", there.library.name()),
            None => "leave it out: the file then has dtrain's own names".to_owned(),
        },
    ))
}

/// The name within its network of a tensor of the trained network or of its teacher; `None`: it is of the other one.
fn of_encoder(name: &str, encoder: Encoder) -> Option<&str> {
    match (of_teacher(name), encoder) {
        (None, Encoder::Online) => Some(name),
        (taught, Encoder::Teacher) => taught,
        (Some(_), Encoder::Online) => None,
    }
}

/// The library's name of a tensor, or its own where that has no such layer; `None`: it is not written.
fn exported_name(name: &str, part: ExportPart, last_layer: &str) -> Option<String> {
    let (scope, rest) = name.split_once('.')?;
    match (scope, part) {
        (BACKBONE, _) => Some(rest.to_owned()),
        // A memory queue holds embeddings of the training part, no weights.
        (_, ExportPart::Backbone) | ("queue", _) => None,
        (CLASSIFIER, ExportPart::All) => Some(format!("{last_layer}.{rest}")),
        (_, ExportPart::All) => Some(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_torchvisions_where_it_has_such_a_layer() {
        use ExportPart::{All, Backbone};
        for (name, part, expected) in [
            ("backbone.layer1.0.bn1.running_mean", Backbone, Some("layer1.0.bn1.running_mean")),
            ("backbone.conv1.weight", All, Some("conv1.weight")),
            ("classifier.weight", Backbone, None),
            ("classifier.weight", All, Some("fc.weight")),
            ("projector.0.weight", All, Some("projector.0.weight")),
            ("queue.rows", All, None),
        ] {
            assert_eq!(exported_name(name, part, "fc").as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_teacher_is_exported_by_choice_and_under_the_same_names() {
        for (name, online, teacher) in [
            ("backbone.conv1.weight", Some("backbone.conv1.weight"), None),
            ("teacher.backbone.conv1.weight", None, Some("backbone.conv1.weight")),
            ("teacher.projector.0.weight", None, Some("projector.0.weight")),
            ("teachers.weight", Some("teachers.weight"), None),
        ] {
            assert_eq!(of_encoder(name, Encoder::Online), online, "{name}");
            assert_eq!(of_encoder(name, Encoder::Teacher), teacher, "{name}");
        }
    }

    #[test]
    fn a_library_that_lacks_the_network_is_refused() {
        let refused = |model: &str, library: PythonLibrary| {
            let config = RunConfig {
                model: dtrain_configs::schema::ModelConfig::named(model).unwrap(),
                ..RunConfig::default()
            };
            let error = super::library(&config, [3, 64, 64], Some(library)).unwrap_err();
            format!("{error}; {}", error.hint().unwrap_or_default())
        };
        assert_eq!(
            refused("vit_tiny", PythonLibrary::Torchvision),
            "`--names torchvision`: torchvision has no `vit_tiny` with tensors of these names; leave it out, or write \
             `--names timm`"
        );
        assert_eq!(
            refused("cnn_small", PythonLibrary::Timm),
            "`--names timm`: timm has no `cnn_small` with tensors of these names; leave it out: the file then has dtrain's \
             own names"
        );
    }
}
