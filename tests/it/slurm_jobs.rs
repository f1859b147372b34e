//! Jobs on a real SLURM: the batch scripts find the right world, or say why not. Skipped with a line where SLURM is not
//! installed.

use dtrain_tests::{JobInfo, RunFiles, Sandbox, SlurmLab};

use crate::small_runs::{settings, with_recordings};

/// A run of four steps; each start prints what it does.
fn four_steps(more: &[&str]) -> Vec<String> {
    let mut all = vec!["trainer.batch_size=6", "trainer.max_steps=4"];
    all.extend(more);
    settings("supervised", &all)
}

/// A cluster and a folder to work in.
struct Scene {
    lab: SlurmLab,
    sandbox: Sandbox,
}

/// A job that has ended.
struct Ended {
    number: String,
    info: JobInfo,
    said: String,
}

impl Scene {
    fn new(nodes: usize, gpus: usize) -> Option<Self> {
        Some(Self { lab: SlurmLab::start(nodes, gpus)?, sandbox: with_recordings(4) })
    }

    /// Submits `script` with options of sbatch and settings, and waits for its end.
    #[track_caller]
    fn run(&self, options: &[&str], script: &str, settings: &[String]) -> Ended {
        let script = SlurmLab::script(script);
        let words = options.iter().map(|&word| word.to_owned()).chain([script]).chain(settings.to_vec());
        let number = self.lab.sbatch(self.sandbox.path(), words);
        let info = self.lab.wait_for_end(&number);
        let said =
            std::fs::read_to_string(self.sandbox.join(format!("dtrain-{number}.out"))).unwrap_or_default();
        Ended { number, info, said }
    }

    fn files(&self, number: &str) -> RunFiles {
        self.sandbox.run(format!("runs/dtrain-{number}"))
    }
}

impl Ended {
    #[track_caller]
    fn expect(self, state: &str, code: i32) -> Self {
        let (found, exit) = (self.info.state(), self.info.exit_code());
        assert_eq!((found, exit, self.info.restarts()), (state, code, 0), "{}", self.said);
        self
    }

    #[track_caller]
    fn says_once(self, text: &str) -> Self {
        assert_eq!(self.said.matches(text).count(), 1, "`{text}` in\n{}", self.said);
        self
    }
}

/// The same settings under srun with PMIx and under mpirun: one world of two nodes, and the same weights.
#[test]
fn two_nodes_train_as_one_world() {
    let Some(scene) = Scene::new(2, 0) else { return };
    let srun = scene.run(&[], "train.sbatch", &four_steps(&[])).expect("COMPLETED", 0);
    let srun = srun
        .says_once("2 node(s), 2 task(s), 0 GPU(s) a node, started by srun")
        .says_once("finished after 4 steps");
    let by_mpirun = ["--export=ALL,DTRAIN_LAUNCHER=mpirun"];
    let mpirun = scene.run(&by_mpirun, "train.sbatch", &four_steps(&[])).expect("COMPLETED", 0);
    let mpirun = mpirun.says_once("started by mpirun").says_once("finished after 4 steps");
    for number in [&srun.number, &mpirun.number] {
        assert_eq!(scene.files(number).result_count("world_size"), 2);
        assert_eq!(scene.files(number).result_count("step"), 4);
    }
    let weights = |ended: &Ended| scene.files(&ended.number).newest("model.safetensors");
    assert!(weights(&srun) == weights(&mpirun));
}

#[test]
fn several_tasks_on_each_node() {
    let Some(scene) = Scene::new(2, 0) else { return };
    let options = ["--ntasks-per-node=2", "--cpus-per-task=2"];
    let ended = scene.run(&options, "train.sbatch", &four_steps(&[])).expect("COMPLETED", 0);
    assert_eq!(scene.files(&ended.number).result_count("world_size"), 4);
}

#[test]
fn one_task_with_a_gpu() {
    let Some(scene) = Scene::new(1, 2) else { return };
    let ended = scene.run(&[], "single_gpu.sbatch", &four_steps(&[])).expect("COMPLETED", 0);
    let ended = ended.says_once("1 GPU(s) a node, started by none");
    assert_eq!(scene.files(&ended.number).result_count("world_size"), 1);
}

/// Without a service that the MPI library knows, each task would train a world of its own.
#[test]
fn tasks_that_cannot_find_each_other_are_refused() {
    let Some(scene) = Scene::new(2, 0) else { return };
    for (service, said) in [
        ("none", "error: `srun` started 2 tasks without PMIx, so they cannot find each other"),
        ("pmi2", "error: `srun` started 2 tasks with PMI-2, but the MPI library of dtrain wants PMIx"),
    ] {
        let options = format!("--export=ALL,DTRAIN_SRUN_MPI={service}");
        let ended = scene.run(&[&options], "train.sbatch", &four_steps(&[])).expect("FAILED", 3);
        let ended = ended.says_once(said).says_once("hint: start the step with `srun --mpi=pmix`");
        assert!(!scene.files(&ended.number).path().exists());
    }
}

#[test]
fn a_wrong_setting_fails_once_and_is_not_requeued() {
    let Some(scene) = Scene::new(2, 0) else { return };
    let ended = scene.run(&[], "train.sbatch", &four_steps(&["trainer.batch_sise=6"])).expect("FAILED", 2);
    let ended = ended.says_once("error: 1 problem in the configuration").says_once("did you mean");
    assert!(!scene.files(&ended.number).path().exists());
}

#[test]
fn an_array_trains_one_run_a_line() {
    let Some(scene) = Scene::new(2, 0) else { return };
    let lines = "# three seeds\nseed=1\nseed=2 tags='[second, of three]'\n\nseed=3\n";
    std::fs::write(scene.sandbox.join("sweep.txt"), lines).unwrap();
    let mut words = vec!["--array=1-3".to_owned(), SlurmLab::script("array.sbatch"), "sweep.txt".to_owned()];
    words.extend(four_steps(&[]));
    let number = scene.lab.sbatch(scene.sandbox.path(), words);
    for task in 1..=3 {
        let info = scene.lab.wait_for_end(&format!("{number}_{task}"));
        let said =
            std::fs::read_to_string(scene.sandbox.join(format!("dtrain-{number}_{task}.out"))).unwrap();
        assert_eq!((info.state(), info.exit_code()), ("COMPLETED", 0), "{said}");
        let run = scene.sandbox.run(format!("runs/dtrain-{number}/{task}"));
        assert_eq!(run.result_count("step"), 4);
        assert!(run.read("config.yaml").contains(&format!("seed: {task}")), "{}", run.read("config.yaml"));
    }
    assert!(
        scene
            .sandbox
            .run(format!("runs/dtrain-{number}/2"))
            .read("overrides.txt")
            .contains("[second, of three]")
    );
}

/// A job that is cancelled saves, as it has time to, and stays cancelled.
#[test]
fn a_cancelled_job_saves_and_stays_cancelled() {
    let Some(scene) = Scene::new(2, 0) else { return };
    let endless = settings(
        "supervised",
        &[
            "trainer.batch_size=6",
            "trainer.max_epochs=null",
            "trainer.max_steps=100000",
            "checkpoint.every_steps=50000",
        ],
    );
    let words = [SlurmLab::script("train.sbatch")].into_iter().chain(endless);
    let number = scene.lab.sbatch(scene.sandbox.path(), words);
    let run = scene.files(&number);
    scene.lab.wait_until("some steps were done", |_| run.metrics().len() >= 3);
    scene.lab.ask("scancel", &[&number]);
    let info = scene.lab.wait_for_end(&number);
    assert_eq!((info.state(), info.restarts()), ("CANCELLED", 0));
    scene.lab.wait_until("the run has ended", |_| run.join("result.json").exists());
    assert_eq!(run.result()["stop_reason"], "requeue");
    assert_eq!(run.metrics().last().map(|line| line.step), run.latest_step());
}
