//! Experiments of one's own: based on others, given as paths, and the settings of a run that begin another one.

use std::fs;
use std::path::Path;

use dtrain_configs::schema::{MadeFor, MethodConfig, OptimizerConfig};
use dtrain_configs::{ComposeOptions, RunConfig, compose, files, to_yaml};

/// A folder of one's own with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    dir
}

fn composed(dir: &Path, words: &[&str]) -> Result<RunConfig, String> {
    let words: Vec<String> =
        words.iter().map(|&word| word.replace("DIR", &dir.display().to_string())).collect();
    let options = ComposeOptions { config_dir: Some(dir.to_owned()) };
    let shown =
        |error: dtrain_configs::ConfigErrors| error.to_string().replace(&dir.display().to_string(), "DIR");
    compose(&words, &options).map(|composition| composition.config).map_err(shown)
}

fn config(dir: &Path, words: &[&str]) -> RunConfig {
    composed(dir, words).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn an_experiment_begins_with_the_values_and_groups_of_its_base() {
    let dir = folder(&[
        ("experiment/mine.yaml", "base: simclr_fsdd\ndefaults: {model: resnet18}\noptimizer: {lr: 0.5}\n"),
        ("experiment/longer.yaml", "base: mine\ntrainer: {max_epochs: 99}\nmethod:\n# temperature: 0.1\n"),
    ]);
    let base = config(dir.path(), &["experiment=simclr_fsdd"]);
    let mine = config(dir.path(), &["experiment=mine"]);
    assert_eq!((mine.model.name(), mine.optimizer.lr()), ("resnet18", 0.5));
    assert_eq!((&mine.data, &mine.method, &mine.trainer), (&base.data, &base.method, &base.trainer));
    assert_eq!(mine.experiment.as_deref(), Some("mine"));

    let longer = config(dir.path(), &["experiment=longer"]);
    assert_eq!((longer.trainer.max_epochs, longer.optimizer.lr()), (Some(99), 0.5));
    assert_eq!((longer.trainer.batch_size, &longer.method), (base.trainer.batch_size, &base.method));
    // The command line has the last word, also about what a base has chosen.
    let small = config(dir.path(), &["experiment=longer", "model=cnn_small", "optimizer=sgd"]);
    assert_eq!(small.model.name(), "cnn_small");
    assert_ne!(small.optimizer.lr(), 0.5, "it was set for the optimizer of the base");
}

#[test]
fn another_file_for_a_section_keeps_nothing_of_the_base_there() {
    let dir = folder(&[
        ("experiment/mine.yaml", "base: supcon_fsdd\ndefaults: {method: simclr}\n"),
        ("experiment/same.yaml", "base: supcon_fsdd\ndefaults: {optimizer: adamw}\n"),
    ]);
    let MethodConfig::Simclr(simclr) = config(dir.path(), &["experiment=mine"]).method else { panic!() };
    let MethodConfig::Simclr(preset) = config(dir.path(), &["method=simclr"]).method else { panic!() };
    assert_eq!(simclr, preset);
    let base = config(dir.path(), &["experiment=supcon_fsdd"]);
    assert_eq!(
        config(dir.path(), &["experiment=same"]).optimizer,
        base.optimizer,
        "the same choice said twice"
    );
}

#[test]
fn a_base_may_be_a_path_from_the_file_that_names_it_or_what_the_file_hides() {
    let dir = folder(&[
        ("a/mine.yaml", "base: ../b/common.yaml\nseed: 2\n"),
        ("b/common.yaml", "base: simclr_fsdd\ndefaults: {method: ./warm.yaml}\nseed: 1\ntags: [common]\n"),
        ("b/warm.yaml", "name: simclr\ntemperature: 0.75\n"),
        ("experiment/supcon_fsdd.yaml", "base: supcon_fsdd\ntags: [hidden]\n"),
    ]);
    let mine = config(dir.path(), &["experiment=DIR/a/mine.yaml"]);
    assert_eq!((mine.seed, &mine.tags[..]), (2, &["common".to_owned()][..]));
    assert!(matches!(mine.method, MethodConfig::Simclr(simclr) if simclr.temperature == 0.75.into()));
    let hides = config(dir.path(), &["experiment=supcon_fsdd"]);
    assert_eq!((&hides.tags[..], hides.data.name.as_str()), (&["hidden".to_owned()][..], "fsdd"));
}

#[test]
fn bases_that_lead_nowhere_are_named_with_file_and_line() {
    let dir = folder(&[
        ("experiment/a.yaml", "seed: 1\nbase: b\n"),
        ("experiment/b.yaml", "base: ./a.yaml\n"),
        ("experiment/own.yaml", "base: own\n"),
        ("experiment/lost.yaml", "# mine\nbase: simclr_fsd\n"),
        ("experiment/gone.yaml", "base: gone/with.yaml\n"),
        ("experiment/two.yaml", "base: [a, b]\n"),
        ("experiment/hydra.yaml", "defaults:\n  - simclr_fsdd\n  - override /model: resnet18\n  - _self_\n"),
        ("experiment/below.yaml", "defaults: {experiment: simclr_fsdd}\n"),
    ]);
    let refused = |name: &str| composed(dir.path(), &[&format!("experiment={name}")]).unwrap_err();
    insta::assert_snapshot!(refused("a"), @r"
    error: 1 problem in the configuration

    experiments are based on each other in a circle
     --> DIR/experiment/a.yaml:2:7
      | base: b
      |       ^
     --> DIR/experiment/b.yaml:1:7
      | base: ./a.yaml
      |       ^^^^^^^^
    hint: leave out the `base` that is wrong, or name another experiment there
    ");
    insta::assert_snapshot!(refused("own"), @r"
    error: 1 problem in the configuration

    an experiment is based on itself
     --> DIR/experiment/own.yaml:1:7
      | base: own
      |       ^^^
    hint: leave out the `base` that is wrong, or name another experiment there
    ");
    let lost = refused("lost");
    let (message, hint) = lost.split_once("hint: ").unwrap();
    insta::assert_snapshot!(message, @r"
    error: 1 problem in the configuration

    group `experiment` has no `simclr_fsd`
     --> DIR/experiment/lost.yaml:2:7
      | base: simclr_fsd
      |       ^^^^^^^^^^
    ");
    assert!(hint.starts_with("did you mean `simclr_fsdd`?"), "{hint}");
    insta::assert_snapshot!(refused("gone"), @r"
    error: 1 problem in the configuration

    cannot read `DIR/experiment/gone/with.yaml`: No such file or directory (os error 2)
     --> DIR/experiment/gone.yaml:1:7
      | base: gone/with.yaml
      |       ^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(refused("two"), @r"
    error: 1 problem in the configuration

    `base` must name one experiment, not the list `[a, b]`
     --> DIR/experiment/two.yaml:1:7
      | base: [a, b]
      |       ^
    hint: `base: simclr_fsdd`, or a path to a YAML file; that one may have a base too
    ");
    insta::assert_snapshot!(refused("hydra").split_once("hint: ").unwrap().1, @"write one `group: name` a line, without `- override /`, and `base: simclr_fsdd` outside of `defaults`");
    insta::assert_snapshot!(refused("below").split_once("hint: ").unwrap().1, @"write `base: simclr_fsdd` outside of `defaults`: an experiment is based on another one by that line");
    insta::assert_snapshot!(composed(dir.path(), &["base=simclr_fsdd"]).unwrap_err(), @r"
    error: 1 problem in the configuration

    `base` is not a setting
     --> override 1
      | base=simclr_fsdd
      | ^^^^
    hint: `experiment=NAME` chooses an experiment; `base: NAME` is a line of an experiment's file
    ");
}

/// A run directory as a run leaves it.
fn run(words: &[&str]) -> (tempfile::TempDir, RunConfig) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(dir.path(), words);
    settings.run.dir = Some(dir.path().to_owned());
    settings.run.root = "/elsewhere/runs".into();
    settings.schedule.made_for = vec![MadeFor { from_step: 0, max_epochs: Some(2), max_steps: None }];
    fs::write(dir.path().join("config.yaml"), to_yaml(&settings)).unwrap();
    (dir, settings)
}

#[test]
fn the_settings_of_a_run_begin_a_new_one() {
    for words in [
        &["experiment=supervised_fsdd", "optimizer=sgd", "seed=7"][..],
        &["experiment=multihead_cnn_mnist"],
        &["experiment=null", "method=simclr", "data=fsdd"],
    ] {
        let (dir, mut settings) = run(words);
        let again = config(dir.path(), &["experiment=DIR/config.yaml"]);
        settings.run = RunConfig::default().run;
        settings.schedule.made_for.clear();
        assert_eq!(again, settings, "{words:?}: all but where that run lived and what became of it");
    }
}

#[test]
fn overrides_groups_and_bases_go_over_the_settings_of_a_run() {
    let (dir, settings) = run(&["experiment=supcon_fsdd", "optimizer.lr=0.125"]);
    let changed = config(
        dir.path(),
        &[
            "experiment=DIR/config.yaml",
            "seed=3",
            "method=supervised",
            "run.dir=runs/b",
            "trainer.max_epochs=2",
        ],
    );
    assert!(matches!(changed.method, MethodConfig::Supervised(_)));
    assert_eq!((changed.seed, changed.optimizer.lr(), &changed.data), (3, 0.125, &settings.data));
    assert_eq!((changed.trainer.max_epochs, changed.run.dir), (Some(2), Some("runs/b".into())));
    let reset = config(dir.path(), &["experiment=DIR/config.yaml", "optimizer=null"]);
    assert_eq!(reset.optimizer, OptimizerConfig::default());

    fs::write(dir.path().join("mine.yaml"), "base: config.yaml\ndefaults: {model: resnet34}\nseed: 5\n")
        .unwrap();
    let based = config(dir.path(), &["experiment=DIR/mine.yaml"]);
    assert_eq!((based.experiment.as_deref(), based.seed), (Some("mine"), 5));
    assert_eq!((based.model.name(), &based.method), ("resnet34", &settings.method));
}

/// What `--cfg` prints is whole, too.
#[test]
fn printed_settings_are_an_experiment() {
    let options = ComposeOptions::default();
    let composition = compose(&["experiment=simclr_fsdd".to_owned(), "seed=4".to_owned()], &options).unwrap();
    let dir = folder(&[("printed.yaml", &composition.render(true))]);
    assert_eq!(config(dir.path(), &["experiment=DIR/printed.yaml"]), composition.config);
}

#[test]
fn the_folder_of_a_run_is_answered_with_its_settings() {
    let (dir, _) = run(&[]);
    let said = composed(dir.path(), &["experiment=DIR"]).unwrap_err();
    assert!(said.contains("group `experiment` has no `DIR`"), "{said}");
    let hint = "hint: `experiment=DIR/config.yaml` begins a new run with the settings of that run";
    assert!(said.ends_with(hint), "{said}");
}

#[test]
fn files_of_ones_own_are_told_from_those_of_the_program() {
    let dir = folder(&[
        ("experiment/copy.yaml", "# @package _global_\n# dtrain experiment=supcon_fsdd\n# Owls.\nseed: 1\n"),
        ("experiment/simclr_fsdd.yaml", "base: simclr_fsdd\n"),
        ("method/cold.yaml", "# Cold.\nname: simclr\ntemperature: 0.05\n"),
    ]);
    let options = ComposeOptions { config_dir: Some(dir.path().to_owned()) };
    let experiments = files("experiment", &options).unwrap();
    let find = |name: &str| experiments.iter().find(|file| file.name == name).unwrap();
    let copy = find("copy");
    assert_eq!((copy.words.as_str(), copy.about.as_str()), ("experiment=copy", "Owls."));
    assert_eq!(copy.own, Some(dir.path().join("experiment/copy.yaml")));
    assert_eq!(
        (copy.shadows, find("simclr_fsdd").shadows, find("supcon_fsdd").shadows),
        (false, true, false)
    );
    let methods = files("method", &options).unwrap();
    assert!(methods.iter().any(|file| file.words == "method=cold" && file.own.is_some()));
    let nowhere = ComposeOptions { config_dir: Some("nowhere".into()) };
    assert_eq!(files("method", &nowhere).unwrap_err().message, "there is no folder `nowhere`");
}
