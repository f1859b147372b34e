//! The cost model's answer for constants that someone has measured.

use std::path::Path;

use crate::error::TrainError;
use crate::plan::{StepCost, StepInputs};

/// Largest numbers that a prediction is made for; beyond them they are taken for mistakes.
const MAX_RANKS: usize = 1 << 24;
const MAX_BATCH: usize = 1 << 32;
const MAX_PASSES: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 16;

/// Predicts the step that the JSON file describes.
///
/// # Errors
/// The file cannot be read, names unknown fields, or holds numbers that no machine has.
pub fn predict(path: &Path) -> Result<StepCost, TrainError> {
    let text = fs_err::read_to_string(path)?;
    let hint = "`bench/scaling.py` writes such files; docs/scaling.md explains the fields";
    let fail = |problem: String| TrainError::config(format!("`{}`: {problem}", path.display()), hint);
    let inputs: StepInputs =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| fail(e.to_string()))?;
    check(&inputs).map_err(fail)?;
    Ok(inputs.cost())
}

fn check(inputs: &StepInputs) -> Result<(), String> {
    let at_most = |name: &str, value: usize, largest: usize| match value {
        value if value > largest => Err(format!("`{name}` is {value}, more than {largest}")),
        _ => Ok(()),
    };
    at_most("world", inputs.world, MAX_RANKS)?;
    at_most("global_batch", inputs.global_batch, MAX_BATCH)?;
    at_most("views", inputs.views, MAX_LAYERS)?;
    at_most("sync_layers", inputs.sync_layers, MAX_LAYERS)?;
    at_most("control_messages", inputs.control_messages, MAX_LAYERS)?;
    let share = inputs.global_batch.div_ceil(inputs.world.max(1));
    let micro = inputs.micro_batch.unwrap_or(share).max(1);
    at_most("global_batch / world / micro_batch", share.div_ceil(micro), MAX_PASSES)?;
    let network = &inputs.network;
    if network.protocols.is_empty() {
        return Err("`network.protocols` is empty".into());
    }
    for (name, value) in [("bus_within", network.bus_within), ("bus_between", network.bus_between)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(format!("`network.{name}` is {value}, not a number of bytes per second"));
        }
    }
    let seconds = [
        ("compute.secs_per_sample", inputs.compute.secs_per_sample),
        ("compute.floor_secs", inputs.compute.floor_secs),
        ("update_secs", inputs.update_secs),
        ("sync_bytes", inputs.sync_bytes),
        ("control_secs", inputs.control_secs),
        ("launch_secs", inputs.launch_secs),
        ("input_secs_per_sample", inputs.input_secs_per_sample),
    ];
    for (name, value) in seconds {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(format!("`{name}` is {value}, not a number of at least 0"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Compute, H100};

    fn inputs() -> StepInputs {
        StepInputs {
            world: 16,
            global_batch: 4096,
            micro_batch: None,
            views: 2,
            compute: Compute { secs_per_sample: 1e-3, floor_secs: 0.0, forward_share: 0.3 },
            update_secs: 1e-3,
            buckets: Vec::new(),
            overlap: true,
            shard_optimizer: false,
            sync_layers: 0,
            sync_bytes: 0.0,
            sync_queues: true,
            launch_secs: 0.0,
            pair_loss: None,
            control_messages: 0,
            control_secs: 0.0,
            input_secs_per_sample: 0.0,
            network: H100.network(),
        }
    }

    fn predicted(text: &str) -> Result<StepCost, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("inputs.json");
        std::fs::write(&path, text).unwrap();
        predict(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_gives_the_model_s_answer() {
        let text = serde_json::to_string(&inputs()).unwrap();
        let cost = predicted(&text).unwrap();
        assert!((cost.step_secs - 0.257).abs() < 1e-9, "{}", cost.step_secs);
    }

    #[test]
    fn nonsense_is_refused_before_it_costs_memory() {
        let refuse = |change: &dyn Fn(&mut StepInputs), word: &str| {
            let mut inputs = inputs();
            change(&mut inputs);
            let message = predicted(&serde_json::to_string(&inputs).unwrap()).unwrap_err();
            assert!(message.contains(word), "{message}");
        };
        refuse(&|i| i.world = usize::MAX, "`world` is");
        refuse(&|i| i.global_batch = usize::MAX, "`global_batch` is");
        refuse(&|i| (i.world, i.global_batch, i.micro_batch) = (1, 1 << 32, Some(1)), "micro_batch`");
        refuse(&|i| i.sync_layers = usize::MAX, "`sync_layers` is");
        refuse(&|i| i.network.protocols.clear(), "`network.protocols` is empty");
        refuse(&|i| i.network.bus_within = 0.0, "`network.bus_within` is 0");
        refuse(&|i| i.update_secs = -1.0, "`update_secs` is -1");
        assert!(predicted("{}").unwrap_err().contains("missing field"));
        assert!(predicted("not json").unwrap_err().contains("expected"));
    }
}
