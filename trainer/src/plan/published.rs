//! The tables of docs/scaling.md are what the model says.

use std::fmt::Write;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{
    LarsConfig, MethodConfig, ModelConfig, OptimizerConfig, ProjectorConfig, SimclrConfig,
};
use tch::{Device, Kind};

use super::activations::Activations;
use super::cost::Compute;
use super::hardware::{A100, H100, Hardware};
use super::inputs::RunShape;
use super::scaling::{MicroBatchChoice, ScalingPlan};
use crate::bytes::Bytes;
use crate::engine::flat::Flat;
use crate::model::parameters::Parameters;

/// Bytes of forward and backward in bf16, fixed and per sample of two views of 3 x 224 x 224: [`super::measure_activations`]
/// on a CPU.
const FIXED_BYTES: u64 = 72_289_312;
const BYTES_PER_SAMPLE: u64 = 87_516_188;
/// Launching a step of some 500 kernels, forward and backward, at 10 us each. Assumed.
const LAUNCH_SECS: f64 = 5e-3;
/// Part of a GPU's memory that a run takes.
const USABLE: f64 = 0.8;

#[test]
fn the_page_shows_what_the_model_predicts() {
    let projector = ProjectorConfig { hidden_dim: 2048, ..ProjectorConfig::default() };
    let mut config = RunConfig {
        model: ModelConfig::named("resnet50").unwrap(),
        method: MethodConfig::Simclr(SimclrConfig { projector, ..SimclrConfig::default() }),
        optimizer: OptimizerConfig::Lars(LarsConfig::default()),
        ..RunConfig::default()
    };
    let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
    let method = crate::method::build(
        &config.method,
        &config.model,
        &crate::method::Task::of_classes([3, 224, 224], 0),
        &mut parameters,
    );
    let flat = Flat::new(&parameters).unwrap();
    let bytes = |len: usize| (len * size_of::<f32>()) as u64;
    let buckets: Vec<(u64, usize)> = flat
        .buckets(config.trainer.bucket_bytes, config.trainer.first_bucket_bytes)
        .into_iter()
        .map(|b| (bytes(b.len()), flat.segments().iter().filter(|s| b.contains(&s.offset)).count()))
        .collect();

    let mut table = String::new();
    for (hardware, name) in [(A100, "A100"), (H100, "H100")] {
        for batch in [4096, 32768] {
            config.trainer.batch_size = batch;
            let shape = RunShape {
                config: &config,
                method: &*method,
                parameters: &parameters,
                view_shapes: &[[3, 224, 224]],
                tile: 4096,
                sync_bn: true,
                overlap: true,
                threads: 1,
                gpu: Some(name),
                buckets: &buckets,
                micro_batch: MicroBatchChoice::Fitting((hardware.gpu_bytes as f64 * USABLE) as u64),
                activations: activations(&hardware),
                ranks_per_node: 8,
                total_steps: 0,
            };
            let _ = writeln!(table, "\n#### {}, batch {batch}\n", hardware.name);
            table.push_str(&rows(&shape));
        }
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scaling.md")).unwrap();
    assert!(page.contains(&table), "docs/scaling.md should hold:\n{table}");
}

fn activations(hardware: &Hardware) -> Activations {
    Activations {
        fixed_bytes: FIXED_BYTES,
        bytes_per_sample: BYTES_PER_SAMPLE,
        compute: Compute {
            secs_per_sample: 2.0 / hardware.resnet50_images_per_sec,
            floor_secs: LAUNCH_SECS,
            forward_share: 1.0 / 3.0,
        },
    }
}

fn rows(shape: &RunShape<'_>) -> String {
    let mut table = String::from(
        "| GPUs | micro-batches | memory per GPU | sent per GPU | step | exposed communication | samples/s | efficiency | lost mostly to |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for world in [8, 16, 64, 256, 1024] {
        let plan = ScalingPlan::new(&shape.on_world(world));
        let cost = &plan.cost;
        let micro =
            plan.lines.iter().find(|line| line.name == "micro-batches").map_or("", |line| &line.value);
        let lost: Vec<String> = cost
            .losses
            .iter()
            .take(2)
            .filter(|(_, secs)| *secs > 0.005 * cost.step_secs)
            .map(|(name, secs)| format!("{name} {:.0} %", 100.0 * secs / cost.step_secs))
            .collect();
        let _ = writeln!(
            table,
            "| {world} | {micro} | {} | {} | {:.1} ms | {:.1} ms | {:.0} | {:.0} % | {} |",
            Bytes(plan.memory.total()),
            Bytes(cost.wire.total() as u64),
            1e3 * cost.step_secs,
            1e3 * cost.exposed_comm_secs(),
            cost.samples_per_sec,
            100.0 * cost.efficiency,
            lost.join(", ")
        );
    }
    table
}
