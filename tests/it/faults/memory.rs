//! Memory that fails and memory that is missing.

use dtrain_tests::{Sandbox, flip_a_bit, is_long, skipped};

use super::sandbox;
use crate::small_runs::settings;

/// A bit of one rank's weights changes, as in a module that is going bad: the rank is named, and what it holds reaches no
/// checkpoint.
#[test]
fn a_rank_whose_memory_flips_a_bit_is_named() {
    let sandbox = sandbox();
    // Steps so small that no weight moves: what lies in memory is what the checkpoint says.
    let still = [
        "run.dir=run",
        "optimizer=sgd",
        "optimizer.lr=1e-30",
        "optimizer.weight_decay=0",
        "model.norm=group",
        "trainer.batch_size=9",
        "trainer.max_epochs=null",
        "trainer.max_steps=100000",
        "trainer.replica_check_steps=10",
        "checkpoint.every_steps=5",
    ];
    let mut running = sandbox.dtrain(settings("supervised", &still)).ranks(3).start();
    let run = sandbox.run("run");
    running.wait_until("a checkpoint", || run.latest_step().is_some());
    let weights = || -> Vec<u8> {
        let weights = run.weights();
        weights.tensor("classifier.weight").iter().flat_map(|value| (*value as f32).to_le_bytes()).collect()
    };
    let before = weights();
    let rank = running.rank_pids()[1];
    match flip_a_bit(rank, &before) {
        Ok(places) => assert_eq!(places, 1, "places that hold the weights"),
        Err(error) => return skipped(&format!("the memory of a process cannot be written: {error}")),
    }
    let finished = running.wait().expect(1);
    let error = finished.error(sandbox.path());
    assert!(
        error.contains("weights, moments or statistics of rank 1 differ from those of the other ranks"),
        "{error}"
    );
    assert!(error.contains("hint: look for failing memory"), "{error}");
    assert!(weights() == before, "the flipped bit is in a checkpoint");
}

/// Views so large that the first layer of a step asks for 1.5 GB at once. Where memory runs out in small pieces, libraries
/// below may end the process before anybody can say why.
fn large(dir: &str) -> Vec<String> {
    let dir = format!("run.dir={dir}");
    let more = [
        dir.as_str(),
        "data.audio.clip_secs=4",
        "data.features.hop_length=4",
        "data.features.n_mels=128",
        "model=resnet18",
        "trainer.precision=fp32",
        "trainer.batch_size=18",
        "trainer.micro_batch_size=18",
        "trainer.max_epochs=null",
        "trainer.max_steps=3",
    ];
    settings("supervised", &more)
}

/// In a step, and before there is one.
#[test]
fn too_little_memory_is_said_with_a_way_out() {
    let sandbox = sandbox();
    let finished = sandbox.dtrain(large("large")).after("ulimit -d 1200000").finish().expect(3);
    let error = finished.error(sandbox.path());
    assert!(error.contains("the memory of cpu is too small for micro-batches of 18 samples"), "{error}");
    assert!(error.contains("hint:") && error.contains("`trainer.micro_batch_size"), "{error}");
    // Weights of 1.6 GB, of which not even the first is there.
    let huge = [
        "run.dir=huge",
        "method.projector.hidden_dim=20000",
        "method.projector.num_layers=3",
        "trainer.batch_size=9",
    ];
    let finished = sandbox.dtrain(settings("simclr", &huge)).after("ulimit -d 1000000").finish().expect(3);
    let error = finished.error(sandbox.path());
    assert!(error.contains("not enough memory") && error.contains("hint:"), "{error}");
}

/// A network whose tensors are few and large, of 0.2 GB each: the start asks for weights, their flat copies, gradients,
/// two moments and the copy of a checkpoint, and a limit between any two of them stops another one.
fn of_large_tensors(dir: &str) -> Vec<String> {
    let dir = format!("run.dir={dir}");
    let more = [
        dir.as_str(),
        "method.projector.hidden_dim=7000",
        "method.projector.num_layers=3",
        "trainer.batch_size=9",
        "trainer.micro_batch_size=9",
        "trainer.max_epochs=null",
        "trainer.max_steps=1",
    ];
    settings("simclr", &more)
}

/// What a start in `mega_bytes` of memory says; nothing where it has enough.
fn said_in(sandbox: &Sandbox, mega_bytes: usize) -> Option<String> {
    let run = format!("run_{mega_bytes}");
    let started = sandbox.dtrain(of_large_tensors(&run)).after(&format!("ulimit -d {}", mega_bytes * 1024));
    let finished = started.finish();
    if finished.code == Some(0) {
        return None;
    }
    let finished = finished.expect(3);
    let error = finished.error(sandbox.path());
    assert!(error.contains("memory") && error.contains("hint: "), "{mega_bytes} MB: {error}");
    Some(error)
}

/// Wherever memory runs out, it is an error with its exit code and a way out, and never the end of a panic. With 1.4 GB the first
/// step begins, whose pieces are small.
#[test]
fn memory_that_runs_out_while_a_run_starts_is_an_error() {
    let sandbox = sandbox();
    let limits: Vec<usize> = if is_long() { (400..1400).step_by(50).collect() } else { vec![500, 900, 1300] };
    let said: Vec<String> = limits.iter().filter_map(|&limit| said_in(&sandbox, limit)).collect();
    println!("{}", said.join("\n"));
    assert!(said.len() >= 2, "{said:?}");
}
