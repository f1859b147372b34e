//! Options and verbs of other tools, and what is written here instead. Within a hint, words in backticks are commands,
//! options or settings of dtrain; capitals stand for what the user puts there.

use dtrain_configs::ONE_RUN;

/// Names of other tools, without dashes and with `-` for `_`, and the hint that all of them get.
pub(super) type Row = (&'static [&'static str], &'static str);

const EVALUATE: &str = "`dtrain eval RUN` evaluates a run on all of its parts";
const PREDICT: &str = "`dtrain infer RUN FILE --out FILE` writes what a trained classifier predicts";
const EMBED: &str = "`dtrain embed RUN --out FILE` writes the embeddings of a run";
const TRAIN: &str = "training is the default: `dtrain experiment=NAME KEY=VALUE`";
const SETTINGS: &str = "`dtrain experiment=NAME --cfg` prints every setting and where it came from";
const GO_ON: &str =
    "`dtrain resume RUN` goes on with a run, and `init_from=RUN` starts a new one from its weights";
const RANKS: &str = "`dtrain launch -n N experiment=NAME` starts one process per GPU, as does `mpirun -n N dtrain experiment=NAME`";
const LOG: &str = "log lines follow the variable RUST_LOG: info, debug, warn";
const OWN_FILE: &str =
    "choose an experiment by `experiment=NAME`, or a file of your own by `experiment=FILE.yaml`";

/// Options of Hydra, LightningCLI, torchrun, accelerate and training scripts.
pub(super) const OPTIONS: &[Row] = &[
    (&["m", "multirun"], ONE_RUN),
    (&["cn", "config-name", "config", "f", "config-file"], OWN_FILE),
    (
        &["cp", "config-path"],
        "`--config-dir DIR` adds a folder of files of your own; `experiment=NAME` chooses one",
    ),
    (
        &["c"],
        "`dtrain experiment=NAME --cfg` prints every setting, and `experiment=FILE.yaml` reads a file of your own",
    ),
    (&["info", "print-config", "resolve", "package", "p", "hparams"], SETTINGS),
    (&["hydra-help"], "`dtrain --help` lists the verbs, `dtrain train --help` what can be typed"),
    (&["shell-completion", "sc"], "`dtrain completions bash` prints a script for the shell"),
    (&["run", "r", "do-train"], TRAIN),
    (&["experimental-rerun", "ckpt", "checkpoint", "resume", "load", "restore"], GO_ON),
    (
        &[
            "standalone",
            "rdzv-backend",
            "rdzv-id",
            "multi-gpu",
            "gpu-ids",
            "gpu",
            "num-gpus",
            "ngpus",
            "distributed",
        ],
        RANKS,
    ),
    (&["amp", "half"], "`trainer.precision=bf16`, or `trainer.precision=fp16`"),
    (&["iterations"], "settings have no dashes: `trainer.max_steps=1000`"),
    (&["bs", "b"], "settings have no dashes: `trainer.batch_size=256`, over all processes"),
    (&["base-lr"], "settings have no dashes: `optimizer.lr=0.001`"),
    (&["wd"], "settings have no dashes: `optimizer.weight_decay=0.01`"),
    (&["momentum"], "settings have no dashes: `optimizer=sgd optimizer.momentum=0.9`"),
    (&["optim", "optimizer"], "settings have no dashes: `optimizer=adamw`"),
    (&["model", "arch", "a"], "settings have no dashes: `model=resnet18`"),
    (&["workers", "j"], "settings have no dashes: `trainer.loader_threads=4`"),
    (&["device", "cpu", "cuda", "no-cuda"], "settings have no dashes: `trainer.device=cpu`"),
    (&["random-seed", "s"], "settings have no dashes: `seed=1`"),
    (
        &["data", "data-path", "dataset", "root", "train-dir"],
        "settings have no dashes: `data=NAME data.root=PATH`",
    ),
    (
        &["output", "out-dir", "save-dir", "logdir", "log-dir", "o", "exp-dir"],
        "settings have no dashes: `run.dir=PATH` for this run, `run.root=PATH` for all",
    ),
    (&["verbose", "v", "quiet", "q", "log-level"], LOG),
    (&["evaluate", "eval", "e", "eval-only", "test-only", "validate", "do-eval", "val"], EVALUATE),
    (&["predict", "infer", "do-predict"], PREDICT),
    (&["embed"], EMBED),
    (&["fdr", "smoke-test", "quick"], "`--fast-dev-run` runs two steps and a short evaluation"),
    (&["n", "np"], RANKS),
];

/// Verbs of LightningCLI and other tools, and programs whose names stand where a verb stands.
pub(super) const VERBS: &[Row] = &[
    (
        &["fit", "run", "start", "main", "main.py", "train.py", "pretrain", "finetune", "trainer", "dtrain"],
        TRAIN,
    ),
    (&["evaluate", "evaluation", "test", "validate", "val", "validation", "probe", "score"], EVALUATE),
    (&["predict", "inference", "prediction", "predictions", "classify"], PREDICT),
    (&["encode", "extract", "features", "embeddings"], EMBED),
    (&["tune", "search", "multirun", "optuna", "grid", "agent", "hparams"], ONE_RUN),
    (
        &["doctor", "env", "diagnose", "check", "self-test", "selftest"],
        "`mpirun -n 2 dtrain --fast-dev-run` tries everything in two steps, `dtrain verify equivalence` proves the numbers",
    ),
    (&["version"], "`dtrain --version` prints it"),
    (
        &["runs", "history", "jobs", "leaderboard", "results", "diff"],
        "`dtrain compare runs` puts the runs below a folder side by side",
    ),
    (&["list", "experiments", "experiment", "configs", "recipes"], "`dtrain ls` lists the experiments"),
    (&["config", "cfg", "print-config", "settings"], SETTINGS),
    (&["cat", "cp", "describe"], "`dtrain show NAME` prints the file of an experiment"),
    (
        &["submit", "sbatch", "srun", "batch"],
        "`dtrain slurm train experiment=NAME --print` writes a SLURM job",
    ),
    (&["kill", "cancel", "end", "abort"], "`dtrain stop RUN` asks a run to save and end"),
    (&["continue", "restart", "restore", "rerun"], GO_ON),
    (
        &["make", "generate", "download", "prepare", "preprocess"],
        "`dtrain data make birdsong` generates data",
    ),
    (
        &["convert", "inspect", "stats"],
        "`dtrain data inspect PATH` shows images, `dtrain data convert SOURCE OUT` converts them",
    ),
    (&["benchmark", "profile", "perf"], "`dtrain bench step experiment=NAME` measures training steps"),
    (&["checkpoints", "ckpt", "prune"], "`dtrain checkpoint ls RUN` lists the checkpoints of a run"),
    (&["weights"], "`dtrain export RUN --out FILE` writes the weights of a run under torchvision's names"),
    (&["torchrun", "accelerate", "mpirun", "mpiexec", "spawn", "ddp"], RANKS),
    (
        &["report", "watch", "logs", "tensorboard", "plot"],
        "a run directory has `metrics.jsonl`, `result.json` and events for TensorBoard in `tb`",
    ),
];
