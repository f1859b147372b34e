//! The table. Of several rows that fit the first counts.

use super::{Moved, MovedFile};

const NONE: &[&str] = &[];

pub(super) const fn key(from: &'static str, to: &'static str) -> Moved {
    Moved { from, when: NONE, to, note: "" }
}

pub(super) const fn noted(from: &'static str, to: &'static str, note: &'static str) -> Moved {
    Moved { from, when: NONE, to, note }
}

pub(super) const fn when(
    from: &'static str,
    when: &'static [&'static str],
    to: &'static str,
    note: &'static str,
) -> Moved {
    Moved { from, when, to, note }
}

const fn file(
    group: &'static str,
    names: &'static [&'static str],
    to: &'static str,
    note: &'static str,
) -> MovedFile {
    MovedFile { group, names, to, note }
}

const WHOLE_BATCH: &str = "the batch over all processes";
const FROM_DATA: &str = "leave it out: heads, classes, channels and image size always come from the data";
const STARTED: &str = "the processes are started outside, and all of them get the same words";
const NOTHING_TO_PIN: &str = "leave it out: batches are prepared by threads of the process";
const OTHER_BACKBONE: &str = "that backbone is not here; `dtrain ls` lists the experiments";
const LOGS: &str = "leave it out: a run directory has `metrics.jsonl` and TensorBoard events";
const LOG: &str = "leave it out: log lines follow the variable RUST_LOG (info, debug, warn)";
const NO_CLASSES: &str = "no class is loaded by name: each group has files";
const LOSSES: &str = "the losses are cross_entropy, ordinal_regression, quantized_regression, distance_weighted and soft_targets";

/// Keys, and words that chose a file of a group that is not here.
pub(super) const KEYS: &[Moved] = &[
    noted("data.batch_size", "trainer.batch_size=?", WHOLE_BATCH),
    key("data.data_dir", "data.root=?"),
    when("data.num_workers", &["0"], "trainer.loader_threads=1", ""),
    key("data.num_workers", "trainer.loader_threads=?"),
    noted("data.pin_memory", "", NOTHING_TO_PIN),
    noted("data.persistent_workers", "", NOTHING_TO_PIN),
    noted(
        "data.train_val_test_split",
        "data.images.val_fraction=FRACTION",
        "the share of the training files that is held out; the test part is that of the data",
    ),
    noted("data.multihead", "data=multihead_mnist", "its heads are in `data.label_maps`"),
    key("model.optimizer.lr", "optimizer.lr=?"),
    key("model.optimizer.weight_decay", "optimizer.weight_decay=?"),
    key("model.optimizer.eps", "optimizer.eps=?"),
    key("model.optimizer.momentum", "optimizer.momentum=?"),
    key("model.optimizer.betas", "optimizer.beta1=B1 optimizer.beta2=B2"),
    when("model.optimizer._target_", &["Adam"], "optimizer=adam", ""),
    when("model.optimizer._target_", &["AdamW"], "optimizer=adamw", ""),
    when("model.optimizer._target_", &["SGD"], "optimizer=sgd", ""),
    noted(
        "model.optimizer.**",
        "optimizer=NAME",
        "one of adam, adamw, sgd and lars; its keys are `optimizer.*`",
    ),
    key("model.scheduler.step_size", "schedule=step schedule.step_epochs=?"),
    key("model.scheduler.gamma", "schedule=step schedule.gamma=?"),
    when("model.scheduler._target_", &["StepLR"], "schedule=step", ""),
    when("model.scheduler._target_", &["CosineAnnealingLR"], "schedule=cosine", ""),
    when("model.scheduler._target_", &["LinearLR"], "schedule=linear", ""),
    when("model.scheduler._target_", &["ConstantLR"], "schedule=constant", ""),
    noted(
        "model.scheduler.**",
        "schedule=NAME",
        "one of step, linear, cosine and constant; its keys are `schedule.*`",
    ),
    key("model.loss_weights.*", "method.heads.*.weight=?"),
    noted("model.loss_weights", "method.heads.NAME.weight=WEIGHT", "for each head"),
    when("model.criteria.*._target_", &["CrossEntropyLoss"], "method.heads.*.loss=cross_entropy", ""),
    when(
        "model.criteria.*._target_",
        &["OrdinalRegressionLoss"],
        "method.heads.*.loss=ordinal_regression",
        "",
    ),
    when(
        "model.criteria.*._target_",
        &["QuantizedRegressionLoss", "NormalizedRegressionLoss"],
        "method.heads.*.loss=quantized_regression",
        "",
    ),
    when(
        "model.criteria.*._target_",
        &["WeightedCrossEntropyLoss"],
        "method.heads.*.loss=distance_weighted",
        "",
    ),
    when("model.criteria.*._target_", &["SoftTargetLoss"], "method.heads.*.loss=soft_targets", ""),
    key("model.criteria.*.alpha", "method.heads.*.cross_entropy_weight=?"),
    key("model.criteria.*.distance_power", "method.heads.*.distance_power=?"),
    key("model.criteria.*.sigma", "method.heads.*.target_width=?"),
    key("model.criteria.*.label_smoothing", "method.heads.*.label_smoothing=?"),
    noted("model.criteria.*.**", "method.heads.*.loss=LOSS", LOSSES),
    noted("model.criteria", "method.loss=LOSS", LOSSES),
    noted("model.auto_configure_from_dataset", "", FROM_DATA),
    noted("model.net.input_channels", "", FROM_DATA),
    noted("model.net.input_size", "", FROM_DATA),
    noted("model.net.output_size", "", FROM_DATA),
    noted(
        "model.net.heads_config.**",
        "",
        "leave it out: each label of the data has a head; `data.label_maps` adds labels",
    ),
    key("model.net.conv1_channels", "model.conv1_channels=?"),
    key("model.net.conv2_channels", "model.conv2_channels=?"),
    key("model.net.fc_hidden", "model.fc_hidden=?"),
    key("model.net.dropout", "model.dropout=?"),
    noted(
        "model.net.**",
        "model=NAME",
        "for small images simple_cnn_422k or simple_cnn_64k; its keys are `model.*`",
    ),
    noted("model.compile", "", "leave it out: nothing is compiled at the start"),
    when("model._target_", &["resnet18", "resnet34", "resnet50"], "model=@", ""),
    noted("*._target_", "*=NAME", NO_CLASSES),
    noted("*._partial_", "", NO_CLASSES),
    noted("*._recursive_", "", NO_CLASSES),
    noted("*._convert_", "", NO_CLASSES),
    when("trainer.accelerator", &["gpu", "cuda"], "trainer.device=cuda", ""),
    when("trainer.accelerator", &["cpu", "mps"], "trainer.device=cpu", ""),
    key("trainer.accelerator", "trainer.device=auto"),
    when(
        "trainer.devices",
        &["1"],
        "",
        "leave it out: `dtrain` is one process, and one process has one device",
    ),
    when("trainer.devices", &["auto", "-1"], "dtrain launch ...", "a process for each GPU"),
    noted("trainer.devices", "mpirun -n ? dtrain ...`, or `dtrain launch -n ? ...", STARTED),
    noted("trainer.num_nodes", "dtrain slurm train --nodes ? ...", "or `mpirun` over the hosts"),
    noted("trainer.strategy", "mpirun -n N dtrain ...`, or `dtrain launch -n N ...", STARTED),
    noted(
        "trainer.min_epochs",
        "",
        "leave it out: a run has `trainer.max_epochs`, and `stop.patience` counts evaluations",
    ),
    noted("trainer.fast_dev_run", "--fast-dev-run", "an option of `dtrain`"),
    key("trainer.gradient_clip_val", "trainer.grad_clip=?"),
    noted(
        "trainer.accumulate_grad_batches",
        "trainer.micro_batch_size=SAMPLES",
        "`trainer.batch_size` is what an optimizer step sees",
    ),
    key("trainer.check_val_every_n_epoch", "eval.every_epochs=?"),
    key("trainer.log_every_n_steps", "track.every_steps=?"),
    key("trainer.sync_batchnorm", "trainer.sync_bn=?"),
    key("trainer.limit_train_batches", "trainer.limit_train_samples=SAMPLES"),
    key("trainer.limit_val_batches", "trainer.limit_eval_samples=SAMPLES"),
    key("trainer.limit_test_batches", "trainer.limit_eval_samples=SAMPLES"),
    key("trainer.overfit_batches", "trainer=overfit"),
    key("trainer.max_time", "stop.time_limit_secs=SECONDS"),
    key("trainer.default_root_dir", "run.root=?"),
    key("callbacks.model_checkpoint.monitor", "checkpoint.monitor=?"),
    key("callbacks.model_checkpoint.mode", "checkpoint.mode=?"),
    key("callbacks.model_checkpoint.every_n_train_steps", "checkpoint.every_steps=?"),
    noted("callbacks.model_checkpoint.save_top_k", "checkpoint.keep_last=?", "the best one is kept besides"),
    noted(
        "callbacks.model_checkpoint.save_last",
        "",
        "leave it out: the newest and the best checkpoint are always kept",
    ),
    key("callbacks.model_checkpoint.dirpath", "run.dir=?"),
    noted("callbacks.model_checkpoint.**", "", "leave it out: the keys are `checkpoint.*`"),
    key("callbacks.early_stopping.monitor", "stop.monitor=?"),
    key("callbacks.early_stopping.mode", "stop.mode=?"),
    key("callbacks.early_stopping.patience", "stop.patience=?"),
    key("callbacks.early_stopping.min_delta", "stop.min_delta=?"),
    noted("callbacks.early_stopping.**", "", "leave it out: the keys are `stop.*`"),
    noted("callbacks.**", "", "leave it out: checkpoints are in `checkpoint.*`, early stopping in `stop.*`"),
    when("logger", &["tensorboard", "csv"], "", LOGS),
    noted("logger.**", "", LOGS),
    when("debug", &["fdr", "default"], "--fast-dev-run", "an option of `dtrain`"),
    when("debug", &["limit"], "trainer=limit", ""),
    when("debug", &["overfit"], "trainer=overfit", ""),
    noted(
        "debug.**",
        "--fast-dev-run",
        "an option of `dtrain`; `trainer=limit` and `trainer=overfit` are longer",
    ),
    noted(
        "hparams_search.**",
        "dtrain sweep ...",
        "one run for each combination of values; `--optimize METRIC` compares them",
    ),
    key("paths.data_dir", "data.root=?"),
    key("paths.log_dir", "run.root=?"),
    key("paths.output_dir", "run.dir=?"),
    noted("paths.**", "run.root=PATH`, `data.root=PATH", ""),
    noted(
        "ckpt_path",
        "dtrain resume RUN",
        "a new run starts from the weights by `init_from=?`, and `dtrain eval ?` evaluates them",
    ),
    when("train", &["False", "false"], "dtrain eval CHECKPOINT", "evaluation alone"),
    noted("train", "", "leave it out: `dtrain` trains, `dtrain eval CHECKPOINT` evaluates"),
    noted("test", "", "leave it out: every run ends with an evaluation of the test part"),
    noted("extras.**", "", "leave it out: `--cfg` prints the settings, RUST_LOG steers the log"),
    key("hydra.run.dir", "run.dir=?"),
    key("hydra.sweep.dir", "run.root=?"),
    noted(
        "hydra.launcher.**",
        "dtrain slurm train ...`, or `dtrain launch ...",
        "`dtrain` itself is one run",
    ),
    noted("hydra.sweeper.**", "dtrain sweep ...", "one run for each combination of values"),
    noted("hydra.mode", "dtrain sweep ...", "one run for each combination of values"),
    noted(
        "hydra.job.chdir",
        "",
        "leave it out: a run works where it was started and writes into its run directory",
    ),
    noted("hydra.job_logging.**", "", LOG),
    noted("hydra.hydra_logging.**", "", LOG),
    noted("hydra.verbose", "", LOG),
    noted("hydra.**", "run.root=PATH`, or `run.dir=PATH", "the run directory"),
];

/// Files of groups that are here.
pub(super) const FILES: &[MovedFile] = &[
    file(
        "model",
        &["mnist_cnn", "mnist_cnn_421k", "mnist_cnn_422k"],
        "experiment=cnn_mnist",
        "the model together with its data and method; alone it is `model=simple_cnn_422k`",
    ),
    file("model", &["mnist_mh_cnn_422k"], "model=simple_cnn_422k", ""),
    file(
        "model",
        &["vimh_cnn_64k", "cifar10_cnn_64k", "cifar10_mh_cnn_64k", "cifar100mh_cnn_64k"],
        "model=simple_cnn_64k",
        "",
    ),
    file("model", &["vimh_cnn_64k_ordinal"], "model=simple_cnn_64k method.loss=ordinal_regression", ""),
    file(
        "model",
        &["vimh_cnn_64k_regression", "vimh_cnn_64k_quantized_regression"],
        "model=simple_cnn_64k method.loss=quantized_regression",
        "",
    ),
    file("model", &["vimh_cnn_64k_weighted_ce"], "model=simple_cnn_64k method.loss=distance_weighted", ""),
    file("model", &["vimh_cnn_64k_soft_target"], "model=simple_cnn_64k method.loss=soft_targets", ""),
    file(
        "model",
        &["multihead", "generic_multihead"],
        "method=multihead",
        "the backbone is chosen by `model`",
    ),
    file("data", &["cifar10"], "data=multihead_cifar10", ""),
    file("data", &["vimh_16kdss"], "data=vimh data.root=PATH", ""),
    file("trainer", &["gpu"], "trainer.device=cuda", ""),
    file("trainer", &["cpu", "mps"], "trainer.device=cpu", ""),
    file("trainer", &["ddp"], "mpirun -n N dtrain ...`, or `dtrain launch -n N ...", STARTED),
    file(
        "trainer",
        &["ddp_sim"],
        "mpirun -n N dtrain trainer.device=cpu ...`, or `dtrain launch -n N trainer.device=cpu ...",
        STARTED,
    ),
    file("experiment", &["cifar10_cnn", "cifar10_cnn_cpu"], "experiment=multihead_cnn_cifar10", ""),
    file("experiment", &["vimh_cnn_16kdss"], "experiment=vimh_cnn data.root=PATH", ""),
    file("experiment", &["vimh_cnn_16kdss_ordinal"], "experiment=vimh_cnn_ordinal data.root=PATH", ""),
    file(
        "experiment",
        &["vimh_cnn_16kdss_regression", "vimh_cnn_16kdss_quantized_regression"],
        "experiment=vimh_cnn_regression data.root=PATH",
        "",
    ),
    file("experiment", &["vimh_cnn_16kdss_weighted_ce"], "experiment=vimh_cnn_distance data.root=PATH", ""),
    file(
        "experiment",
        &["vimh_cnn_16kdss_soft_target"],
        "experiment=vimh_cnn_soft_targets data.root=PATH",
        "",
    ),
    file(
        "experiment",
        &["vit_mnist", "convnext_mnist", "vit_mnist_995"],
        "experiment=cnn_mnist",
        OTHER_BACKBONE,
    ),
];

/// Values of keys that are here too: key, theirs, ours.
pub(super) const VALUES: &[(&str, &str, &str)] = &[
    ("trainer.precision", "16", "fp16"),
    ("trainer.precision", "16-mixed", "fp16"),
    ("trainer.precision", "bf16-mixed", "bf16"),
    ("trainer.precision", "32", "fp32"),
    ("trainer.precision", "32-true", "fp32"),
    ("trainer.precision", "64", "fp64"),
    ("trainer.precision", "64-true", "fp64"),
];
