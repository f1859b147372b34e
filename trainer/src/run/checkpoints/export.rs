//! Weights for other programs: a safetensors file under torchvision's names, and the lines of Python that load it.

use std::collections::BTreeMap;
use std::path::Path;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Encoder, ModelConfig, Norm, Torchvision};

use crate::checkpoint::durable::replace_atomic;
use crate::checkpoint::{CheckpointStore, MODEL_FILE, TensorFile, TensorSpec, Validation, write_tensors};
use crate::error::TrainError;
use crate::method::{BACKBONE, CLASSIFIER};
use crate::model::parameters::of_teacher;

/// Which weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportPart {
    /// The network that turns a view into an embedding.
    Backbone,
    /// What was trained on it too: classifier, projector, heads.
    All,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Optimizer steps that the weights have seen.
    pub step: u64,
    /// Number of tensors.
    pub num_tensors: usize,
    /// Lines of Python that load the file; empty where torchvision has no such network.
    pub python: Vec<String>,
}

/// What torchvision calls the last layer of its classifiers.
const LAST_LAYER: &str = "fc";

/// Writes the weights of the checkpoint at `path` (a run directory stands for its newest) to `out`.
///
/// # Errors
/// A checkpoint that cannot be read, or a file that cannot be written.
pub fn export(path: &Path, config: &RunConfig, part: ExportPart, out: &Path) -> Result<Exported, TrainError> {
    let loaded = CheckpointStore::open_at(path, Validation::Quick)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let file = TensorFile::parse(loaded.read_file(MODEL_FILE)?)?;
    let encoder = config.encoder();
    let chosen: Vec<(TensorSpec, &[u8])> = file
        .tensors()
        .filter_map(|view| {
            let name = exported_name(of_encoder(&view.spec.name, encoder)?, part)?;
            Some((TensorSpec { name, ..view.spec.clone() }, view.bytes))
        })
        .collect();
    if chosen.is_empty() {
        return Err(TrainError::internal("a checkpoint without a tensor of a backbone"));
    }
    let specs: Vec<TensorSpec> = chosen.iter().map(|(spec, _)| spec.clone()).collect();
    let step = loaded.manifest.step;
    // `format` is what other readers of such files look for.
    let metadata =
        BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("step".to_owned(), step.to_string())]);
    replace_atomic(out, |writer| {
        let fill = |index: usize, writer: &mut dyn std::io::Write| {
            chosen.get(index).map_or(Ok(()), |(_, bytes)| writer.write_all(bytes))
        };
        write_tensors(writer, &specs, &metadata, fill).map_err(std::io::Error::other)
    })?;
    Ok(Exported { step, num_tensors: specs.len(), python: python(&config.model, &specs, out) })
}

/// The name within its network of a tensor of the trained network or of its teacher; `None`: it is of the other one.
fn of_encoder(name: &str, encoder: Encoder) -> Option<&str> {
    match (of_teacher(name), encoder) {
        (None, Encoder::Online) => Some(name),
        (taught, Encoder::Teacher) => taught,
        (Some(_), Encoder::Online) => None,
    }
}

/// torchvision's name of a tensor, or its own where torchvision has no such layer; `None`: it is not written.
fn exported_name(name: &str, part: ExportPart) -> Option<String> {
    let (scope, rest) = name.split_once('.')?;
    match (scope, part) {
        (BACKBONE, _) => Some(rest.to_owned()),
        // A memory queue holds embeddings of the training part, no weights.
        (_, ExportPart::Backbone) | ("queue", _) => None,
        (CLASSIFIER, ExportPart::All) => Some(format!("{LAST_LAYER}.{rest}")),
        (_, ExportPart::All) => Some(name.to_owned()),
    }
}

/// The lines that make torchvision's network with these shapes and load the file.
fn python(model: &ModelConfig, specs: &[TensorSpec], out: &Path) -> Vec<String> {
    let shape = |name: &str| specs.iter().find(|spec| spec.name == name).map(|spec| spec.shape.as_slice());
    let classes = shape("fc.weight").and_then(|shape| shape.first().copied());
    let channels = shape("conv1.weight").and_then(|shape| shape.get(1).copied()).unwrap_or(3);
    let Some(Torchvision { function, adjustments }) = model.network.torchvision(channels) else {
        return Vec::new();
    };
    let mut arguments = Vec::new();
    arguments.extend(classes.map(|classes| format!("num_classes={classes}")));
    if model.norm == Norm::Group {
        // Channels are powers of two, and groups the largest divisor of them up to the setting.
        let groups = (model.norm_groups.max(1) + 1).next_power_of_two() / 2;
        arguments.push(format!("norm_layer=lambda n: torch.nn.GroupNorm(min(n, {groups}), n)"));
    }
    let mut lines = vec![
        "import safetensors.torch, torch, torchvision".to_owned(),
        format!("model = torchvision.models.{function}({})", arguments.join(", ")),
    ];
    lines.extend(adjustments);
    if classes.is_none() {
        lines.push("model.fc = torch.nn.Identity()".to_owned());
    }
    let backbone = |spec: &TensorSpec| {
        !["projector.", "predictor.", "heads."].iter().any(|own| spec.name.starts_with(own))
    };
    let strict = if specs.iter().all(backbone) { "" } else { ", strict=False" };
    let file = serde_json::to_string(&out.display().to_string()).unwrap_or_default();
    lines.push(format!("model.load_state_dict(safetensors.torch.load_file({file}){strict})"));
    lines
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::NetworkConfig;

    use super::*;
    use crate::checkpoint::Dtype;

    fn lines(model: ModelConfig, specs: &[(&str, &[u64])]) -> String {
        let spec = |(name, shape): &(&str, &[u64])| TensorSpec {
            name: (*name).into(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        };
        python(&model, &specs.iter().map(spec).collect::<Vec<_>>(), Path::new("weights.safetensors"))
            .join("\n")
    }

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
            assert_eq!(exported_name(name, part).as_deref(), expected, "{name}");
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
    fn the_lines_make_the_network_that_the_file_holds() {
        let color: [(&str, &[u64]); 1] = [("conv1.weight", &[64, 3, 7, 7])];
        assert_eq!(
            lines(ModelConfig::default(), &color).lines().collect::<Vec<_>>(),
            [
                "import safetensors.torch, torch, torchvision",
                "model = torchvision.models.resnet18()",
                "model.fc = torch.nn.Identity()",
                r#"model.load_state_dict(safetensors.torch.load_file("weights.safetensors"))"#,
            ]
        );
        let [_, small] = &NetworkConfig::named("resnet18").unwrap().variants()[..] else { panic!() };
        let small =
            ModelConfig { norm: Norm::Group, norm_groups: 20, ..ModelConfig::from(small.network.clone()) };
        let specs: [(&str, &[u64]); 2] = [("conv1.weight", &[64, 1, 3, 3]), ("fc.weight", &[10, 512])];
        let norm = "norm_layer=lambda n: torch.nn.GroupNorm(min(n, 16), n)";
        assert_eq!(
            lines(small, &specs).lines().skip(1).collect::<Vec<_>>(),
            [
                &format!("model = torchvision.models.resnet18(num_classes=10, {norm})"),
                "model.conv1 = torch.nn.Conv2d(1, 64, 3, padding=1, bias=False)",
                "model.maxpool = torch.nn.Identity()",
                r#"model.load_state_dict(safetensors.torch.load_file("weights.safetensors"))"#,
            ]
        );
        let projected: [(&str, &[u64]); 2] =
            [("conv1.weight", &[64, 1, 7, 7]), ("projector.0.weight", &[8, 8])];
        assert!(lines(ModelConfig::default(), &projected).ends_with(", strict=False)"));
        let own = ModelConfig::named("cnn_small").unwrap();
        assert_eq!(lines(own, &projected), "");
    }
}
