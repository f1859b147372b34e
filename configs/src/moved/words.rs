//! Words that stand alone in other tools: flags of Lightning, keys of solo-learn, arguments of accelerate and of the
//! Hugging Face trainer, W&B. What Lightning's trainer takes as `trainer.KEY` is known without `trainer.` too, from the
//! other table.

use super::Moved;
use super::table::{key, noted, when};

const STARTED: &str =
    "or `mpirun -n N dtrain`: the processes are started outside, and all of them get the same words";
const ONE_LOGGER: &str =
    "leave it out: a run directory has `metrics.jsonl` and TensorBoard events; `tags` marks runs";
const ALWAYS: &str = "leave it out: checkpoints are always written, as `checkpoint.every_steps` says";
const BAR: &str = "leave it out: there is a bar on a terminal, and lines elsewhere";
const RENDEZVOUS: &str = "leave it out: MPI and the launcher find the processes";
const SHARES: &str = "the shares of all phases together; `phases.list` says what each trains";
const IN_EPOCHS: &str = "in whole epochs";
const STEPS_OF_BATCH: &str =
    "`trainer.batch_size` is what an optimizer step sees, and a micro-batch what fits into memory at once";

/// Of several rows that fit the first counts, as in the other table, which comes before.
pub(super) const WORDS: &[Moved] = &[
    // Lightning
    when(
        "strategy",
        &["auto", "single_device"],
        "",
        "leave it out: `dtrain` is one process, `dtrain launch` one for each GPU",
    ),
    noted("strategy.**", "dtrain launch -n N", STARTED),
    key("seed_everything", "seed=?"),
    noted("trainer.val_check_interval", "eval.every_epochs=EPOCHS", IN_EPOCHS),
    noted("trainer.num_sanity_val_steps", "", "leave it out: `--fast-dev-run` tries everything in two steps"),
    noted(
        "trainer.gradient_clip_algorithm",
        "",
        "leave it out: `trainer.grad_clip` is about the norm of all gradients, or of each with `trainer.grad_clip_norm=parameter`",
    ),
    noted("trainer.enable_checkpointing", "", ALWAYS),
    noted("trainer.enable_progress_bar", "", BAR),
    noted("trainer.enable_model_summary", "", "leave it out: the banner at the start says what is trained"),
    noted(
        "trainer.benchmark",
        "",
        "leave it out: `trainer.deterministic=false` lets cuDNN choose the fastest kernels",
    ),
    noted("trainer.logger.**", "", ONE_LOGGER),
    noted(
        "trainer.callbacks.**",
        "",
        "leave it out: checkpoints are in `checkpoint.*`, early stopping in `stop.*`",
    ),
    noted(
        "trainer.profiler",
        "dtrain bench step",
        "it splits a step into data, compute, waiting and communication",
    ),
    // solo-learn
    when("backbone.name", &["resnet18", "resnet34", "resnet50"], "model=?", ""),
    when("backbone", &["resnet18", "resnet34", "resnet50"], "model=?", ""),
    noted(
        "backbone.**",
        "model=NAME",
        "one of cnn_small, resnet18, resnet34, resnet50 and others; its keys are `model.*`",
    ),
    key("method_kwargs.temperature", "method.temperature=?"),
    key("method_kwargs.proj_hidden_dim", "method.projector.hidden_dim=?"),
    key("method_kwargs.proj_output_dim", "method.projector.out_dim=?"),
    noted(
        "method_kwargs.**",
        "method=NAME",
        "one of simclr, supcon, byol, simsiam, dino, supervised, multihead and vqvae; its keys are `method.*`",
    ),
    noted("optimizer.batch_size", "trainer.batch_size=?", "the batch over all processes"),
    noted(
        "optimizer.classifier_lr",
        "",
        "leave it out: the linear probe has no learning rate; its settings are `eval.linear.*`",
    ),
    noted(
        "optimizer.kwargs.**",
        "optimizer=NAME",
        "one of adam, adamw, sgd and lars; its keys are `optimizer.*`",
    ),
    when(
        "scheduler.name",
        &["warmup_cosine", "cosine"],
        "schedule=cosine",
        "`schedule.warmup_epochs` is the warm-up",
    ),
    when("scheduler.name", &["step"], "schedule=step", ""),
    when("scheduler.name", &["none"], "schedule=constant", ""),
    key("scheduler.warmup_epochs", "schedule.warmup_epochs=?"),
    noted(
        "scheduler.**",
        "schedule=NAME",
        "one of step, linear, cosine and constant; its keys are `schedule.*`",
    ),
    noted("data.dataset", "data=NAME", "`data.root=PATH` says where it is"),
    key("data.train_path", "data.root=?"),
    noted("data.val_path", "", "leave it out: `data.splits` says what is held out of `data.root`"),
    noted("data.format", "", "leave it out: the first bytes of a file tell what it is"),
    noted(
        "augmentations.**",
        "augment=NAME",
        "one of none, audio_light, audio_strong, image_light, image_supervised, image_simclr, image_simclr_224, image_byol and image_dino; its keys are `augment.*`",
    ),
    key("checkpoint.dir", "run.dir=?"),
    noted(
        "checkpoint.frequency",
        "checkpoint.every_steps=STEPS",
        "without it a checkpoint is written at the end of each epoch",
    ),
    noted("checkpoint.enabled", "", ALWAYS),
    noted("auto_resume.**", "", "leave it out: the same command goes on with a `run.dir` that holds its run"),
    key("knn_eval.enabled", "eval.embeddings=?"),
    noted("knn_eval.**", "eval.knn.k=K", "the settings of the probes are `eval.*`"),
    // accelerate, torchrun, the Hugging Face trainer
    when("mixed_precision", &["no"], "trainer.precision=fp32", ""),
    key("mixed_precision", "trainer.precision=?"),
    key("precision", "trainer.precision=?"),
    when("fp16", &["true", "True"], "trainer.precision=fp16", ""),
    when("bf16", &["true", "True"], "trainer.precision=bf16", ""),
    noted("fp16", "trainer.precision=auto", ""),
    noted("bf16", "trainer.precision=auto", ""),
    noted("gradient_accumulation_steps", "trainer.micro_batch_size=SAMPLES", STEPS_OF_BATCH),
    noted("num_processes", "dtrain launch -n ?", STARTED),
    noted("nproc_per_node", "dtrain launch -n ?", STARTED),
    noted("world_size", "dtrain launch -n ?", STARTED),
    noted("gpus", "dtrain launch -n ?", STARTED),
    noted("nnodes", "dtrain slurm train --nodes ?", "or `mpirun` over the hosts"),
    noted("num_machines", "dtrain slurm train --nodes ?", "or `mpirun` over the hosts"),
    noted("node_rank", "", RENDEZVOUS),
    noted("machine_rank", "", RENDEZVOUS),
    noted("local_rank", "", RENDEZVOUS),
    noted("master_addr", "", RENDEZVOUS),
    noted("master_port", "", RENDEZVOUS),
    noted("rdzv_endpoint", "", RENDEZVOUS),
    noted("fsdp.**", "trainer.shard_optimizer=true", "each rank keeps its part of the optimizer's state"),
    noted(
        "deepspeed.**",
        "trainer.shard_optimizer=true",
        "each rank keeps its part of the optimizer's state",
    ),
    noted("batch_size", "trainer.batch_size=?", "the batch over all processes"),
    noted("per_device_train_batch_size", "trainer.batch_size=SAMPLES", "the batch over all processes"),
    key("per_device_eval_batch_size", "eval.batch_size=?"),
    key("num_train_epochs", "trainer.max_epochs=?"),
    key("epochs", "trainer.max_epochs=?"),
    key("num_epochs", "trainer.max_epochs=?"),
    key("steps", "trainer.max_steps=?"),
    key("lr", "optimizer.lr=?"),
    key("learning_rate", "optimizer.lr=?"),
    key("weight_decay", "optimizer.weight_decay=?"),
    key("max_grad_norm", "trainer.grad_clip=?"),
    noted("warmup_steps", "schedule.warmup_epochs=EPOCHS", "a fraction of an epoch will do"),
    key("warmup_epochs", "schedule.warmup_epochs=?"),
    key("save_steps", "checkpoint.every_steps=?"),
    key("save_total_limit", "checkpoint.keep_last=?"),
    noted("eval_steps", "eval.every_epochs=EPOCHS", IN_EPOCHS),
    key("logging_steps", "track.every_steps=?"),
    key("output_dir", "run.dir=?"),
    key("dataloader_num_workers", "trainer.loader_threads=?"),
    key("num_workers", "trainer.loader_threads=?"),
    key("data_dir", "data.root=?"),
    noted(
        "resume_from_checkpoint",
        "dtrain resume RUN",
        "a new run starts from the weights by `init_from=?`",
    ),
    key("pretrained", "init_from=RUN"),
    noted(
        "checkpoint_path",
        "init_from=?",
        "weights of a run, of a safetensors file or of a checkpoint of PyTorch or Lightning",
    ),
    noted("pretrained_path", "init_from=?", "weights of a run or a file"),
    // Trainers of VQ-VAEs with semantic heads
    noted("phase1_frac", "phases.fracs=[0.2,0.6,0.2]", SHARES),
    noted("phase2_frac", "phases.fracs=[0.2,0.6,0.2]", SHARES),
    noted("phase3_frac", "phases.fracs=[0.2,0.6,0.2]", SHARES),
    noted("no_staged_training", "phases.enabled=false", ""),
    noted("subset_fraction", "++data.splits.default.subset_fraction=?", "of each machine id"),
    noted(
        "val_fraction",
        "++data.splits.default.val_fraction=?",
        "of each machine id, of what `subset_fraction` keeps",
    ),
    noted(
        "norm_stats_path",
        "",
        "leave it out: each view is normalized by itself, as `data.features.normalize` says",
    ),
    noted("transform_head_per_patch", "method=vqvae method.transform_head_per_patch=true", ""),
    key("lambda_machine_id", "method=vqvae method.lambda_machine_id=?"),
    key("lambda_transform", "method=vqvae augment=machine_transforms method.lambda_transform=?"),
    noted("num_machine_ids", "", "leave it out: the data say which machines there are"),
    noted("lr_warmup_epochs", "schedule.warmup_epochs=?", ""),
    key("grad_clip", "trainer.grad_clip=?"),
    noted("data_root", "data.root=?", "the folder of one type of machine, such as PATH/fan"),
    noted("machine_type", "data.root=PATH/?", "the folder of that type"),
    // W&B
    noted("wandb.**", "", ONE_LOGGER),
    noted("project", "", ONE_LOGGER),
    noted("entity", "", ONE_LOGGER),
    noted("name", "run.dir=?", "`run.root` holds the runs that have no name; `tags` marks them"),
];
