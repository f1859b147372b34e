//! Who comes from lightning-hydra-template-extended is told where each setting is here.

use std::fs;

use dtrain_configs::{ComposeOptions, compose};

/// Its command lines, as the documents that introduce it have them.
const COMMANDS: &str = r#"
python src/train.py experiment=multihead_cnn_mnist
python src/train.py experiment=multihead_cnn_mnist +trainer.fast_dev_run=true
python src/train.py experiment=multihead_cnn_mnist model.loss_weights.digit=2.0 model.loss_weights.thickness=0.5 model.loss_weights.smoothness=0.5
python src/train.py experiment=multihead_cnn_mnist model.loss_weights.digit=1.0 model.loss_weights.thickness=1.0 model.loss_weights.smoothness=1.0
python src/train.py experiment=multihead_cnn_mnist model.loss_weights.digit=0.5 model.loss_weights.thickness=1.0 model.loss_weights.smoothness=1.0
python src/train.py experiment=multihead_cnn_cifar10
python src/train.py model=mnist_cnn trainer.max_epochs=20 tags="[single_task,digit]"
python src/train.py experiment=multihead_cnn_mnist trainer.max_epochs=20 tags="[multi_task,all]"
python src/train.py experiment=multihead_cnn_mnist model.loss_weights.thickness=0.1 tags="[weight_study,thickness_0.1]"
python src/train.py experiment=multihead_cnn_mnist model.loss_weights.thickness=2.0 tags="[weight_study,thickness_2.0]"
python src/train.py experiment=multihead_cnn_mnist tags="[arch_study,cnn]"
python src/train.py experiment=vimh_cnn
python src/train.py experiment=vimh_cnn data.data_dir=data/vimh-32x32_8000Hz_1p0s_256dss_resonarium_2p
"#;

/// What a word of the other trainer is here: the word, and the beginning of the hint.
const WORDS: &[(&str, &str)] = &[
    ("checkpoint_path=weights.ckpt", "write `init_from=weights.ckpt`"),
    ("pretrained_path=weights.pth", "write `init_from=weights.pth`"),
    ("data.batch_size=64", "write `trainer.batch_size=64`"),
    ("data.data_dir=data/mnist", "write `data.root=data/mnist`"),
    ("data.num_workers=4", "write `trainer.loader_threads=4`"),
    ("data.num_workers=0", "write `trainer.loader_threads=1`"),
    ("data.pin_memory=False", "leave it out: "),
    ("data.train_val_test_split=[55_000,5_000,10_000]", "write `data.images.val_fraction=0.083333`"),
    ("data.multihead=true", "write `data=multihead_mnist`"),
    ("model.optimizer.lr=0.002", "write `optimizer.lr=0.002`"),
    ("model.optimizer.weight_decay=0.01", "write `optimizer.weight_decay=0.01`"),
    ("model.optimizer._target_=torch.optim.Adam", "write `optimizer=adam`"),
    ("model.optimizer._target_=torch.optim.SGD", "write `optimizer=sgd`"),
    ("model.scheduler.step_size=5", "write `schedule=step schedule.step_epochs=5`"),
    ("model.scheduler.gamma=0.5", "write `schedule=step schedule.gamma=0.5`"),
    ("model.scheduler._target_=torch.optim.lr_scheduler.StepLR", "write `schedule=step`"),
    ("model.scheduler.mode=min", "write `schedule=NAME`"),
    ("model.loss_weights.digit=2.0", "write `method.heads.digit.weight=2.0`"),
    ("model.loss_weights.orientation=0.5", "write `+method.heads.orientation.weight=0.5`"),
    (
        "model.criteria.digit._target_=torch.nn.CrossEntropyLoss",
        "write `method.heads.digit.loss=cross_entropy`",
    ),
    (
        "model.criteria.digit._target_=src.models.losses.OrdinalRegressionLoss",
        "write `method.heads.digit.loss=ordinal_regression`",
    ),
    ("model.criteria.digit._target_=torch.nn.MSELoss", "write `method.heads.digit.loss=LOSS`"),
    ("model.auto_configure_from_dataset=true", "leave it out: "),
    ("model.net.input_channels=3", "leave it out: "),
    ("model.net.fc_hidden=64", "write `model.fc_hidden=64`"),
    ("model.net.heads_config.orientation=4", "leave it out: "),
    ("model.net._target_=src.models.components.simple_cnn.SimpleCNN", "write `model=NAME`"),
    ("model.compile=false", "leave it out: "),
    ("trainer.devices=1", "leave it out: "),
    ("trainer.devices=4", "write `mpirun -n 4 dtrain ...`, or `dtrain launch -n 4 ...`"),
    ("trainer.devices=auto", "write `dtrain launch ...`"),
    ("trainer.strategy=ddp", "write `mpirun -n N dtrain ...`, or `dtrain launch -n N ...`"),
    ("trainer.min_epochs=1", "leave it out: "),
    ("trainer.accelerator=gpu", "write `trainer.device=cuda`"),
    ("trainer.accelerator=cpu", "write `trainer.device=cpu`"),
    ("trainer.accelerator=auto", "write `trainer.device=auto`"),
    ("trainer.precision=16-mixed", "write `trainer.precision=fp16`"),
    ("trainer.precision=32", "write `trainer.precision=fp32`"),
    ("trainer.gradient_clip_val=1.0", "write `trainer.grad_clip=1.0`"),
    ("+trainer.fast_dev_run=true", "write `--fast-dev-run`"),
    ("++trainer.fast_dev_run=true", "write `--fast-dev-run`"),
    ("trainer.fast_dev_run=true", "write `--fast-dev-run`"),
    ("callbacks.model_checkpoint.monitor=val/acc_best", "write `checkpoint.monitor=val/acc_best`"),
    ("callbacks.model_checkpoint.mode=max", "write `checkpoint.mode=max`"),
    ("callbacks.early_stopping.monitor=val/loss", "write `stop.monitor=val/loss`"),
    ("callbacks.early_stopping.mode=min", "write `stop.mode=min`"),
    ("callbacks.early_stopping.patience=5", "write `stop.patience=5`"),
    ("callbacks.rich_progress_bar.leave=true", "leave it out: "),
    ("callbacks=none", "leave it out: "),
    ("~callbacks", "leave it out: "),
    ("logger=tensorboard", "leave it out: "),
    ("logger=wandb", "leave it out: "),
    ("debug=fdr", "write `--fast-dev-run`"),
    ("debug=overfit", "write `trainer=overfit`"),
    ("paths.data_dir=/data", "write `data.root=/data`"),
    ("paths.log_dir=/logs", "write `run.root=/logs`"),
    ("ckpt_path=logs/last.ckpt", "write `dtrain resume RUN`"),
    ("hparams_search=mnist_optuna", "write `dtrain sweep ...`"),
    ("hydra.run.dir=/runs/a", "write `run.dir=/runs/a`"),
    ("test=False", "leave it out: "),
    ("train=False", "write `dtrain eval CHECKPOINT`"),
    ("model=mnist_cnn", "write `experiment=cnn_mnist`"),
    ("model=mnist_mh_cnn_422k", "write `model=simple_cnn_422k`"),
    ("model=vimh_cnn_64k", "write `model=simple_cnn_64k`"),
    ("trainer=gpu", "write `trainer.device=cuda`"),
    ("trainer=cpu", "write `trainer.device=cpu`"),
    ("trainer=ddp", "write `mpirun -n N dtrain ...`, or `dtrain launch -n N ...`"),
    ("experiment=vimh_cnn_16kdss_weighted_ce", "write `experiment=vimh_cnn_distance data.root=PATH`"),
];

fn composed(words: &[String]) -> Result<Vec<String>, Vec<String>> {
    match compose(words, &ComposeOptions::default()) {
        Ok(composition) => Ok(composition.config.tags),
        Err(errors) => {
            Err(errors.problems.into_iter().map(|problem| problem.hint.unwrap_or_default()).collect())
        }
    }
}

/// The words of a line, as a shell takes them apart.
fn shell_words(line: &str) -> Vec<String> {
    let mut quoted = false;
    let words = line.split(|c| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    });
    words.map(|word| word.replace('"', "")).collect()
}

/// What the hint tells to write; nothing where the word is to be left out or is an option.
fn corrected(hint: &str) -> Vec<String> {
    let words = hint.strip_prefix("write `").and_then(|rest| rest.split('`').next()).unwrap_or_default();
    words.split(' ').filter(|word| word.contains('=')).map(str::to_owned).collect()
}

#[test]
fn every_word_is_answered_by_its_place_here() {
    for (word, expected) in WORDS {
        let mut words = vec!["experiment=multihead_cnn_mnist".to_owned()];
        if word.starts_with("experiment=") {
            words.clear();
        }
        words.push((*word).to_owned());
        let hints = composed(&words).expect_err(word);
        assert!(hints.len() == 1 && hints[0].starts_with(expected), "{word}: {hints:?}, not {expected}");
    }
}

#[test]
fn what_a_hint_tells_to_write_composes() {
    for (word, _) in WORDS {
        let mut words = vec!["experiment=multihead_cnn_mnist".to_owned(), (*word).to_owned()];
        if word.starts_with("experiment=") {
            words.remove(0);
        }
        let hint = composed(&words).expect_err(word).remove(0);
        words.pop();
        words.extend(
            corrected(&hint).into_iter().filter(|word| !word.ends_with("=NAME") && !word.ends_with("=LOSS")),
        );
        if hint.contains("experiment=cnn_mnist") {
            words.remove(0);
        }
        if let Err(hints) = composed(&words) {
            panic!("{word} became {words:?}: {hints:?}");
        }
    }
}

/// A line composes as it stands, or once each word with a hint has been replaced by what the hint says.
#[test]
fn every_command_line_composes_or_says_what_to_write() {
    let mut as_they_stand = 0;
    for line in COMMANDS.lines().filter(|line| !line.is_empty()) {
        let words = shell_words(line.strip_prefix("python src/train.py ").unwrap());
        let experiment = words.iter().find(|word| word.starts_with("experiment="));
        let mut num_hints = 0;
        let fixed: Vec<String> = words
            .iter()
            .flat_map(|word| {
                let alone: Vec<String> =
                    experiment.into_iter().filter(|other| *other != word).chain([word]).cloned().collect();
                let Err(hints) = composed(&alone) else { return vec![word.clone()] };
                assert!(hints.len() == 1 && hints[0].starts_with("write `"), "{line}: {word}: {hints:?}");
                num_hints += 1;
                corrected(&hints[0])
            })
            .collect();
        assert_eq!(composed(&words).err().map_or(0, |hints| hints.len()), num_hints, "{line}");
        as_they_stand += usize::from(num_hints == 0);
        let tags = composed(&fixed).unwrap_or_else(|hints| panic!("{line} became {fixed:?}: {hints:?}"));
        if let Some((_, typed)) = line.split_once("tags=\"[") {
            assert_eq!(tags, typed.trim_end_matches("]\"").split(',').collect::<Vec<_>>(), "{line}");
        }
    }
    assert_eq!(as_they_stand, 5);
}

/// Experiment files of the other trainer.
#[test]
fn keys_of_a_file_are_answered_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.yaml");
    let text = "\
defaults:
  - override /data: multihead_mnist
  - override /model: mnist_mh_cnn_422k
seed: 12345
trainer:
  min_epochs: 1
  max_epochs: 10
model:
  optimizer:
    _target_: torch.optim.Adam
    lr: 0.002
  loss_weights: {digit: 1.0, thickness: 0.5}
data:
  batch_size: 64
callbacks:
  model_checkpoint:
    monitor: val/acc_best
";
    fs::write(&path, text).unwrap();
    let words = [format!("experiment={}", path.display())];
    let report = compose(&words, &ComposeOptions::default()).unwrap_err().to_string();
    insta::assert_snapshot!(report.replace(&dir.path().display().to_string(), "DIR"), @r#"
        error: 8 problems in the configuration

        `defaults` must be a section, not the list `[{'override /data': multihead_mnist}, {'override /model': mn…`
         --> DIR/mine.yaml:2:3
          |   - override /data: multihead_mnist
          |   ^
        hint: write one `group: name` a line, without `- override /`

        `trainer.min_epochs` is not a setting
         --> DIR/mine.yaml:6:3
          |   min_epochs: 1
          |   ^^^^^^^^^^
        hint: leave it out: a run has `trainer.max_epochs`, and `stop.patience` counts evaluations

        `model.optimizer._target_` is not a setting
         --> DIR/mine.yaml:10:15
          |     _target_: torch.optim.Adam
          |               ^^^^^^^^^^^^^^^^
        hint: write `optimizer=adam`

        `model.optimizer.lr` is not a setting
         --> DIR/mine.yaml:11:9
          |     lr: 0.002
          |         ^^^^^
        hint: write `optimizer.lr=0.002`

        `model.loss_weights.digit` is not a setting
         --> DIR/mine.yaml:12:25
          |   loss_weights: {digit: 1.0, thickness: 0.5}
          |                         ^^^
        hint: write `method.heads.digit.weight=1.0`

        `model.loss_weights.thickness` is not a setting
         --> DIR/mine.yaml:12:41
          |   loss_weights: {digit: 1.0, thickness: 0.5}
          |                                         ^^^
        hint: write `method.heads.thickness.weight=0.5`

        `data.batch_size` is not a setting
         --> DIR/mine.yaml:14:3
          |   batch_size: 64
          |   ^^^^^^^^^^
        hint: write `trainer.batch_size=64`; the batch over all processes

        `callbacks.model_checkpoint.monitor` is not a setting
         --> DIR/mine.yaml:17:14
          |     monitor: val/acc_best
          |              ^^^^^^^^^^^^
        hint: write `checkpoint.monitor=val/acc_best`
        "#);
}
