//! `dtrain slurm train` writes a script that says what was asked for, refuses what could not run, and submits.

use dtrain_tests::{Sandbox, SlurmLab, dtrain_binary};

use crate::small_runs::{settings, with_recordings};

/// The part of the script that differs from job to job.
fn head(script: &str) -> String {
    let (head, _) = script.split_once("\n# --- the same in every script").expect("the shared part is there");
    head.replace(&dtrain_binary().display().to_string(), "[dtrain]")
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["slurm", "train"], words].concat()
}

#[test]
fn a_script_for_two_nodes() {
    let sandbox = Sandbox::new();
    let asked = [
        "experiment=supcon_birdsong",
        "tags=[a, b]",
        "--nodes=2",
        "--gpus-per-node=8",
        "--cpus-per-task=12",
        "--time=2-12",
        "--partition=gpu",
        "--account=birds",
        "--qos=high",
        "--mem=0",
        "--save-margin-secs=300",
        "--sbatch-arg=--constraint=a100",
        "--print",
    ];
    let done = sandbox.dtrain(words(&asked)).finish().succeeded();
    assert_eq!(done.stderr, "");
    insta::assert_snapshot!(head(&done.stdout), @r#"
    #!/usr/bin/env bash
    # Written by `dtrain slurm train` 0.1.0. Submit it with `sbatch FILE`; further settings may follow the file's name.
    #SBATCH --job-name=supcon_birdsong
    #SBATCH --nodes=2
    #SBATCH --ntasks-per-node=8
    #SBATCH --gpus-per-node=8
    #SBATCH --cpus-per-task=12
    #SBATCH --mem=0
    #SBATCH --time=2-12:00:00
    #SBATCH --partition=gpu
    #SBATCH --account=birds
    #SBATCH --qos=high
    #SBATCH --output=%x-%j.out
    #SBATCH --requeue
    #SBATCH --open-mode=append
    #SBATCH --signal=B:USR1@300
    #SBATCH --constraint=a100

    : "${DTRAIN:=[dtrain]}"
    # Settings: those of `dtrain slurm train`, then the arguments after the script's name.
    set -- experiment=supcon_birdsong 'tags=[a, b]' "$@"
    settle() {
      settings=("$@")
      job=${SLURM_JOB_ID:-0} # as scontrol calls it
      number=$job            # of the run directory
    }
    "#);
    assert!(sandbox.listing().is_empty());
}

#[test]
fn a_script_for_a_sweep() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.join("sweep.txt"), "# two\nseed=1\n\nseed=2 trainer.batch_size=64\n").unwrap();
    let asked = [
        "method=simclr",
        "experiment=null",
        "--array=sweep.txt",
        "--at-once=1",
        "--time=30",
        "--launcher=srun",
        "--setup=module load openmpi/4.1",
    ];
    let done = sandbox.dtrain(words(&asked)).finish().succeeded();
    assert_eq!(
        done.stderr,
        "warning: each task asks for 8 cores, a guess: `--cpus-per-task C` says what its share of one of your nodes is\n"
    );
    let head = head(&done.stdout).replace(&sandbox.path().display().to_string(), "[work]");
    let (options, _) = head.split_once("settle()").unwrap();
    insta::assert_snapshot!(options, @r#"
    #!/usr/bin/env bash
    # Written by `dtrain slurm train` 0.1.0. Submit it with `sbatch FILE`; further settings may follow the file's name.
    #SBATCH --job-name=simclr
    #SBATCH --nodes=1
    #SBATCH --ntasks-per-node=1
    #SBATCH --gpus-per-node=1
    #SBATCH --cpus-per-task=8
    #SBATCH --time=00:30:00
    #SBATCH --array=1-2%1
    #SBATCH --output=%x-%A_%a.out
    #SBATCH --requeue
    #SBATCH --open-mode=append
    #SBATCH --signal=B:USR1@120

    { module load openmpi/4.1
    } || { printf 'error: %s\n' 'the line of --setup failed: module load openmpi/4.1' >&2; exit 3; }
    : "${DTRAIN:=[dtrain]}"
    : "${DTRAIN_LAUNCHER:=srun}"
    # Settings: those of `dtrain slurm train`, then the arguments after the script's name.
    set -- [work]/sweep.txt method=simclr experiment=null "$@"
    "#);
}

#[test]
fn the_processor_needs_no_gpu() {
    let sandbox = Sandbox::new();
    let script = |more: &[&str]| {
        let done = sandbox.dtrain(words(&[&["trainer.device=cpu"], more].concat())).finish().succeeded();
        let options = done.stdout.lines().filter(|line| {
            ["--n", "--gpus", "--cpus"].iter().any(|o| line.starts_with(&format!("#SBATCH {o}")))
        });
        options.map(str::to_owned).collect::<Vec<_>>()
    };
    let options = |tasks: usize, cpus: usize| {
        [
            "#SBATCH --nodes=1".to_owned(),
            format!("#SBATCH --ntasks-per-node={tasks}"),
            format!("#SBATCH --cpus-per-task={cpus}"),
        ]
    };
    assert_eq!(script(&[]), options(1, 4));
    assert_eq!(script(&["--tasks-per-node=4", "trainer.threads=6"]), options(4, 6));
    assert_eq!(script(&["--tasks-per-node=4", "--cpus-per-task=2", "trainer.threads=6"]), options(4, 2));
}

#[test]
fn uneven_shares_are_told() {
    let sandbox = Sandbox::new();
    let asked = ["trainer.batch_size=100", "--nodes=3", "--gpus-per-node=1"];
    sandbox.dtrain(words(&asked)).finish().succeeded().says_once(
        "warning: `trainer.batch_size=100` over 3 ranks: 1 of them take 34 samples a step and the others 33; a multiple of 3 \
         uses them evenly",
    );
}

/// The message with which `dtrain slurm train` refuses.
#[track_caller]
fn refusal(sandbox: &Sandbox, asked: &[&str], code: i32) -> String {
    let done = sandbox.dtrain(words(asked)).finish().expect(code);
    assert_eq!(done.stdout, "");
    done.error(sandbox.path())
}

#[test]
fn what_cannot_run_is_refused_at_once() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(refusal(&sandbox, &["--time=3"], 2), @r"
    error: a time limit of 00:03:00 leaves no time to train: the run saves 120 s before it, and SLURM may be 60 s early

    hint: give at least `--time 00:04:00`, or a shorter `--save-margin-secs`
    ");
    let many = [
        "trainer.batch_size=16",
        "trainer.device=cpu",
        "--nodes=4",
        "--gpus-per-node=8",
        "--time=0:90",
        "--partition=a b",
        "--sbatch-arg=constraint",
        "--setup=a\nb",
    ];
    insta::assert_snapshot!(refusal(&sandbox, &many, 2), @r"
    error: 6 problems with the job

    `trainer.batch_size=16` is less than one sample for each of 32 ranks
    hint: raise `trainer.batch_size`, or ask for fewer nodes or tasks

    `trainer.device=cpu` does not use the 8 GPU(s) of a node that are asked for
    hint: leave `--gpus-per-node` out, or choose `trainer.device=auto`; `--tasks-per-node` gives CPU ranks

    a time limit of 00:01:30 leaves no time to train: the run saves 120 s before it, and SLURM may be 60 s early
    hint: give at least `--time 00:04:00`, or a shorter `--save-margin-secs`

    `--partition` is `a b`, which is not a single word
    hint: use letters, digits and signs, without blanks and quotes

    `--sbatch-arg` is `constraint`, which is not an option of sbatch
    hint: write it as `--sbatch-arg=--constraint=a100`

    `--setup` is `a\nb`, which is not one line of shell
    hint: give `--setup` once for each line
    ");
    insta::assert_snapshot!(refusal(&sandbox, &["trainer.device=cuda", "--gpus-per-node=0"], 2), @r"
    error: `trainer.device=cuda` needs a GPU, and none is asked for

    hint: give `--gpus-per-node N`
    ");
    assert!(refusal(&sandbox, &["trainer.batch_sise=16"], 2).contains("did you mean `trainer.batch_size`"));
    assert!(
        sandbox.dtrain(words(&["--time=soon"])).finish().expect(2).stderr.contains("not a time such as 90")
    );
}

#[test]
fn each_line_of_a_sweep_is_checked() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.join("sweep.txt"), "seed=1\nseed=two\n\ntrainer.batch_sise=64\n").unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["--array=sweep.txt"], 2), @r"
    error: 2 line(s) of `sweep.txt` cannot be run

    line 2: 1 problem in the configuration

    `seed` must be a whole number of at least 0, not `two`
     --> override 1
      | seed=two
      |      ^^^

    line 4: 1 problem in the configuration

    `trainer.batch_sise` is not a setting
     --> override 1
      | trainer.batch_sise=64
      | ^^^^^^^^^^^^^^^^^^
    hint: did you mean `trainer.batch_size` (default 128)?
    ");
    std::fs::write(sandbox.join("sweep.txt"), "# none\n").unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["--array=sweep.txt"], 2), @r"
    error: `sweep.txt` holds no settings

    hint: write the settings of one run a line; empty lines and lines that begin with `#` do not count
    ");
    insta::assert_snapshot!(refusal(&sandbox, &["--array=nowhere.txt"], 2), @r"
    error: the sweep file cannot be read: failed to open file `nowhere.txt`: No such file or directory (os error 2)

    hint: give a text file with the settings of one run a line, such as `optimizer.lr=0.001 seed=1`
    ");
}

#[test]
fn without_slurm_it_cannot_be_submitted() {
    let sandbox = Sandbox::new();
    let done = sandbox.dtrain(words(&["--submit"])).env("PATH", "/nowhere").finish().expect(3);
    insta::assert_snapshot!(done.error(sandbox.path()), @r"
    error: there is no `sbatch` on this machine

    hint: run it where jobs are submitted, or write the script with --print
    ");
}

#[test]
fn a_submitted_job_trains_and_a_refused_one_is_told() {
    let Some(lab) = SlurmLab::start(2, 0) else { return };
    let sandbox = with_recordings(4);
    let submit = |more: &[&str]| {
        let mut command = lab.command(dtrain_binary());
        let run =
            settings("supervised", &["trainer.batch_size=6", "trainer.max_steps=4", "trainer.device=cpu"]);
        command.args(["slurm", "train", "--submit", "--nodes=2", "--job-name=night"]).args(more).args(run);
        let output = command.env_remove("DTRAIN").current_dir(sandbox.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, number, said) = submit(&["--time=10"]);
    assert_eq!(code, Some(0), "{said}");
    let number = number.trim();
    assert!(said.starts_with(&format!("job {number}: night, 2 node(s) of 1 task(s)\n")), "{said}");
    let info = lab.wait_for_end(number);
    let output = std::fs::read_to_string(sandbox.join(format!("night-{number}.out"))).unwrap();
    assert_eq!((info.state(), info.exit_code()), ("COMPLETED", 0), "{output}");
    assert_eq!(sandbox.run(format!("runs/night-{number}")).result_count("world_size"), 2);

    let (code, number, said) = submit(&["--partition=nowhere"]);
    assert_eq!((code, number.as_str()), (Some(2), ""), "{said}");
    assert!(said.contains("error: `sbatch` refuses the job: invalid partition specified: nowhere"), "{said}");
}
