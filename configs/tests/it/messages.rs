//! What a user reads when something is wrong.

use std::fs;

use dtrain_configs::{ComposeOptions, compose, load};

fn refused(overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&word| word.to_owned()).collect();
    compose(&overrides, &ComposeOptions::default()).unwrap_err().to_string()
}

fn refused_file(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    load(&path).unwrap_err().to_string().replace(&dir.path().display().to_string(), "RUN")
}

fn refused_experiment(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.yaml");
    fs::write(&path, text).unwrap();
    refused(&[&format!("experiment={}", path.display())]).replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn unknown_key() {
    insta::assert_snapshot!(refused(&["trainer.batch_sise=64"]), @r#"
        error: 1 problem in the configuration

        `trainer.batch_sise` is not a setting
         --> override 1
          | trainer.batch_sise=64
          | ^^^^^^^^^^^^^^^^^^
        hint: did you mean `trainer.batch_size` (default 128)?
        "#);
}

#[test]
fn unknown_group_file() {
    insta::assert_snapshot!(refused(&["model=resnet19"]), @r#"
        error: 1 problem in the configuration

        group `model` has no `resnet19`
         --> override 1
          | model=resnet19
          |       ^^^^^^^^
        hint: did you mean `resnet18`? there are `cnn_small`, `conv_encoder`, `mlp`, `resnet18`, `resnet18_small_stem`, `resnet34`, `resnet50`, `simple_cnn_422k`, `simple_cnn_64k`, `vit_small` and `vit_tiny`
        "#);
}

#[test]
fn keys_of_other_sections_and_methods() {
    insta::assert_snapshot!(
        refused(&["optim.lr=0.1", "batch_size=4", "method=supervised", "method.temperature=0.1"]),
        @r#"
        error: 3 problems in the configuration

        `optim.lr` is not a setting
         --> override 1
          | optim.lr=0.1
          | ^^^^^^^^
        hint: did you mean `optimizer.lr` (now 0.003, default 0.001)?

        `batch_size` is not a setting
         --> override 2
          | batch_size=4
          | ^^^^^^^^^^
        hint: write `trainer.batch_size=4`; the batch over all processes

        `method.temperature` is not a setting
         --> override 4
          | method.temperature=0.1
          | ^^^^^^^^^^^^^^^^^^
        hint: the method is `supervised`; `method.temperature` belongs to `simclr` and `supcon`
        "#
    );
}

#[test]
fn wrong_types_in_a_file() {
    insta::assert_snapshot!(
        refused_experiment(
            "\
defaults: {method: simclr}
seed: -1
trainer:
  batch_size: many
  max_epochs: 010
  precision: fp23
augment:
  gain_db: [1, x]
method:
  projector: {hidden_dim: 1.5, out_dmi: 8}
  queue_size: -1
"
        ),
        @r#"
        error: 8 problems in the configuration

        `seed` must be a whole number of at least 0, not `-1`
         --> DIR/mine.yaml:2:7
          | seed: -1
          |       ^^

        `trainer.batch_size` must be a whole number of at least 0, not `many`
         --> DIR/mine.yaml:4:15
          |   batch_size: many
          |               ^^^^

        `trainer.max_epochs` must be a whole number of at least 0, not `010`
         --> DIR/mine.yaml:5:15
          |   max_epochs: 010
          |               ^^^
        hint: numbers do not start with a zero: write `10`

        `trainer.precision` has no choice `fp23`
         --> DIR/mine.yaml:6:14
          |   precision: fp23
          |              ^^^^
        hint: did you mean `fp32`? there are `auto`, `fp32`, `bf16`, `fp16` and `fp64`

        `augment.gain_db[1]` must be a number, not `x`
         --> DIR/mine.yaml:8:16
          |   gain_db: [1, x]
          |                ^

        `method.projector.hidden_dim` must be a whole number of at least 0, not `1.5`
         --> DIR/mine.yaml:10:27
          |   projector: {hidden_dim: 1.5, out_dmi: 8}
          |                           ^^^

        `method.projector.out_dmi` is not a setting
         --> DIR/mine.yaml:10:32
          |   projector: {hidden_dim: 1.5, out_dmi: 8}
          |                                ^^^^^^^
        hint: did you mean `method.projector.out_dim` (default 128)?

        `method.queue_size` must be a whole number of at least 0, not `-1`
         --> DIR/mine.yaml:11:15
          |   queue_size: -1
          |               ^^
        "#
    );
}

#[test]
fn unknown_groups_in_an_experiment() {
    insta::assert_snapshot!(
        refused_experiment("defaults:\n  dta: fsdd\n  model: {name: resnet18}\n  method: suprvised\n"),
        @r#"
        error: 3 problems in the configuration

        `dta` is not a group
         --> DIR/mine.yaml:2:3
          |   dta: fsdd
          |   ^^^
        hint: did you mean `data`? there are `data`, `augment`, `model`, `method`, `optimizer`, `schedule`, `trainer` and `eval`

        `defaults.model` must be a name
         --> DIR/mine.yaml:3:10
          |   model: {name: resnet18}
          |          ^
        hint: values go into a section `model` beside `defaults`

        group `method` has no `suprvised`
         --> DIR/mine.yaml:4:11
          |   method: suprvised
          |           ^^^^^^^^^
        hint: did you mean `supervised`? there are `byol`, `dino`, `multihead`, `simclr`, `simsiam`, `supcon`, `supervised`, `vqvae` and `xil`
        "#
    );
}

#[test]
fn wrong_types_in_overrides() {
    insta::assert_snapshot!(refused(&["trainer.grad_clip=yes", "optimizer.lr='0.1'", "tags=a", "trainer=[1]"]), @r#"
        error: 3 problems in the configuration

        `optimizer.lr` must be a number, not the text `'0.1'`
         --> override 2
          | optimizer.lr='0.1'
          |              ^^^^^
        hint: leave the quotes out if it is a number

        `tags` must be a list such as `[a, b]`, not `a`
         --> override 3
          | tags=a
          |      ^

        `trainer` must be a section, not the list `[1]`
         --> override 4
          | trainer=[1]
          |         ^
        "#);
}

#[test]
fn unknown_method_name() {
    insta::assert_snapshot!(refused_experiment("method:\n  name: simclrr\n"), @r#"
        error: 1 problem in the configuration

        `method.name` must name one of the methods, not `simclrr`
         --> DIR/mine.yaml:2:9
          |   name: simclrr
          |         ^^^^^^^
        hint: did you mean `simclr`? there are `simclr`, `supcon`, `byol`, `simsiam`, `dino`, `supervised`, `multihead`, `vqvae` and `xil`
        "#);
    insta::assert_snapshot!(
        refused_file("data: {root: /data}\neval: {every_epochs: 0}\nmethod:\n  name: simclrr\n  queue_size: -1\n"),
        @r#"
        error: 1 problem in the configuration

        `method.name` must name one of the methods, not `simclrr`
         --> RUN/config.yaml:4:9
          |   name: simclrr
          |         ^^^^^^^
        hint: did you mean `simclr`? there are `simclr`, `supcon`, `byol`, `simsiam`, `dino`, `supervised`, `multihead`, `vqvae` and `xil`
        "#
    );
    insta::assert_snapshot!(refused(&["method.name=moco"]), @r#"
        error: 1 problem in the configuration

        group `method` has no `moco`
         --> override 1
          | method.name=moco
          |             ^^^^
        hint: there are `byol`, `dino`, `multihead`, `simclr`, `simsiam`, `supcon`, `supervised`, `vqvae` and `xil`
        "#);
}

#[test]
fn settings_that_contradict_each_other() {
    insta::assert_snapshot!(
        refused(&[
            "trainer.batch_size=1",
            "trainer.max_epochs=null",
            "data.features.n_mels=400",
            "eval.every_epochs=0",
            "data.split=takes",
            "data=fsdd",
            "data.target=digits",
        ]),
        @r#"
        error: 5 problems in the configuration

        `trainer.batch_size` is 1, but `method.name` = supcon compares the samples of a batch
         --> override 1
          | trainer.batch_size=1
          |                    ^
         --> builtin method/supcon.yaml:2:7
          | name: supcon
          |       ^^^^^^
        hint: contrastive methods need at least 2 samples, and do better with hundreds

        the run never ends: `trainer.max_epochs` and `trainer.max_steps` are both `null`
         --> override 2
          | trainer.max_epochs=null
          |                    ^^^^
         --> builtin trainer/default.yaml:5:12
          | max_steps: null # whichever comes first
          |            ^^^^
        hint: set one of the two

        `data.features.n_mels` is 400, but `data.features.n_fft` = 256 gives only 129 bands
         --> override 3
          | data.features.n_mels=400
          |                      ^^^
         --> builtin data/fsdd.yaml:17:10
          |   n_fft: 256
          |          ^^^
        hint: use fewer mel bands, or a longer transform

        `data.split` is `takes`, which `data.splits` does not have
         --> override 5
          | data.split=takes
          |            ^^^^^
         --> builtin data/fsdd.yaml:11:3
          |   take: {by: take, test: ['0', '1', '2', '3', '4'], val_fraction: 0.1} # the official test set: take…
          |   ^
        hint: did you mean `take`? there are `speaker` and `take`

        `data.target` names `digits`, which `data.labels.pattern` does not have
         --> override 7
          | data.target=digits
          |             ^^^^^^
         --> builtin data/fsdd.yaml:7:12
          |   pattern: '(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav$'
          |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: did you mean `digit`? the labels are `digit`, `speaker` and `take`
        "#
    );
}

#[test]
fn defaults_that_do_not_suffice() {
    insta::assert_snapshot!(refused(&["data=audio_folder"]), @r#"
        error: 1 problem in the configuration

        there are no data: `data.root` and `data.generate` are both `null`
         --> override 1
          | data=audio_folder
          |      ^^^^^^^^^^^^
        hint: give the folder with the data: `data.root=PATH`
        "#);
}

#[test]
fn bad_yaml() {
    insta::assert_snapshot!(refused_file("trainer:\n  batch_size: 3\n  batch_size: 4\n"), @r#"
        error: 1 problem in the configuration

        `batch_size` is set twice in this section
         --> RUN/config.yaml:3:3
          |   batch_size: 4
          |   ^^^^^^^^^^
        hint: keep one of the two
        "#);
    insta::assert_snapshot!(refused_file("seed: [1\n"), @r#"
        error: 1 problem in the configuration

        not valid YAML: unclosed bracket '['
         --> RUN/config.yaml:1:7
          | seed: [1
          |       ^
        "#);
    insta::assert_snapshot!(refused_file("just words\n"), @r#"
        error: 1 problem in the configuration

        RUN/config.yaml must hold `key: value` lines, not `just words`
         --> RUN/config.yaml:1:1
          | just words
          | ^^^^^^^^^^
        "#);
}

#[test]
fn splits_that_do_not_exist() {
    insta::assert_snapshot!(refused(&["data.splits.mine.by=species", "+data.splits.other.bye=species"]), @r#"
        error: 2 problems in the configuration

        `data.splits` has no `mine`
         --> override 1
          | data.splits.mine.by=species
          | ^^^^^^^^^^^^^^^^^^^
        hint: there are `default`; `+data.splits.mine.by=...` adds one

        `data.splits.other.bye` is not a setting
         --> override 2
          | +data.splits.other.bye=species
          |  ^^^^^^^^^^^^^^^^^^^^^
        hint: did you mean `by`? there are `by`, `test`, `val`, `test_fraction`, `val_fraction`, `anomalies`, `subset_fraction`, `test_list` and `val_list`
        "#);
}

/// OmegaConf, a shell and Python would replace these; as they stand they would name folders.
#[test]
fn words_that_other_tools_replace() {
    insta::assert_snapshot!(
        refused(&[
            "run.dir=${oc.env:HOME}/runs/a",
            "run.root=runs/${now:%Y-%m-%d}",
            "init_from=None",
            "trainer.max_steps=None",
            "trainer.batch_size=None",
            "data.name=None",
            "data.root=$HOME/data",
            "checkpoint.local_dir=~anna/fast",
            "data.features.mel_norm=None",
            "tags=[None]",
            "model=None",
        ]),
        @r#"
        error: 11 problems in the configuration

        `run.dir` is `${oc.env:HOME}/runs/a`, and nothing replaces the `$` in it
         --> override 1
          | run.dir=${oc.env:HOME}/runs/a
          |         ^^^^^^^^^^^^^^^^^^^^^
        hint: let the shell do it, in double quotes: `run.dir="$HOME/runs/a"`

        `run.root` is `runs/${now:%Y-%m-%d}`, and nothing replaces the `$` in it
         --> override 2
          | run.root=runs/${now:%Y-%m-%d}
          |          ^^^^^^^^^^^^^^^^^^^^
        hint: let the shell do it, in double quotes: `run.root="runs/$(date +%Y-%m-%d)"`

        `init_from` is `None`, which is no special word here
         --> override 3
          | init_from=None
          |           ^^^^
        hint: write `null` for nothing; if it is a word, put it in quotes: `"init_from='None'"`

        `trainer.max_steps` is `None`, which is no special word here
         --> override 4
          | trainer.max_steps=None
          |                   ^^^^
        hint: write `null` for nothing

        `trainer.batch_size` must be a whole number of at least 0, not `None`
         --> override 5
          | trainer.batch_size=None
          |                    ^^^^

        `data.name` is `None`, which is no special word here
         --> override 6
          | data.name=None
          |           ^^^^
        hint: if it is a word, put it in quotes: `"data.name='None'"`

        `data.root` is `$HOME/data`, and nothing replaces the `$` in it
         --> override 7
          | data.root=$HOME/data
          |           ^^^^^^^^^^
        hint: let the shell do it, in double quotes: `data.root="$HOME/data"`

        `checkpoint.local_dir` is `~anna/fast`, and the home folder of another user is not known here
         --> override 8
          | checkpoint.local_dir=~anna/fast
          |                      ^^^^^^^^^^
        hint: write the whole path; `~/` alone stands for your home folder

        `data.features.mel_norm` has no choice `None`
         --> override 9
          | data.features.mel_norm=None
          |                        ^^^^
        hint: did you mean `none`? there are `none` and `slaney`

        `tags` is `None`, which is no special word here
         --> override 10
          | tags=[None]
          |       ^^^^
        hint: if it is a word, put it in quotes: `'None'`

        group `model` has no `None`
         --> override 11
          | model=None
          |       ^^^^
        hint: write `model=null` for the program's own defaults
        "#
    );
}

#[test]
fn words_that_other_tools_replace_in_a_file() {
    let text = "defaults:\n  data: fsdd\ndata:\n  root: ${paths.data_dir}/fsdd\nrun:\n  dir: None\n";
    insta::assert_snapshot!(refused_experiment(text), @r#"
    error: 2 problems in the configuration

    `data.root` is `${paths.data_dir}/fsdd`, and nothing replaces the `$` in it
     --> DIR/mine.yaml:4:9
      |   root: ${paths.data_dir}/fsdd
      |         ^^^^^^^^^^^^^^^^^^^^^^
    hint: write the value itself, or give it on the command line, where the shell replaces: `data.root="$PATHS_DATA_DIR/fsdd"`

    `run.dir` is `None`, which is no special word here
     --> DIR/mine.yaml:6:8
      |   dir: None
      |        ^^^^
    hint: write `null` for nothing; if it is a word, put it in quotes: `'None'`
    "#);
}

#[test]
fn a_pattern_and_a_quoted_word_stay_as_they_are() {
    let words =
        [r"data.labels.pattern=(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)${0,1}", "data.name='None'"]
            .map(str::to_owned);
    let all = ["experiment=null".to_owned(), "data=fsdd".to_owned()].into_iter().chain(words);
    let composed = compose(&all.collect::<Vec<_>>(), &ComposeOptions::default()).unwrap();
    assert_eq!(composed.config.data.name, "None");
    assert!(composed.config.data.labels.pattern.contains("${0,1}"));
}

#[test]
fn positives_that_are_no_rule() {
    insta::assert_snapshot!(refused(&["method=simclr", "method.positives=[label, species]"]), @r#"
        error: 1 problem in the configuration

        `method.positives[1]` has no choice `species`
         --> override 2
          | method.positives=[label, species]
          |                          ^^^^^^^
        hint: there are `label`, `recording` and `within_secs:X`
        "#);
    insta::assert_snapshot!(refused(&["method=simclr", "method.positives=[within_secs:-5]"]), @r#"
        error: 1 problem in the configuration

        `method.positives[0]` must be `label`, `recording` or `within_secs:X`, where X is a number of seconds of at least 0, not `within_secs:-5`
         --> override 2
          | method.positives=[within_secs:-5]
          |                   ^^^^^^^^^^^^^^
        "#);
    insta::assert_snapshot!(refused(&["method=supcon", "method.positives=[within_secs]"]), @r#"
        error: 1 problem in the configuration

        `method.positives[0]` must be `label`, `recording` or `within_secs:X`, where X is a number of seconds of at least 0, not `within_secs`
         --> override 2
          | method.positives=[within_secs]
          |                   ^^^^^^^^^^^
        "#);
    insta::assert_snapshot!(
        refused(&["experiment=supcon_birdsong", "data.audio.segment_secs=1", "method.positives=[within_secs:5, within_secs:2.5]"]),
        @r#"
        error: 1 problem in the configuration

        `method.positives` has `within_secs` twice: within_secs:5, within_secs:2.5
         --> override 3
          | method.positives=[within_secs:5, within_secs:2.5]
          |                  ^
        hint: the longer one alone says the same
        "#
    );
}

#[test]
fn positives_that_the_data_do_not_tell() {
    insta::assert_snapshot!(refused(&["experiment=simclr_fsdd", "method.positives=[recording]"]), @r#"
        error: 1 problem in the configuration

        `method.positives` has `recording`, but `data.recording` names no label
         --> override 2
          | method.positives=[recording]
          |                  ^
        hint: set `data.recording` to the label that names a sample's recording
        "#);
    insta::assert_snapshot!(refused(&["experiment=supcon_birdsong", "method.positives=[label, within_secs:5]"]), @r#"
        error: 1 problem in the configuration

        `method.positives` has `within_secs:5`, but the data do not say where in its recording a sample begins
         --> override 2
          | method.positives=[label, within_secs:5]
          |                  ^
        hint: cut recordings into samples (`data.audio.segment_secs`, or `data.labels.begin` of a table), or name the label that says where a file begins, in seconds: `data.offset`
        "#);
}

#[test]
fn pairs_that_are_attracted_and_left_out() {
    insta::assert_snapshot!(
        refused(&[
            "experiment=simclr_birdsong",
            "data.audio.segment_secs=1",
            "method.positives=[recording, within_secs:2]",
            "method.exclude_pairs=[recording]",
        ]),
        @r#"
        error: 2 problems in the configuration

        `method.positives` attracts pairs by `recording`, but `method.exclude_pairs` leaves out all pairs of one recording
         --> override 3
          | method.positives=[recording, within_secs:2]
          |                  ^
         --> override 4
          | method.exclude_pairs=[recording]
          |                      ^
        hint: take it out of one of the two: a pair is a positive, or left out

        `method.positives` attracts pairs by `within_secs:2`, but `method.exclude_pairs` leaves out all pairs of one recording
         --> override 3
          | method.positives=[recording, within_secs:2]
          |                  ^
         --> override 4
          | method.exclude_pairs=[recording]
          |                      ^
        hint: take it out of one of the two: a pair is a positive, or left out
        "#
    );
    insta::assert_snapshot!(
        refused(&["experiment=supcon_birdsong", "method.exclude_pairs=[label]"]),
        @r#"
        error: 1 problem in the configuration

        `method.positives` attracts pairs by `label`, but `method.exclude_pairs` leaves out all pairs of one label
         --> override 2
          | method.exclude_pairs=[label]
          |                      ^
        hint: take it out of one of the two: a pair is a positive, or left out
        "#
    );
}

#[test]
fn samplers_that_do_not_fit_the_positives() {
    insta::assert_snapshot!(
        refused(&["experiment=simclr_birdsong", "method.positives=[recording]", "method.distinct_recordings=true"]),
        @r#"
        error: 1 problem in the configuration

        `method.distinct_recordings` keeps two samples of one recording out of a batch, but `method.positives` attracts them
         --> override 3
          | method.distinct_recordings=true
          |                            ^^^^
         --> override 2
          | method.positives=[recording]
          |                  ^
        hint: leave `method.distinct_recordings` at `auto`
        "#
    );
    insta::assert_snapshot!(
        refused(&["experiment=supcon_birdsong", "method.positives=[recording]", "method.samples_per_class=4"]),
        @r#"
        error: 1 problem in the configuration

        `method.samples_per_class` = 4 draws by class, but `method.positives` has no `label`
         --> override 3
          | method.samples_per_class=4
          |                          ^
         --> override 2
          | method.positives=[recording]
          |                  ^
        hint: leave `method.samples_per_class` at `auto`, or add `label` to `method.positives`
        "#
    );
}

#[test]
fn samples_that_cannot_be_cut() {
    insta::assert_snapshot!(
        refused(&[
            "experiment=supcon_birdsong",
            "data.audio.segment_secs=0.5",
            "data.audio.segment_hop_secs=0",
            "data.labels.end=end",
        ]),
        @r#"
        error: 3 problems in the configuration

        `data.audio.segment_secs` = 0.5 is shorter than a view, `data.audio.clip_secs` = 1, so that every view would end in zeros
         --> override 2
          | data.audio.segment_secs=0.5
          |                         ^^^
         --> builtin data/birdsong.yaml:17:14
          |   clip_secs: 1.0
          |              ^^^
        hint: make the samples longer, or the views shorter

        `data.audio.segment_hop_secs` must be above 0 and finite, not 0
         --> override 3
          | data.audio.segment_hop_secs=0
          |                             ^

        `data.labels.end` is set, but `data.labels.begin` is not
         --> override 4
          | data.labels.end=end
          |                 ^^^
        hint: name the column that says where a sample begins too
        "#
    );
    insta::assert_snapshot!(
        refused(&["experiment=supcon_fsdd", "data.labels.begin=begin", "data.audio.segment_hop_secs=2"]),
        @r#"
        error: 2 problems in the configuration

        `data.labels.begin` = `begin` is a column of a table, but `data.labels.source` is not `csv`
         --> override 2
          | data.labels.begin=begin
          |                   ^^^^^
         --> builtin data/fsdd.yaml:6:11
          |   source: filename
          |           ^^^^^^^^
        hint: `data.labels.source=csv`; without a table, `data.audio.segment_secs` cuts files into samples

        `data.audio.segment_hop_secs` is set, but `data.audio.segment_secs` is not
         --> override 3
          | data.audio.segment_hop_secs=2
          |                             ^
        hint: say how long the samples are: `data.audio.segment_secs=5`
        "#
    );
    insta::assert_snapshot!(refused(&["experiment=supcon_fsdd", "data.offset=take"]), @r#"
        error: 1 problem in the configuration

        `data.offset` says where in its recording a file begins, but `data.recording` names no label
         --> override 2
          | data.offset=take
          |             ^^^^
        hint: set `data.recording` to the label that names a sample's recording
        "#);
}
