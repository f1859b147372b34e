//! Draws, names, teachers, and memory that is not there.

use super::*;

fn draw(seed: u64, init: Init, others: usize) -> Vec<f64> {
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, seed);
    for index in 0..others {
        let _ = parameters.parameter(&format!("other{index}"), &[3], init, Role::Weight);
    }
    let tensor = parameters.parameter("weight", &[100, 999], init, Role::Weight);
    Vec::try_from(tensor.detach().flatten(0, -1)).unwrap()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    values.sum::<f64>() / 99_900.0
}

#[test]
fn a_draw_depends_on_seed_and_name_alone() {
    let init = Init::Normal { std: 1.0 };
    assert_eq!(draw(1, init, 0), draw(1, init, 3));
    assert_ne!(draw(1, init, 0), draw(2, init, 0));
}

#[test]
fn draws_have_the_moments_of_their_distribution() {
    // The tolerances are five standard errors of 99,900 draws.
    let normal = draw(7, Init::Normal { std: 0.5 }, 0);
    assert!(mean(normal.iter().copied()).abs() < 0.008);
    assert!((mean(normal.iter().map(|x| x.powi(2))) - 0.25).abs() < 0.0056);
    assert!((mean(normal.iter().map(|x| x.powi(4))) - 0.1875).abs() < 0.0097);
    assert!(mean(normal.windows(2).map(|pair| pair[0] * pair[1])).abs() < 0.004);

    let uniform = draw(7, Init::Uniform { bound: 0.3 }, 0);
    assert!(uniform.iter().all(|x| x.abs() <= 0.3));
    assert!(mean(uniform.iter().copied()).abs() < 0.0028);
    assert!((mean(uniform.iter().map(|x| x.powi(2))) - 0.03).abs() < 0.00043);
}

#[test]
fn the_first_tensor_without_memory_is_named_with_its_size() {
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 0);
    let small = parameters.buffer("small", &[2, 3], 1.0);
    assert!(parameters.made().is_ok());
    let rows = parameters.scope("queue", |scope| scope.buffer("rows", &[1 << 45, 2], 0.0));
    let _ = parameters.integers("keys", &[1 << 47], -1);
    let _ = parameters.parameter("weight", &[1 << 47], Init::Constant(0.0), Role::Weight);
    assert_eq!((rows.size(), small.size()), (vec![1 << 45, 2], vec![2, 3]));
    let unmade = parameters.made().unwrap_err();
    assert_eq!((unmade.name.as_str(), unmade.bytes), ("queue.rows", 1 << 49));
    assert!(unmade.error.to_string().contains("memory"), "{}", unmade.error);
}

#[test]
fn a_teacher_begins_as_a_copy_and_a_constant_is_nobodys() {
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 4);
    let build = |scope: &mut Parameters| {
        scope.scope("conv", |scope| {
            let weight = scope.parameter("weight", &[3, 2], Init::Normal { std: 1.0 }, Role::Weight);
            let mean = scope.buffer("running_mean", &[3], 0.0);
            let scale =
                scope.constant(|scope| scope.parameter("scale", &[3], Init::Constant(1.0), Role::Norm));
            (weight, mean, scale)
        })
    };
    let (student, _, scale) = build(&mut parameters);
    let (teacher, mean, _) = parameters.teacher(build);
    assert!(student.requires_grad() && !teacher.requires_grad() && !scale.requires_grad());
    assert_eq!(student.detach(), teacher);
    let [shadow] = parameters.shadows() else { panic!("{:?}", parameters.shadows()) };
    assert_eq!((shadow.name.as_str(), shadow.of()), ("teacher.conv.weight", "conv.weight"));
    assert_eq!(shadow.tensor.data_ptr(), teacher.data_ptr());
    assert_eq!(parameters.buffers()[1].name, "teacher.conv.running_mean");
    assert_eq!(parameters.buffers()[1].tensor.data_ptr(), mean.data_ptr());
    let names: Vec<&str> = parameters.named().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["conv.weight", "conv.running_mean", "teacher.conv.running_mean", "teacher.conv.weight"]
    );
    let _ = parameters.parameter("after", &[1], Init::Constant(0.0), Role::Bias);
    assert_eq!(parameters.parameters()[1].name, "after");
}

#[test]
fn scopes_nest_and_end() {
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 0);
    let _ = parameters.scope("backbone", |parameters| {
        let _ = parameters.scope("", |parameters| {
            parameters.scope("layer1.0", |parameters| {
                parameters.parameter("weight", &[2, 1], Init::Constant(1.0), Role::Weight)
            })
        });
        parameters.counter("steps")
    });
    let _ = parameters.buffer("mean", &[2], 0.0);
    let names: Vec<_> = parameters.buffers().iter().map(|buffer| buffer.name.as_str()).collect();
    assert_eq!(parameters.parameters()[0].name, "backbone.layer1.0.weight");
    assert_eq!(names, ["backbone.steps", "mean"]);
    assert_eq!(parameters.buffers()[0].tensor.kind(), Kind::Int64);
    assert_eq!(parameters.num_elements(), 2);
}
