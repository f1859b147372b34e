//! The plan of a run on a world that need not be at hand: what `dtrain --dry-run world=1024` prints.

use std::fmt;

use super::cost::{StepCost, StepInputs};
use super::memory::{MemoryInputs, MemoryPlan, fit_micro_batch};
use crate::bytes::Bytes;

/// How the micro-batch is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MicroBatchChoice {
    /// As set.
    Fixed(usize),
    /// The largest that fits a budget of bytes.
    Fitting(u64),
    /// The whole share, whatever it takes.
    WholeShare,
}

/// What attracts an anchor of the pair loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positives {
    /// The other views of its sample.
    OtherViews,
    /// All views of so many samples, its own among them.
    Class(usize),
    /// All views of its class, of which a batch holds as many as the data allow.
    WholeClass,
}

/// Everything that a plan is made of: numbers and the reasons for them.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanInputs {
    /// The step on the planned world. `micro_batch` is filled in by the plan.
    pub step: StepInputs,
    /// The memory of a rank. What depends on the world or the micro-batch is filled in by the plan: `shards`, `share`,
    /// `micro_batch` and the rows of the pair loss.
    pub memory: MemoryInputs,
    /// How the micro-batch is found.
    pub micro_batch: MicroBatchChoice,
    /// Where the seconds per sample come from, such as `measured here: 64 samples on one rank`.
    pub compute_source: String,
    /// Where the bytes per sample come from.
    pub activation_source: String,
    /// What attracts an anchor of the pair loss.
    pub positives: Positives,
    /// Whether the network normalizes by batch statistics.
    pub batch_norm: bool,
    /// Optimizer steps of the whole run; 0 when unknown.
    pub total_steps: u64,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// What the value is.
    pub name: String,
    /// The value.
    pub value: String,
    /// Where it comes from; may be empty.
    pub reason: String,
}

/// The plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingPlan {
    /// In order.
    pub lines: Vec<PlanLine>,
    /// Things to fix, each with its remedy.
    pub warnings: Vec<String>,
    /// Time.
    pub cost: StepCost,
    /// Memory of the rank with the largest share.
    pub memory: MemoryPlan,
}

/// The lines of a plan as name, value and reason, for whoever prints a banner.
pub fn describe(inputs: &PlanInputs) -> Vec<(String, String, String)> {
    ScalingPlan::new(inputs).lines.into_iter().map(|line| (line.name, line.value, line.reason)).collect()
}

impl ScalingPlan {
    /// Plans.
    pub fn new(inputs: &PlanInputs) -> Self {
        let mut draft = Draft::default();
        let (memory_inputs, micro_batch) = draft.fit(inputs);
        let memory = memory_inputs.plan();
        let step = StepInputs { micro_batch, ..inputs.step.clone() };
        let cost = step.cost();
        draft.division(inputs, &cost, micro_batch);
        draft.positives(inputs);
        draft.memory(inputs, &memory);
        draft.wire(&step, &cost);
        draft.time(inputs, &cost);
        Self { lines: draft.lines, warnings: draft.warnings, cost, memory }
    }
}

impl fmt::Display for ScalingPlan {
    /// A table of three columns, then the warnings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&PlanLine) -> &String| {
            self.lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0)
        };
        let (name, value) = (width(|l| &l.name), width(|l| &l.value));
        for line in &self.lines {
            let text = format!("{:name$}  {:value$}  {}", line.name, line.value, line.reason);
            writeln!(f, "{}", text.trim_end())?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Lines and warnings as they come.
#[derive(Default)]
struct Draft {
    lines: Vec<PlanLine>,
    warnings: Vec<String>,
}

impl Draft {
    fn line(&mut self, name: &str, value: impl fmt::Display, reason: impl fmt::Display) {
        self.lines.push(PlanLine { name: name.into(), value: value.to_string(), reason: reason.to_string() });
    }

    /// The memory of the largest share, with the micro-batch that was chosen for it.
    fn fit(&mut self, inputs: &PlanInputs) -> (MemoryInputs, Option<usize>) {
        let step = &inputs.step;
        let share = step.global_batch.div_ceil(step.world.max(1));
        let of_world = inputs.memory.on_world(step.global_batch, step.world, step.shard_optimizer);
        let of_micro = |micro: usize| MemoryInputs { micro_batch: micro as u64, ..of_world };
        let micro = match inputs.micro_batch {
            MicroBatchChoice::Fixed(micro) => Some(micro.max(1)),
            MicroBatchChoice::WholeShare => None,
            MicroBatchChoice::Fitting(budget) => {
                let fixed = of_micro(0).plan().total();
                match fit_micro_batch(budget, share, fixed, inputs.memory.activation_bytes_per_sample) {
                    Ok(micro) if micro >= share => None,
                    Ok(micro) => Some(micro),
                    Err(error) => {
                        self.warnings.push(format!("{error}; {}", error.hint()));
                        Some(1)
                    }
                }
            }
        };
        (of_micro(micro.unwrap_or(share)), micro)
    }

    fn division(&mut self, inputs: &PlanInputs, cost: &StepCost, micro_batch: Option<usize>) {
        let StepInputs { world, global_batch, .. } = inputs.step;
        let nodes = inputs.step.network.num_nodes(world);
        let plural = if nodes == 1 { "" } else { "s" };
        self.line("planned world", world, format!("{nodes} node{plural}; {}", inputs.step.network.name));
        let (least, larger) = (global_batch / world.max(1), global_batch % world.max(1));
        let shares = match (least, larger) {
            (_, 0) => "the same on every rank".to_owned(),
            (0, _) => format!("on {larger} ranks; the other {} have none", world - larger),
            (_, _) => format!("on {larger} ranks; {least} on the other {}", world - larger),
        };
        self.line("samples per rank", cost.share, shares);
        if global_batch < world {
            self.warnings.push(format!(
                "`trainer.batch_size={global_batch}` leaves {} of {world} ranks without a sample; raise it or take at \
                 most {global_batch} ranks",
                world - global_batch
            ));
        } else if larger > 0 && least < 16 {
            let up = (least + 1) * world;
            self.warnings.push(format!(
                "`trainer.batch_size={global_batch}` does not divide by {world} ranks, and the ranks with {least} samples \
                 wait for those with {}; {} or {up} would divide",
                least + 1,
                least * world
            ));
        }
        let micro_batches = cost.micro_batches;
        let reason = match (inputs.micro_batch, micro_batch) {
            (MicroBatchChoice::Fixed(_), _) => "set".to_owned(),
            (MicroBatchChoice::Fitting(budget), Some(_)) => {
                format!("the largest equal micro-batches within {}", Bytes(budget))
            }
            (MicroBatchChoice::Fitting(budget), None) => format!("the whole share fits {}", Bytes(budget)),
            (MicroBatchChoice::WholeShare, _) => "the whole share".to_owned(),
        };
        let size = micro_batch.unwrap_or(cost.share).min(cost.share.max(1));
        self.line("micro-batches", format!("{micro_batches} x {size}"), reason);
        if inputs.batch_norm {
            let (together, how) = match inputs.step.sync_layers {
                0 => (size, "each rank's micro-batch for itself"),
                _ => ((size * world).min(global_batch), "a micro-batch of all ranks together"),
            };
            self.line("batch norm sees", format!("{together} samples"), how);
            if together * inputs.step.views < 16 {
                self.warnings.push(format!(
                    "batch norm sees {together} samples at a time; use `trainer.sync_bn=true`, fewer ranks, or \
                     `model.norm=group`"
                ));
            }
        }
    }

    /// What an anchor of the pair loss is compared with; the same on any world, since the batch is global.
    fn positives(&mut self, inputs: &PlanInputs) {
        let StepInputs { global_batch, views, pair_loss: Some(pair), .. } = inputs.step else { return };
        let same_class = match inputs.positives {
            Positives::OtherViews => 1,
            Positives::Class(samples) => samples.clamp(1, global_batch.max(1)),
            Positives::WholeClass => {
                let reason = "`method.samples_per_class=auto`; the same on any world";
                return self.line("positives per anchor", "its class in the batch", reason);
            }
        };
        let positives = (same_class * views).saturating_sub(1);
        let others = (global_batch * views).saturating_sub(1 + positives) + pair.queue_rows;
        self.line("positives per anchor", positives, format!("{others} others; the same on any world"));
    }

    fn memory(&mut self, inputs: &PlanInputs, memory: &MemoryPlan) {
        let shards = if inputs.step.shard_optimizer {
            format!("1/{} of {}", inputs.step.world, Bytes(inputs.memory.moments * memory.weights))
        } else {
            format!("{} per parameter", inputs.memory.moments)
        };
        let per_sample = format!(
            "{} per sample, {}",
            Bytes(inputs.memory.activation_bytes_per_sample),
            inputs.activation_source
        );
        for (name, bytes, reason) in [
            ("memory: weights", memory.weights, format!("{} parameters", inputs.memory.parameters)),
            ("memory: gradients", memory.gradients, String::new()),
            ("memory: moments", memory.moments, shards),
            ("memory: buffers", memory.buffers, "with the copy of a step".into()),
            ("memory: activations", memory.activations, per_sample),
            ("memory: inputs", memory.inputs, "views of the share".into()),
            ("memory: prepared batches", memory.staging, "ahead of the step".into()),
            ("memory: loss", memory.loss, "gathered projections, gradient, tiles".into()),
            ("memory: queue", memory.queue, String::new()),
            ("memory: checkpoint", memory.checkpoint, "what it is written from, on rank 0".into()),
        ] {
            if bytes > 0 {
                self.line(name, Bytes(bytes), reason);
            }
        }
        self.line("memory: total per rank", Bytes(memory.total()), "without libtorch's and NCCL's own");
    }

    fn wire(&mut self, step: &StepInputs, cost: &StepCost) {
        let buckets = step.buckets.len();
        let largest = step.buckets.iter().map(|b| b.bytes).fold(0.0, f64::max);
        let reason = format!(
            "at most {}, sent {}",
            Bytes(largest as u64),
            if step.overlap { "while backward goes on" } else { "after backward" }
        );
        self.line("gradient buckets", buckets, reason);
        let reason = format!(
            "gradients {}, embeddings {}, statistics {}",
            Bytes(cost.wire.gradients as u64),
            Bytes(cost.wire.gathers as u64),
            Bytes(cost.wire.statistics as u64)
        );
        self.line("sent per step and rank", Bytes(cost.wire.total() as u64), reason);
    }

    fn time(&mut self, inputs: &PlanInputs, cost: &StepCost) {
        let step = &inputs.step;
        self.line(
            "expected compute",
            Secs(cost.compute_secs + cost.recompute_secs + cost.loss_secs + cost.update_secs),
            format!("{} per sample, {}", Secs(step.compute.secs_per_sample), inputs.compute_source),
        );
        self.line("expected communication", Secs(cost.exposed_comm_secs()), &step.network.source);
        self.line(
            "expected step",
            Secs(cost.step_secs),
            format!("{:.0} samples/s over all ranks", cost.samples_per_sec),
        );
        if inputs.total_steps > 0 {
            let hours = cost.step_secs * inputs.total_steps as f64 / 3600.0;
            self.line("expected run", format!("{hours:.2} h"), format!("{} steps", inputs.total_steps));
        }
        let worst: Vec<String> =
            cost.losses.iter().take(3).map(|(name, secs)| format!("{name} {}", Secs(*secs))).collect();
        let reason =
            if worst.is_empty() { "nothing is lost".into() } else { format!("lost: {}", worst.join(", ")) };
        self.line("expected efficiency", format!("{:.0} %", 100.0 * cost.efficiency), reason);
        self.line("how sure", "prediction", "of a model, docs/scaling.md; nothing was run on that world");
    }
}

/// Seconds for people: three digits.
struct Secs(f64);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            secs if secs >= 1.0 => (secs, "s"),
            secs if secs >= 1e-3 => (secs * 1e3, "ms"),
            secs => (secs * 1e6, "us"),
        };
        let decimals = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

#[cfg(test)]
#[path = "scaling_tests.rs"]
mod tests;
