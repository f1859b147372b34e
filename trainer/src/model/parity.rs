//! The networks answer as torchvision's, given the same numbers. `fixtures/make_models.py` wrote the answers.

use std::collections::BTreeMap;

use dtrain_configs::schema::ModelConfig;
use serde::Deserialize;
use tch::{Device, Kind, Tensor, no_grad};

use super::parameters::Parameters;
use super::{ForwardContext, build_backbone};

#[derive(Deserialize)]
struct Fixture {
    batch: i64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    in_channels: i64,
    height: i64,
    width: i64,
    eval: Summary,
    train: Summary,
    gradient_norms: BTreeMap<String, f64>,
    buffer_norms: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Summary {
    norm: f64,
    sampled: Vec<f64>,
}

/// `formula` of make_models.py: uniform in (-1, 1) by name and index.
fn formula(name: &str, shape: &[i64]) -> Tensor {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, fold);
    let draw = |index: u64| {
        let mut z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        2.0 * ((z >> 11) as f64 / 2f64.powi(53)) - 1.0
    };
    let num_elements = shape.iter().product::<i64>() as u64;
    Tensor::from_slice(&(0..num_elements).map(draw).collect::<Vec<_>>()).reshape(shape)
}

/// `value` of make_models.py.
fn value(name: &str, shape: &[i64]) -> Tensor {
    let draw = formula(name, shape);
    match shape {
        [out_channels, _, height, width] => draw * (6.0 / (out_channels * height * width) as f64).sqrt(),
        [_, inputs] => draw * (3.0 / *inputs as f64).sqrt(),
        _ if name.ends_with("weight") || name.ends_with("running_var") => draw * 0.25 + 1.0,
        _ => draw * 0.25,
    }
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).norm().double_value(&[])
}

fn assert_close(what: &str, actual: f64, expected: f64, scale: f64, tolerance: f64) {
    let error = (actual - expected).abs() / scale.max(1e-300);
    assert!(error <= tolerance, "{what}: {actual} is not {expected} (relative error {error:e})");
}

fn assert_features(what: &str, features: &Tensor, expected: &Summary, tolerance: f64) {
    assert_close(what, norm(features), expected.norm, expected.norm, tolerance);
    let flat = Vec::<f64>::try_from(features.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap();
    let step = flat.len() / expected.sampled.len() - 1;
    let scale = expected.norm / (flat.len() as f64).sqrt();
    for (actual, expected) in flat.iter().step_by(step).zip(&expected.sampled) {
        assert_close(what, *actual, *expected, scale, tolerance);
    }
}

struct Tolerance {
    eval: f64,
    train: f64,
    gradient: f64,
}

fn compare(kind: Kind, tolerance: &Tolerance) {
    let fixture: Fixture = serde_json::from_str(include_str!("../../fixtures/models.json")).unwrap();
    for case in &fixture.cases {
        let what = |part: &str| format!("{:?} {part} with {} channels", case.model, case.in_channels);
        let mut parameters = Parameters::new(Device::Cpu, kind, 0);
        let config = ModelConfig::named(&case.model).unwrap();
        let input = [case.in_channels, case.height, case.width];
        let backbone = build_backbone(&config, input.into(), &mut parameters);

        let mut tensors: BTreeMap<_, _> =
            parameters.parameters().iter().map(|p| (p.name.as_str(), p.tensor.shallow_clone())).collect();
        assert!(tensors.keys().copied().eq(case.gradient_norms.keys()), "names of {:?}", case.model);
        let buffers = parameters.buffers().iter().map(|b| (b.name.as_str(), b.tensor.shallow_clone()));
        let buffers: BTreeMap<_, _> = buffers.collect();
        assert!(buffers.keys().copied().eq(case.buffer_norms.keys()), "buffers of {:?}", case.model);
        tensors.extend(buffers.iter().map(|(name, buffer)| (*name, buffer.shallow_clone())));
        no_grad(|| {
            for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| tensor.kind() == kind) {
                tensor.copy_(&value(name, &tensor.size()));
            }
        });
        let input =
            formula("input", &[fixture.batch, case.in_channels, case.height, case.width]).to_kind(kind);

        let evaluated = no_grad(|| backbone.forward(&input, &ForwardContext::eval())).unwrap();
        assert_eq!(evaluated.size(), [fixture.batch, backbone.num_features()]);
        assert_features(&what("evaluation"), &evaluated, &case.eval, tolerance.eval);

        let features = backbone.forward(&input, &ForwardContext::train(None)).unwrap();
        assert_features(&what("training"), &features, &case.train, tolerance.train);
        let cotangent = formula("cotangent", &features.size()).to_kind(kind);
        (features * cotangent).sum(kind).backward();
        for (name, expected) in &case.gradient_norms {
            assert_close(
                &what(name),
                norm(&tensors[name.as_str()].grad()),
                *expected,
                *expected,
                tolerance.gradient,
            );
        }
        for (name, expected) in &case.buffer_norms {
            assert_close(&what(name), norm(&buffers[name.as_str()]), *expected, *expected, tolerance.train);
        }
    }
}

#[test]
fn networks_equal_torchvision_in_f64() {
    compare(Kind::Double, &Tolerance { eval: 1e-11, train: 1e-11, gradient: 1e-11 });
}

/// Less closely in training: the last stage normalizes by 16 values per channel, which magnifies rounding, and a sum
/// that rounding moves across zero switches a ReLU, and with it gradients.
#[test]
fn networks_equal_torchvision_in_f32() {
    compare(Kind::Float, &Tolerance { eval: 1e-5, train: 2e-4, gradient: 1e-2 });
}
