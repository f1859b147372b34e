//! Every network: sizes, empty batches, ranks, precisions, feature maps.

use std::sync::Arc;
use std::thread;

use dtrain_configs::schema::Norm;
use tch::{Device, Kind};

use super::thread_ranks::ThreadRanks;
use super::*;
use crate::torch_extra::Autocast;
use crate::torch_extra::cuda_contract::as_on_cuda;

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
fn in_f64(config: &ModelConfig, input: [i64; 3]) -> (Box<dyn Backbone>, Parameters) {
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
    let backbone = build_backbone(config, input.into(), &mut parameters);
    (backbone, parameters)
}

/// Every form of every network, and the rows and columns that it is tried with.
fn variants() -> impl Iterator<Item = (String, ModelConfig, i64)> {
    ModelConfig::all().into_iter().flat_map(|model| model.network.variants()).map(|variant| {
        let what = format!("{} {}", variant.network.name(), variant.words);
        (what, ModelConfig::from(variant.network), variant.side as i64)
    })
}

/// With its defaults.
fn named(name: &str) -> ModelConfig {
    ModelConfig::named(name).unwrap()
}

fn wave(shape: &[i64]) -> Tensor {
    (Tensor::arange(shape.iter().product::<i64>(), DOUBLE) * 0.731).sin().reshape(shape)
}

#[test]
fn sizes_are_the_published_ones() {
    for (what, model, side) in variants() {
        for shape in [[1, side, side], [3, side, side + 9]] {
            let built = in_f64(&model, shape).1.num_elements() as u64;
            assert_eq!(
                built,
                model.network.num_parameters(shape.map(|size| size as u64)),
                "{what} {shape:?}"
            );
        }
    }
    // torchvision's counts less the classifier's 1000 x (features + 1), and those of the papers' kin.
    for (name, channels, expected) in [
        ("resnet18", 3, 11_689_512 - 513_000),
        ("resnet34", 3, 21_797_672 - 513_000),
        ("resnet50", 3, 25_557_032 - 2_049_000),
        ("cnn_small", 3, 388_896),
        // Without heads; two convolutions, their norms, and the hidden layer.
        ("simple_cnn", 1, 9 * 32 * (1 + 64) + 2 * (32 + 64) + 3136 * 128 + 128),
        // timm's counts of vit_tiny_patch16_224 and vit_small_patch16_224 less the classifier.
        ("vit_tiny", 3, 5_717_416 - 193_000),
        ("vit_small", 3, 22_050_664 - 385_000),
    ] {
        let network = NetworkConfig::named(name).unwrap();
        assert_eq!(network.num_parameters([channels, 224, 224]), expected, "{name}");
    }
}

/// In training and in evaluation, on views of the least size too, and where rows and columns differ.
#[test]
fn an_embedding_is_the_pooled_feature_maps_of_the_stated_shape() {
    for (what, model, side) in variants() {
        let facts = model.network.facts();
        let least = facts.min_side as i64;
        for (height, width) in [(side, side), (side + 3, side + 14), (least, least + 5)] {
            let (backbone, _parameters) = in_f64(&model, [2, height, width]);
            let input = wave(&[3, 2, height, width]);
            for pass in [ForwardContext::eval(), ForwardContext::train(None).without_update()] {
                let features = backbone.features(&input, &pass).unwrap();
                let [channels, rows, columns] = backbone.feature_shape();
                assert_eq!(features.maps.size(), [3, channels, rows, columns], "{what} {height} x {width}");
                let embedding = backbone.pool(&features, &pass).unwrap();
                assert_eq!(embedding.size(), [3, backbone.num_features()]);
                assert_eq!(backbone.num_features(), facts.num_features as i64);
                assert_eq!(embedding, backbone.forward(&input, &pass).unwrap(), "{what}");
            }
        }
    }
}

/// What Grad-CAM weighs: the gradient of a score with respect to feature maps, within the graph of a whole pass or from feature
/// maps on, is the same, and each step along it raises the score as it says.
#[test]
fn feature_maps_have_a_gradient() {
    for (what, model, side) in variants() {
        let (backbone, _parameters) = in_f64(&model, [1, side, side]);
        let pass = ForwardContext::eval();
        let score = |features: &Features| {
            let embedding = backbone.pool(features, &pass).unwrap();
            (&embedding * wave(&embedding.size())).sum(Kind::Double)
        };
        let features = backbone.features(&wave(&[2, 1, side, side]), &pass).unwrap();
        let gradient = |features: &Features| {
            Tensor::run_backward(&[score(features)], &[features.pooled()], false, false).remove(0)
        };
        let within = gradient(&features);
        assert_eq!(within.size(), features.pooled().size());
        // From what the embedding is made of on.
        let from = |pooled: Tensor| Features {
            maps: features.token.as_ref().map_or_else(|| pooled.shallow_clone(), |_| features.maps.detach()),
            token: features.token.as_ref().map(|_| pooled.shallow_clone()),
        };
        let pooled = features.pooled().detach();
        assert_eq!(gradient(&from(pooled.copy().set_requires_grad(true))), within, "{what}");
        let step = (&within * 1e-6) / within.norm();
        let rise = tch::no_grad(|| (score(&from(&pooled + &step)) - score(&from(&pooled - &step))) / 2e-6);
        let error = (rise.double_value(&[]) / within.norm().double_value(&[]) - 1.0).abs();
        assert!(error < 1e-6, "{what}: {error:e}");
    }
}

#[test]
fn an_empty_batch_goes_forward_and_backward_without_nan() {
    for (what, model, side) in variants() {
        for sync in [None, Some(SyncStatistics::new(|_| Ok(())))] {
            let (backbone, parameters) = in_f64(&model, [1, side, side]);
            let features = backbone
                .forward(&Tensor::zeros([0, 1, side, side], DOUBLE), &ForwardContext::train(sync))
                .unwrap();
            assert_eq!(features.size(), [0, backbone.num_features()]);
            features.sum(Kind::Double).backward();
            let norms = parameters.parameters().iter().map(|p| p.tensor.grad().norm().double_value(&[]));
            assert_eq!(norms.sum::<f64>(), 0.0, "{what}");
            let finite = |b: &parameters::Buffer| b.tensor.isfinite().all().int64_value(&[]) == 1;
            assert!(parameters.buffers().iter().all(finite), "{what}");
        }
    }
}

/// Every network with every normalization, as a GPU would be asked to compute it: the same numbers, and nothing that it would
/// refuse or that has no fixed order.
#[test]
fn as_on_a_gpu_every_network_is_what_it_is_on_the_cpu() {
    let networks =
        ModelConfig::all().into_iter().filter_map(|model| model.network.variants().into_iter().next());
    for network in networks.map(|variant| variant.network) {
        let name = network.name();
        for norm in [Norm::Batch, Norm::Group, Norm::Frozen] {
            let config = ModelConfig { norm, norm_groups: 8, ..ModelConfig::from(network.clone()) };
            for (rows, sync) in [(3, false), (3, true), (0, true)] {
                let run = || {
                    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
                    let backbone = build_backbone(&config, [2, 36, 40].into(), &mut parameters);
                    let sync = sync.then(|| SyncStatistics::new(|_| Ok(())));
                    let features =
                        backbone.forward(&wave(&[rows, 2, 36, 40]), &ForwardContext::train(sync)).unwrap();
                    (&features * wave(&features.size())).sum(Kind::Double).backward();
                    let gradients = parameters.parameters().iter().map(|p| p.tensor.grad());
                    std::iter::once(features.detach()).chain(gradients).collect::<Vec<_>>()
                };
                let (expected, actual) = (run(), as_on_cuda(run));
                let all = |tensors: &[Tensor]| {
                    Tensor::cat(&tensors.iter().map(|t| t.flatten(0, -1)).collect::<Vec<_>>(), 0)
                };
                let (expected, actual) = (all(&expected), all(&actual));
                let error = (actual - &expected).norm().double_value(&[]);
                let allowed = 1e-10 * expected.norm().double_value(&[]);
                assert!(error <= allowed, "{name} {norm:?} {rows} rows, sync {sync}: {error:e}");
            }
        }
    }
}

/// Features, then gradients summed over the ranks, then buffers.
fn train(name: &'static str, input: &Tensor, sync: Option<SyncStatistics>) -> Vec<Tensor> {
    let (backbone, parameters) = in_f64(&named(name), [1, 32, 40]);
    let features = backbone.forward(input, &ForwardContext::train(sync)).unwrap();
    features.square().sum(Kind::Double).backward();
    let gradients = parameters.parameters().iter().map(|p| p.tensor.grad());
    let buffers = parameters.buffers().iter().map(|b| b.tensor.to_kind(Kind::Double));
    std::iter::once(features.detach()).chain(gradients).chain(buffers).collect()
}

#[test]
fn a_network_over_two_ranks_equals_one_process() {
    for name in ["cnn_small", "simple_cnn", "resnet18"] {
        let input = wave(&[5, 1, 32, 40]);
        let expected = train(name, &input, None);
        let ranks = ThreadRanks::new(2);
        let threads = [(0, 2), (2, 3)].map(|(begin, rows)| {
            let (shard, ranks) = (input.narrow(0, begin, rows), Arc::clone(&ranks));
            thread::spawn(move || train(name, &shard, Some(ranks.statistics())))
        });
        let [first, second] = threads.map(|thread| thread.join().unwrap());
        let num_gradients = in_f64(&named(name), [1, 32, 40]).1.parameters().len();
        for (index, expected) in expected.iter().enumerate() {
            let (first, second) = (&first[index], &second[index]);
            let actual = match index {
                0 => Tensor::cat(&[first, second], 0),
                _ if index <= num_gradients => first + second,
                _ => {
                    assert_eq!(first, second);
                    first.shallow_clone()
                }
            };
            let error = ((actual - expected).norm() / expected.norm()).double_value(&[]);
            assert!(error < 1e-11, "{name:?}: tensor {index} differs by {error:e}");
        }
    }
}

/// Features, and all gradients as one vector, of a network whose weights and inputs are off by up to `jitter` of themselves.
fn trained_in(kind: Kind, name: &str, norm: Norm, sync: bool, jitter: f64) -> [Tensor; 2] {
    let float = |t: Tensor| t.to_kind(Kind::Float);
    let shaken = |t: &Tensor, frequency: f64| {
        let noise = (Tensor::arange(t.numel() as i64, DOUBLE) * frequency).sin().reshape(t.size());
        float(t.to_kind(Kind::Double) * (noise * jitter + 1.0))
    };
    // Noise whose energy falls with frequency and time, as in a log-mel spectrogram.
    let noise = float(wave(&[16, 1, 64, 96]) * 7919.0).sin();
    let slope = Tensor::linspace(1, -1, 64, (Kind::Float, Device::Cpu)).view([64, 1]);
    let input = noise.avg_pool2d([3, 3], [1, 1], [1, 1], false, true, None) * 2.0 + slope;
    let input = shaken(&input, 12_345.678);
    let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 5);
    let config = ModelConfig { norm, ..named(name) };
    let backbone = build_backbone(&config, [1, 64, 96].into(), &mut parameters);
    for parameter in parameters.parameters() {
        let value = shaken(&parameter.tensor.detach(), 54_321.123);
        tch::no_grad(|| parameter.tensor.shallow_clone().copy_(&value));
    }
    let sync = sync.then(|| SyncStatistics::new(|_| Ok(())));
    let guard = Autocast::enter(Device::Cpu, kind);
    let features = float(backbone.forward(&input, &ForwardContext::train(sync)).unwrap());
    drop(guard);
    let cotangent = float(wave(&features.size()));
    (&features * cotangent).sum(Kind::Float).backward();
    let gradients: Vec<_> = parameters.parameters().iter().map(|p| p.tensor.grad().flatten(0, -1)).collect();
    [features.detach(), Tensor::cat(&gradients, 0)]
}

/// Relative differences from fp32, of features and of gradients.
fn differences(a: &[Tensor; 2], exact: &[Tensor; 2]) -> [f64; 2] {
    let error = |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
    [error(&a[0], &exact[0]), error(&a[1], &exact[1])]
}

/// What weights and inputs that are off by a rounding of bf16 change in fp32 is the noise, and libtorch's own batch norm the
/// measure of the synchronized one.
///
/// Features change smoothly: bf16 was off by 0.6 to 1.0 of that noise in all six networks, so 1.5 is allowed. Gradients jump
/// where an activation crosses the kink of a ReLU or another element becomes the largest of its window, which one shake may
/// meet or not. So each network has a bound of its own, a quarter above the largest of what bf16 and the noise were
/// measured to change (of gradients, with batch and with group norm: 0.20 and 0.09 both ways in `cnn_small`; 0.01 and 0.13 in
/// bf16, 0.07 and 0.01 as noise in `simple_cnn`; 0.37 and 0.26 in bf16, 0.39 and 0.27 as noise in `resnet18`).
#[test]
fn bf16_is_f32_rounded() {
    let bounds = [("cnn_small", [0.25, 0.12]), ("simple_cnn", [0.09, 0.16]), ("resnet18", [0.48, 0.34])];
    for (name, bounds) in bounds {
        for (norm, bound) in [Norm::Batch, Norm::Group].into_iter().zip(bounds) {
            let exact = trained_in(Kind::Float, name, norm, false, 0.0);
            let noise = differences(&trained_in(Kind::Float, name, norm, false, 0.5_f64.powi(8)), &exact);
            let [local, sync] = [false, true]
                .map(|sync| differences(&trained_in(Kind::BFloat16, name, norm, sync, 0.0), &exact));
            let what = format!("{name:?} {norm:?}: noise {noise:?}, {local:?}, synchronized {sync:?}");
            for [features, gradient] in [local, sync] {
                assert!(features > 1e-6, "{what} ran in fp32");
                assert!(features < 1.5 * noise[0] && gradient < bound, "{what}");
            }
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.2;
            assert!(near(local[0], sync[0]) && near(local[1], sync[1]), "{what}");
        }
    }
}

#[test]
fn convolutions_begin_as_in_torchvision() {
    let (_, parameters) = in_f64(&named("resnet18"), [3, 64, 64]);
    let weight = parameters.parameters().iter().find(|p| p.name == "layer4.1.conv2.weight").unwrap();
    let std = weight.tensor.std(true).double_value(&[]);
    assert!((std / (2.0 / (512.0 * 9.0f64)).sqrt() - 1.0).abs() < 0.005, "{std}");
}
