//! However gradients cross ranks (MPI at once, MPI beside the computation, NCCL over the stand-in library, whole or in
//! shards), the run is the same; and a rank that cannot have what it needs ends the job with the reason.

use dtrain_nccl_standin::install;
use dtrain_tests::{Job, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// A job whose processes find the stand-in as NCCL and as the CUDA driver.
pub fn with_standin(sandbox: &Sandbox, job: Job) -> Job {
    let folder = install(&sandbox.join("nccl")).expect("the stand-in was built with the tests");
    job.env("LD_LIBRARY_PATH", folder.display().to_string())
        .env("DTRAIN_STANDIN_DIR", sandbox.join("nccl").display().to_string())
}

const PROOF: [&str; 4] =
    ["trainer.batch_size=7", "trainer.max_steps=6", "trainer.precision=fp64", "trainer.device=cpu"];

fn proof<'a>(dir: &'a str, more: &[&'a str]) -> Vec<String> {
    let mut all = vec![dir];
    all.extend(PROOF);
    all.extend(more);
    settings("simclr", &all)
}

#[test]
fn nccl_gives_the_weights_of_one_rank() {
    let sandbox = with_recordings(10);
    sandbox.dtrain(proof("run.dir=one", &[])).finish().succeeded();
    for (ranks, dir, more) in [
        (2, "run.dir=two", &["trainer.bucket_bytes=65536", "trainer.first_bucket_bytes=4096"][..]),
        (3, "run.dir=three", &["trainer.shard_optimizer=true"][..]),
    ] {
        let more = [&["comm.backend=nccl"], more].concat();
        let job = sandbox.dtrain(proof(dir, &more)).ranks(ranks);
        let done = with_standin(&sandbox, job).env("DTRAIN_STANDIN_SEED", "7").finish().succeeded();
        assert!(done.stderr.contains("nccl"), "{}", done.report());
        let run = sandbox.run(dir.trim_start_matches("run.dir="));
        let (all, (tensor, worst)) = run.weights().distance(&sandbox.run("one").weights());
        assert!(all < 1e-10, "{ranks} ranks: the weights differ by {all:e}");
        assert!(worst < 1e-8, "{ranks} ranks: `{tensor}` differs by {worst:e}");
    }
}

#[test]
fn overlap_and_shards_keep_every_bit_of_two_ranks() {
    let sandbox = with_recordings(10);
    let small = ["trainer.bucket_bytes=65536", "trainer.first_bucket_bytes=4096"];
    let runs = [
        ("run.dir=plain", "trainer.overlap=false"),
        ("run.dir=overlap", "trainer.overlap=true"),
        ("run.dir=shards", "trainer.shard_optimizer=true"),
    ];
    for (dir, way) in runs {
        let more = [&small[..], &[way]].concat();
        sandbox.dtrain(proof(dir, &more)).ranks(2).finish().succeeded();
    }
    let plain = sandbox.run("plain").weights();
    assert_eq!(sandbox.run("overlap").weights(), plain);
    assert_eq!(sandbox.run("shards").weights(), plain);
}

/// Shards are gathered when they are saved, so any number of ranks can go on from them.
#[test]
fn sharded_moments_are_saved_whole() {
    let sandbox = with_recordings(10);
    let sharded = ["trainer.shard_optimizer=true", "checkpoint.every_steps=3"];
    sandbox.dtrain(proof("run.dir=whole", &sharded)).ranks(2).finish().succeeded();
    let mut stopped = proof("run.dir=parts", &sharded);
    stopped.push("track.every_steps=1".into());
    sandbox.dtrain(stopped).ranks(2).finish().succeeded();
    // The checkpoint after half of the steps becomes the newest one.
    std::fs::remove_dir_all(sandbox.join("parts/checkpoints/step-00000006")).unwrap();
    std::fs::write(sandbox.join("parts/checkpoints/latest"), "step-00000003\n").unwrap();
    sandbox.dtrain(["resume", "parts"]).ranks(3).finish().succeeded();
    let (all, _) = sandbox.run("parts").weights().distance(&sandbox.run("whole").weights());
    assert!(all < 1e-10, "the weights differ by {all:e}");
}

#[test]
fn a_machine_without_nccl_is_told_so() {
    let sandbox = with_recordings(4);
    let job = sandbox.dtrain(proof("run.dir=none", &["comm.backend=nccl"])).ranks(2);
    let done = job.env("LD_LIBRARY_PATH", sandbox.join("empty").display().to_string()).finish().expect(3);
    let error = done.error(sandbox.path());
    assert!(error.contains("libnccl.so") && error.contains("hint:"), "{error}");
    assert!(!sandbox.join("none").exists());
}

#[test]
fn more_ranks_than_gpus_are_refused_by_name() {
    let sandbox = with_recordings(4);
    let job = sandbox.dtrain(proof("run.dir=none", &["comm.backend=nccl"])).ranks(2);
    let done = with_standin(&sandbox, job).env("DTRAIN_STANDIN_DEVICES", "1").finish().expect(3);
    let error = done.error(sandbox.path());
    for part in
        ["rank 1 is to use GPU 1", "sees 1 GPU, and its node has 2 ranks", "hint: start one process per GPU"]
    {
        assert!(error.contains(part), "`{part}` is not in\n{error}");
    }
    assert!(!sandbox.join("none").exists());
}

#[test]
fn nccl_without_blocking_calls_gives_the_same_weights() {
    let sandbox = with_recordings(10);
    for (dir, blocking) in
        [("run.dir=yes", "comm.nccl_blocking=true"), ("run.dir=no", "comm.nccl_blocking=false")]
    {
        let job = sandbox.dtrain(proof(dir, &["comm.backend=nccl", blocking])).ranks(2);
        with_standin(&sandbox, job).finish().succeeded();
    }
    assert_eq!(sandbox.run("yes").weights(), sandbox.run("no").weights());
}

#[test]
fn a_rank_that_cannot_make_a_communicator_ends_all_with_its_reason() {
    let sandbox = with_recordings(4);
    let job = sandbox.dtrain(proof("run.dir=none", &["comm.backend=nccl"])).ranks(2);
    let done = with_standin(&sandbox, job).env("DTRAIN_STANDIN_FAILING_RANK", "1").finish().expect(3);
    let error = done.error(sandbox.path());
    let reason = "ncclCommInitRankConfig on rank 1 of 2: unhandled system error";
    assert!(error.contains(reason) && error.contains("hint: `NCCL_DEBUG=INFO`"), "{error}");
    assert!(!sandbox.join("none").exists());
}

#[test]
fn a_machine_without_a_gpu_is_told_so() {
    let sandbox = with_recordings(4);
    let settings = settings("simclr", &["run.dir=none", "trainer.device=cuda"]);
    let job = with_standin(&sandbox, sandbox.dtrain(settings).ranks(2));
    let error = job.finish().expect(3).error(sandbox.path());
    assert!(error.starts_with("error: `trainer.device` is cuda, but there is no GPU: "), "{error}");
    assert!(error.contains("hint: use `trainer.device=cpu`"), "{error}");
    assert!(!sandbox.join("none").exists());
}
