//! The batch scripts decide rightly what follows an exit code or a signal. SLURM's programs are played by small scripts
//! that note how they were called, so that this runs everywhere; slurm_jobs.rs has the real SLURM.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dtrain_tests::{Sandbox, SlurmLab, send};

/// Ends as `plan` says: an exit code, and the name of a checkpoint that it leaves; one line a start.
const DTRAIN: &str = r#"
echo "dtrain $*" >>"$DESK/calls"
read -r code newest <<<"$(sed -n "$(grep -c '^dtrain' "$DESK/calls")p" "$DESK/plan")"
for word; do case "$word" in run.dir=*) run=${word#run.dir=} ;; esac; done
if [ -n "$newest" ]; then mkdir -p "$run/checkpoints"; echo "$newest" >"$run/checkpoints/latest"; fi
if [ "$code" = wait ]; then
  trap 'exit 75' USR1
  touch "$DESK/waiting"
  for _ in {1..1000}; do /bin/sleep 0.02; done
fi
exit "${code:-0}"
"#;
const SRUN: &str = r#"
if [ "$1" = --mpi=list ]; then printf 'MPI plugin types are...\n\tnone\n\t%s\n' "$PLUGINS"; exit; fi
echo "srun $*" >>"$DESK/calls"
while [[ $1 = -* ]]; do shift; done
exec "$@"
"#;
const MPIRUN: &str = r#"
echo "mpirun $*" >>"$DESK/calls"
shift 4
exec "$@"
"#;
const SQUEUE: &str = r#"cat "$DESK/state""#;
const SCONTROL: &str = r#"echo "scontrol $*" >>"$DESK/calls""#;

/// A working directory, and a PATH of its own with what the scripts need.
struct Desk {
    sandbox: Sandbox,
}

impl Desk {
    /// `plan` has one line for each start of dtrain; later starts end with 0.
    fn new(plan: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let bin = sandbox.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let tools = [
            "awk", "bash", "cat", "date", "env", "grep", "mkdir", "printf", "sed", "touch", "tr", "wc",
            "xargs",
        ];
        for tool in tools {
            let found = Command::new("which").arg(tool).output().unwrap();
            symlink(String::from_utf8(found.stdout).unwrap().trim(), bin.join(tool)).unwrap();
        }
        let desk = Self { sandbox };
        let played = [
            ("dtrain", DTRAIN),
            ("srun", SRUN),
            ("squeue", SQUEUE),
            ("scontrol", SCONTROL),
            ("sleep", "exit 0"),
        ];
        for (name, script) in played {
            desk.play(name, script);
        }
        std::fs::write(desk.sandbox.join("plan"), plan.join("\n") + "\n").unwrap();
        std::fs::write(desk.sandbox.join("state"), "RUNNING\n").unwrap();
        std::fs::write(desk.sandbox.join("calls"), "").unwrap();
        desk
    }

    fn play(&self, name: &str, script: &str) {
        let path = self.sandbox.join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A job of two nodes with number 12; `variables` are `NAME=value`.
    fn start(&self, script: &str, args: &[&str], variables: &[&str]) -> Child {
        let desk = self.sandbox.path().display().to_string();
        let mut command = Command::new(self.sandbox.join("bin/bash"));
        command.arg(SlurmLab::script(script)).args(args).current_dir(self.sandbox.path()).env_clear();
        command.envs([
            ("PATH", format!("{desk}/bin")),
            ("DESK", desk),
            ("PLUGINS", "pmix_v4 pmix".to_owned()),
            ("SLURM_JOB_ID", "12".to_owned()),
            ("SLURM_JOB_NAME", "night".to_owned()),
            ("SLURM_JOB_NUM_NODES", "2".to_owned()),
            ("SLURM_NTASKS", "4".to_owned()),
        ]);
        command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn run(&self, script: &str, args: &[&str], variables: &[&str]) -> Ended {
        Ended::of(self.start(script, args, variables).wait_with_output().unwrap())
    }

    fn train(&self) -> Ended {
        self.run("train.sbatch", &["seed=1"], &[])
    }

    /// What was called, a word and its arguments a line.
    fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    fn num_starts(&self) -> usize {
        self.calls().iter().filter(|call| call.starts_with("dtrain")).count()
    }

    fn requeued(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with("scontrol")).collect()
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.sandbox.join(path)).unwrap_or_default()
    }
}

struct Ended {
    code: Option<i32>,
    said: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self { code: output.status.code(), said: String::from_utf8(output.stderr).unwrap() }
    }

    #[track_caller]
    fn expect(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.said);
        assert!(self.said.contains(text), "stderr lacks `{text}`\n{}", self.said);
        self
    }
}

#[test]
fn srun_starts_the_ranks_through_pmix() {
    let desk = Desk::new(&[]);
    desk.run(
        "train.sbatch",
        &["seed=1", "tags=[a, b]"],
        &["SLURM_CPUS_PER_TASK=8", "DTRAIN_SRUN_ARGS=--label -u"],
    )
    .expect(0, "job 12, restart 0: 2 node(s), 4 task(s), 0 GPU(s) a node, started by srun");
    let start = "srun --mpi=pmix --ntasks=4 --kill-on-bad-exit=1 --label -u";
    let program = desk.sandbox.join("bin/dtrain").display().to_string();
    let settings = "seed=1 tags=[a, b] run.dir=runs/night-12";
    assert_eq!(desk.calls(), [format!("{start} {program} {settings}"), format!("dtrain {settings}")]);
}

#[test]
fn mpirun_starts_the_ranks_where_slurm_has_no_pmix() {
    let desk = Desk::new(&[]);
    desk.play("mpirun", MPIRUN);
    desk.run("train.sbatch", &[], &["PLUGINS=pmi2"]).expect(0, "started by mpirun");
    assert!(desk.calls()[0].starts_with("mpirun -n 4 --bind-to none "), "{:?}", desk.calls());
    let desk = Desk::new(&[]);
    desk.run("train.sbatch", &[], &["PLUGINS=pmi2"]).expect(3, "SLURM has no `pmix`, and there is no mpirun");
    desk.run("train.sbatch", &[], &["DTRAIN_LAUNCHER=ssh"]).expect(2, "DTRAIN_LAUNCHER is `ssh`");
    desk.run("train.sbatch", &[], &["DTRAIN=/nowhere/dtrain"]).expect(3, "no program `/nowhere/dtrain`");
    assert_eq!(desk.num_starts(), 0);
}

#[test]
fn one_task_needs_no_launcher() {
    let desk = Desk::new(&[]);
    desk.run(
        "single_gpu.sbatch",
        &["seed=1"],
        &["SLURM_NTASKS=1", "SLURM_JOB_NUM_NODES=1", "SLURM_GPUS_ON_NODE=1"],
    )
    .expect(0, "1 GPU(s) a node, started by none");
    assert_eq!(desk.calls(), ["dtrain seed=1 run.dir=runs/night-12"]);
}

#[test]
fn tasks_and_gpus_that_do_not_fit_are_told() {
    let desk = Desk::new(&[]);
    let said = "2 task(s) for 8 GPU(s) a node; --ntasks-per-node=8 gives each task one";
    desk.run("train.sbatch", &[], &["SLURM_GPUS_ON_NODE=8"]).expect(0, said);
}

#[test]
fn the_run_directory_is_the_users_where_there_is_one() {
    for (args, expected) in [
        (&["train", "run.dir=runs/a", "seed=1"][..], "dtrain train run.dir=runs/a seed=1"),
        (&["resume", "runs/a"], "dtrain resume runs/a"),
        (&["bench", "comm"], "dtrain bench comm"),
        (&["--config-dir=x", "seed=1"], "dtrain --config-dir=x seed=1 run.dir=runs/night-12"),
        (&[], "dtrain run.dir=runs/night-12"),
    ] {
        let desk = Desk::new(&[]);
        desk.run("train.sbatch", args, &[]).expect(0, "");
        assert_eq!(desk.calls()[1], expected);
    }
    let desk = Desk::new(&[]);
    desk.run("train.sbatch", &[], &["SLURM_JOB_NAME=my job/2"]).expect(0, "run directory runs/my_job_2-12");
}

#[test]
fn what_cannot_be_mended_is_not_started_again() {
    for code in [2, 3, 126, 127, 130] {
        let desk = Desk::new(&[&code.to_string()]);
        desk.train().expect(code, "");
        assert_eq!((desk.num_starts(), desk.requeued().len()), (1, 0), "{code}");
    }
}

#[test]
fn a_run_that_wants_to_be_started_again_is_requeued() {
    let desk = Desk::new(&["75 step-00000010"]);
    desk.train().expect(75, "requeueing job 12, which goes on from step-00000010");
    assert_eq!(desk.requeued(), ["scontrol requeue 12"]);
    let log = desk.read("runs/night-12/slurm.log");
    assert!(
        log.contains("job 12 restart 0: exit code 75, requeued, newest checkpoint step-00000010"),
        "{log}"
    );
}

/// A cancelled job stays cancelled, and a preempted one is requeued by SLURM.
#[test]
fn a_job_that_slurm_takes_away_is_left_to_slurm() {
    for state in ["CANCELLED", "COMPLETING", "PENDING", "TIMEOUT", ""] {
        for code in ["75", "1"] {
            let desk = Desk::new(&[&format!("{code} step-00000010")]);
            std::fs::write(desk.sandbox.join("state"), state).unwrap();
            desk.train().expect(code.parse().unwrap(), "");
            assert_eq!((desk.num_starts(), desk.requeued().len()), (1, 0), "{state}");
        }
    }
}

#[test]
fn a_crash_is_mended_in_place_as_long_as_there_is_progress() {
    let desk = Desk::new(&["139 step-00000010", "1 step-00000020", "137 step-00000030", "0 step-00000040"]);
    desk.train().expect(0, "exit code 137: starting again from step-00000030");
    assert_eq!((desk.num_starts(), desk.requeued().len()), (4, 0));
    assert_eq!(desk.read("runs/night-12/slurm.log").lines().count(), 3);
}

#[test]
fn a_crash_that_comes_again_gets_other_nodes() {
    let desk = Desk::new(&["139 step-00000010", "139"]);
    desk.train().expect(139, "requeueing job 12");
    assert_eq!((desk.num_starts(), desk.requeued().len()), (2, 1));
}

#[test]
fn without_progress_it_gives_up() {
    let desk = Desk::new(&["1 step-00000010", "1", "1", "1", "1"]);
    desk.train().expect(1, "requeueing");
    desk.run("train.sbatch", &["seed=1"], &["SLURM_RESTART_COUNT=1"]).expect(1, "requeueing");
    let ended = desk.run("train.sbatch", &["seed=1"], &["SLURM_RESTART_COUNT=2"]);
    let ended =
        ended.expect(1, "error: exit code 1, and 3 starts in a row brought no new checkpoint\n\nhint: ");
    assert!(ended.said.contains("goes on from step-00000010"), "{}", ended.said);
    assert_eq!((desk.num_starts(), desk.requeued().len()), (4, 2));
    // Another job on the same directory has a count of its own.
    desk.run("train.sbatch", &["run.dir=runs/night-12"], &["SLURM_JOB_ID=13"]).expect(0, "starting again");
}

#[test]
fn without_a_run_directory_it_gives_up_too() {
    let desk = Desk::new(&["1", "1", "1", "1"]);
    desk.train().expect(1, "requeueing");
    assert_eq!(desk.num_starts(), 2);
    desk.run("train.sbatch", &[], &["SLURM_RESTART_COUNT=3"]).expect(1, "3 starts in a row");
    assert!(!desk.sandbox.join("runs").exists());
}

#[test]
fn the_limit_can_be_chosen() {
    let desk = Desk::new(&["1"]);
    desk.run("train.sbatch", &[], &["DTRAIN_MAX_RESTARTS=0"]).expect(1, "0 starts in a row");
    assert_eq!((desk.num_starts(), desk.requeued().len()), (1, 0));
}

/// Task 0 is refused; srun kills task 1 before that can say the same, and ends with the higher code of the two.
const SRUN_OF_TWO: &str = r#"
if [ "$1" = --mpi=list ]; then printf 'MPI plugin types are...\n\tpmix\n'; exit; fi
while [[ $1 = -* ]]; do shift; done
"$@"
echo "srun: error: n1: task 0: $HOW" >&2
echo 'srun: error: n2: task 1: Exited with exit code 2' >&2
echo 'slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED ***' >&2
printf 'srun: Force Terminated StepId=12.0' >&2
exit 143
"#;

#[test]
fn the_task_that_failed_first_decides() {
    for (how, code, starts) in [
        ("Exited with exit code 3", 3, 1),
        ("Exited with exit code 130", 130, 1),
        ("Exited with exit code 1", 1, 2),
        ("Killed", 143, 2),
    ] {
        let desk = Desk::new(&[]);
        desk.play("srun", SRUN_OF_TWO);
        let ended = desk.run("train.sbatch", &["seed=1"], &[&format!("HOW={how}")]);
        let ended = ended.expect(code, "srun: Force Terminated StepId=12.0\n");
        assert!(ended.said.contains(&format!("srun: error: n1: task 0: {how}\n")), "{}", ended.said);
        assert_eq!(desk.num_starts(), starts, "{how}\n{}", ended.said);
    }
}

/// USR1 announces the time limit, TERM the loss of the nodes.
#[test]
fn signals_are_handed_to_the_ranks() {
    for signal in ["USR1", "TERM"] {
        for script in ["train.sbatch", "single_gpu.sbatch"] {
            let desk = Desk::new(&["wait step-00000010"]);
            let child = desk.start(script, &["seed=1"], &[]);
            let deadline = Instant::now() + Duration::from_secs(60);
            while !desk.sandbox.join("waiting").exists() {
                assert!(Instant::now() < deadline, "dtrain was not started");
                std::thread::sleep(Duration::from_millis(10));
            }
            send(signal, &[child.id()]);
            Ended::of(child.wait_with_output().unwrap()).expect(75, "requeueing job 12");
            assert_eq!((desk.num_starts(), desk.requeued().len()), (1, 1));
        }
    }
}

const SWEEP: &str = "\u{feff}# learning rates\noptimizer.lr=0.1 seed=1\r\n\noptimizer.lr=0.2  tags='[a, b]'\n  # more\nx=$HOME\n";
const TASK: [&str; 3] = ["SLURM_ARRAY_JOB_ID=10", "SLURM_ARRAY_TASK_ID=2", "SLURM_NTASKS=1"];

#[test]
fn an_array_task_is_a_line_of_the_file() {
    for (task, settings) in
        [("1", "optimizer.lr=0.1 seed=1"), ("2", "optimizer.lr=0.2 tags=[a, b]"), ("3", "x=$HOME")]
    {
        let desk = Desk::new(&[]);
        std::fs::write(desk.sandbox.join("sweep.txt"), SWEEP).unwrap();
        let task = format!("SLURM_ARRAY_TASK_ID={task}");
        let variables = ["SLURM_ARRAY_JOB_ID=10", "SLURM_NTASKS=1", task.as_str()];
        desk.run("array.sbatch", &["sweep.txt", "seed=7"], &variables).expect(0, "");
        let number = task.rsplit('=').next().unwrap();
        assert_eq!(desk.calls(), [format!("dtrain seed=7 {settings} run.dir=runs/night-10/{number}")]);
    }
}

/// The number of one task of an array is that of the array: `scontrol requeue 10` would requeue all of them.
#[test]
fn an_array_task_is_requeued_alone() {
    let desk = Desk::new(&["75 step-00000010"]);
    std::fs::write(desk.sandbox.join("sweep.txt"), SWEEP).unwrap();
    let variables = [&TASK[..], &["SLURM_JOB_ID=10"]].concat();
    desk.run("array.sbatch", &["sweep.txt", "run.dir=runs/a"], &variables).expect(75, "requeueing job 10_2");
    assert_eq!(desk.requeued(), ["scontrol requeue 10_2"]);
    assert_eq!(desk.read("runs/a/2/checkpoints/latest").trim(), "step-00000010");
}

#[test]
fn a_line_that_is_not_there_is_told() {
    let desk = Desk::new(&[]);
    std::fs::write(desk.sandbox.join("sweep.txt"), SWEEP).unwrap();
    let run = |args: &[&str], task: &str| {
        let task = format!("SLURM_ARRAY_TASK_ID={task}");
        desk.run("array.sbatch", args, &["SLURM_ARRAY_JOB_ID=10", "SLURM_NTASKS=1", &task])
    };
    for task in ["0", "4"] {
        let said = format!(
            "`sweep.txt` has no line for array task {task}\n\nhint: lines are counted from 1: sbatch --array=1-3"
        );
        run(&["sweep.txt"], task).expect(2, &said);
    }
    run(&["seed=1"], "1").expect(2, "`seed=1` is not a file of settings");
    run(&[], "1").expect(2, "is not a file of settings");
    std::fs::write(desk.sandbox.join("sweep.txt"), "data.root='my data\n").unwrap();
    run(&["sweep.txt"], "1").expect(2, "line 1 of `sweep.txt` cannot be read");
    assert_eq!(desk.num_starts(), 0);
}
