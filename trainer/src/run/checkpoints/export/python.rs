//! The lines of Python that make a library's network with the shapes of an exported file, and load it.

use std::path::Path;

use dtrain_configs::schema::{Elsewhere, ModelConfig, Norm, PythonLibrary};

use super::WeightFormat;
use crate::checkpoint::TensorSpec;

/// The lines for the network `there`; none where it does not take this model's normalization.
pub(super) fn lines(
    there: &Elsewhere,
    model: &ModelConfig,
    specs: &[TensorSpec],
    format: WeightFormat,
    out: &Path,
) -> Vec<String> {
    let weight = format!("{}.weight", there.last_layer);
    let classes = specs.iter().find(|spec| spec.name == weight).and_then(|spec| spec.shape.first().copied());
    let mut arguments = Vec::new();
    match (classes, there.library) {
        (Some(classes), _) => arguments.push(format!("num_classes={classes}")),
        (None, PythonLibrary::Timm) => arguments.push("num_classes=0".to_owned()),
        (None, PythonLibrary::Torchvision) => {}
    }
    if model.norm == Norm::Group && !is_layer_norm(there) {
        if !there.takes_norm_layer {
            return Vec::new();
        }
        // Channels are powers of two, and groups the largest divisor of them up to the setting.
        let groups = (model.norm_groups.max(1) + 1).next_power_of_two() / 2;
        arguments.push(format!("norm_layer=lambda n: torch.nn.GroupNorm(min(n, {groups}), n)"));
    }
    let (reader, load) = match format {
        WeightFormat::Safetensors => ("safetensors.torch, ", "safetensors.torch.load_file"),
        WeightFormat::Pth => ("", "torch.load"),
    };
    let comma = if there.has_arguments && !arguments.is_empty() { ", " } else { "" };
    let mut lines = vec![
        format!("import {reader}torch, {}", there.library.name()),
        format!("model = {}{comma}{})", there.call, arguments.join(", ")),
    ];
    lines.extend(there.adjustments.clone());
    if classes.is_none() && there.library == PythonLibrary::Torchvision {
        lines.push(format!("model.{} = torch.nn.Identity()", there.last_layer));
    }
    let of_library = |spec: &TensorSpec| {
        !["projector.", "predictor.", "heads."].iter().any(|own| spec.name.starts_with(own))
    };
    let strict = if specs.iter().all(of_library) { "" } else { ", strict=False" };
    let file = serde_json::to_string(&out.display().to_string()).unwrap_or_default();
    let safely = if format == WeightFormat::Pth { ", weights_only=True" } else { "" };
    lines.push(format!("model.load_state_dict({load}({file}{safely}){strict})"));
    lines
}

/// A network that has layer norms whatever `model.norm` says.
fn is_layer_norm(there: &Elsewhere) -> bool {
    there.last_layer == "head"
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::NetworkConfig;

    use super::*;
    use crate::checkpoint::Dtype;

    fn of(
        model: &ModelConfig,
        library: PythonLibrary,
        input: [u64; 3],
        specs: &[(&str, &[u64])],
    ) -> Vec<String> {
        let spec = |(name, shape): &(&str, &[u64])| TensorSpec {
            name: (*name).into(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        };
        let specs: Vec<TensorSpec> = specs.iter().map(spec).collect();
        let there = model.network.elsewhere(input).into_iter().find(|there| there.library == library);
        let (format, out) = match library {
            PythonLibrary::Torchvision => (WeightFormat::Safetensors, "w.safetensors"),
            PythonLibrary::Timm => (WeightFormat::Pth, "w.pth"),
        };
        there.map_or_else(Vec::new, |there| lines(&there, model, &specs, format, Path::new(out)))
    }

    #[test]
    fn the_lines_make_the_network_that_the_file_holds() {
        let color: [(&str, &[u64]); 1] = [("conv1.weight", &[64, 3, 7, 7])];
        let model = ModelConfig::default();
        assert_eq!(
            of(&model, PythonLibrary::Torchvision, [3, 224, 224], &color),
            [
                "import safetensors.torch, torch, torchvision",
                "model = torchvision.models.resnet18()",
                "model.fc = torch.nn.Identity()",
                r#"model.load_state_dict(safetensors.torch.load_file("w.safetensors"))"#,
            ]
        );
        assert_eq!(
            of(&model, PythonLibrary::Timm, [1, 64, 101], &color),
            [
                "import torch, timm",
                r#"model = timm.create_model("resnet18", in_chans=1, num_classes=0)"#,
                r#"model.load_state_dict(torch.load("w.pth", weights_only=True))"#,
            ]
        );
        let [_, small] = &NetworkConfig::named("resnet18").unwrap().variants()[..] else { panic!() };
        let small =
            ModelConfig { norm: Norm::Group, norm_groups: 20, ..ModelConfig::from(small.network.clone()) };
        let specs: [(&str, &[u64]); 2] = [("conv1.weight", &[64, 1, 3, 3]), ("fc.weight", &[10, 512])];
        let norm = "norm_layer=lambda n: torch.nn.GroupNorm(min(n, 16), n)";
        assert_eq!(
            of(&small, PythonLibrary::Torchvision, [1, 32, 32], &specs)[1..4],
            [
                format!("model = torchvision.models.resnet18(num_classes=10, {norm})"),
                "model.conv1 = torch.nn.Conv2d(1, 64, 3, padding=1, bias=False)".to_owned(),
                "model.maxpool = torch.nn.Identity()".to_owned(),
            ]
        );
        assert!(
            of(&small, PythonLibrary::Timm, [1, 32, 32], &specs).is_empty(),
            "timm's takes no other norm"
        );
        let projected: [(&str, &[u64]); 2] =
            [("conv1.weight", &[64, 1, 7, 7]), ("projector.0.weight", &[8, 8])];
        let loaded = of(&model, PythonLibrary::Torchvision, [1, 64, 64], &projected);
        assert!(loaded.last().unwrap().ends_with(", strict=False)"));
        let own = ModelConfig::named("cnn_small").unwrap();
        assert!(of(&own, PythonLibrary::Torchvision, [1, 64, 64], &projected).is_empty());
    }

    #[test]
    fn vision_transformers_are_timms() {
        let model = ModelConfig::named("vit_tiny").unwrap();
        assert!(of(&model, PythonLibrary::Torchvision, [3, 64, 100], &[]).is_empty());
        let made = r#"model = timm.create_model("vit_tiny_patch16_224", in_chans=3, img_size=(64, 112), patch_size=16, depth=12, num_classes=0)"#;
        assert_eq!(of(&model, PythonLibrary::Timm, [3, 64, 100], &[])[1], made);
        let [_, mean] = &model.network.variants()[..] else { panic!() };
        let mean = ModelConfig::from(mean.network.clone());
        let classifier: [(&str, &[u64]); 1] = [("head.weight", &[7, 192])];
        assert!(of(&mean, PythonLibrary::Timm, [1, 32, 32], &classifier)[1].ends_with(
            "patch_size=8, depth=2, class_token=False, global_pool=\"avg\", fc_norm=False, num_classes=7)"
        ));
    }
}
