//! Which layer wins, and what a change of group leaves behind.

use std::fs;

use dtrain_configs::schema::{Auto, MethodConfig, OptimizerConfig, SplitConfig};
use dtrain_configs::{ComposeOptions, Composition, RunConfig, compose, load, load_with_overrides, to_yaml};

fn words(overrides: &[&str]) -> Vec<String> {
    overrides.iter().map(|&word| word.to_owned()).collect()
}

fn composed(overrides: &[&str]) -> Composition {
    match compose(&words(overrides), &ComposeOptions::default()) {
        Ok(composition) => composition,
        Err(errors) => panic!("{errors}"),
    }
}

fn config(overrides: &[&str]) -> RunConfig {
    composed(overrides).config
}

fn refused(overrides: &[&str]) -> String {
    compose(&words(overrides), &ComposeOptions::default()).unwrap_err().to_string()
}

#[test]
fn nothing_at_all_trains_the_default_experiment() {
    let config = config(&[]);
    assert_eq!(config.experiment.as_deref(), Some("supcon_birdsong"));
    assert_eq!(config.model.name(), "cnn_small");
    assert!(matches!(config.method, MethodConfig::Supcon(_)));
}

#[test]
fn defaults_then_groups_then_experiment_then_command_line() {
    let defaults = config(&["experiment=null", "trainer=null"]);
    assert_eq!(defaults.trainer, dtrain_configs::schema::TrainerConfig::default());
    assert_eq!(defaults.experiment, None);

    let group = config(&["experiment=null", "trainer=proof"]);
    assert_eq!(group.trainer.batch_size, 32);

    let experiment = composed(&["experiment=supervised_fsdd"]);
    assert_eq!(experiment.config.trainer.batch_size, 64);
    let origin = experiment.origin("trainer.batch_size").unwrap();
    assert!(origin.starts_with("builtin experiment/supervised_fsdd.yaml:"), "{origin}");

    let command_line = composed(&["experiment=supervised_fsdd", "trainer.batch_size=8"]);
    assert_eq!(command_line.config.trainer.batch_size, 8);
    assert_eq!(command_line.origin("trainer.batch_size").unwrap(), "override 2: trainer.batch_size=8");
    assert_eq!(command_line.origin("seed"), None);
}

#[test]
fn the_command_line_chooses_groups_over_the_experiment_in_any_order() {
    for overrides in
        [["experiment=supcon_fsdd", "model=resnet50"], ["model=resnet50", "experiment=supcon_fsdd"]]
    {
        let config = config(&overrides);
        assert_eq!(config.model.name(), "resnet50");
        assert_eq!(config.data.name, "fsdd");
    }
    assert_eq!(config(&["seed=1", "seed=2"]).seed, 2);
}

#[test]
fn another_method_keeps_nothing_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.yaml");
    fs::write(
        &file,
        "defaults: {method: supcon, data: fsdd}\nmethod: {temperature: 0.2, samples_per_class: 4}\n",
    )
    .unwrap();
    let experiment = format!("experiment={}", file.display());

    let MethodConfig::Supcon(supcon) = config(&[&experiment]).method else { panic!() };
    assert_eq!((supcon.temperature, supcon.samples_per_class), (0.2.into(), Auto::Value(4)));

    // `samples_per_class` is no key of SimCLR, and 0.2 was meant for SupCon.
    let MethodConfig::Simclr(simclr) = config(&[&experiment, "method=simclr"]).method else { panic!() };
    let MethodConfig::Simclr(preset) = config(&["method=simclr"]).method else { panic!() };
    assert_eq!(simclr, preset);

    // The same choice said twice changes nothing.
    let MethodConfig::Supcon(supcon) = config(&[&experiment, "method=supcon"]).method else { panic!() };
    assert_eq!(supcon.temperature, 0.2.into());
    assert_eq!(config(&[&experiment]).experiment.as_deref(), Some("mine"));
}

#[test]
fn the_name_of_a_method_chooses_its_group() {
    assert_eq!(config(&["method.name=simclr"]), config(&["method=simclr"]));
    let OptimizerConfig::Sgd(sgd) = config(&["optimizer.name=sgd", "optimizer.lr=3"]).optimizer else {
        panic!()
    };
    assert_eq!(sgd.lr, 3.0);
}

#[test]
fn an_experiment_cannot_rename_a_method_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.yaml");
    fs::write(&file, "defaults: {method: supcon}\nmethod: {name: simclr}\n").unwrap();
    let text = refused(&[&format!("experiment={}", file.display())]);
    assert!(text.contains("1 problem") && text.contains("`method: simclr` under `defaults`"), "{text}");
}

#[test]
fn keys_are_added_forced_and_deleted() {
    let config = config(&[
        "+data.splits.mine.by=species",
        "data.splits.mine.test=[7]",
        "data.splits.mine.val_fraction=0.25",
        "data.split=mine",
        "++trainer.max_steps=1e3",
        "~trainer.max_epochs",
        "~eval",
        "data.generate.seed=1_000",
        "tags=[a, 'b c']",
    ]);
    let expected = SplitConfig {
        by: Some("species".into()),
        test: vec!["7".into()],
        val_fraction: 0.25,
        ..SplitConfig::default()
    };
    assert_eq!(config.data.splits.get("mine"), Some(&expected));
    assert!(config.data.splits.contains_key("default"));
    assert_eq!(config.trainer.max_steps, Some(1000));
    assert_eq!(config.trainer.max_epochs, Some(20), "the program's default, not the experiment's");
    assert_eq!(config.eval, dtrain_configs::schema::EvalConfig::default());
    assert_eq!(config.data.generate.map(|generate| generate.seed), Some(1000));
    assert_eq!(config.tags, ["a", "b c"]);
}

#[test]
fn evaluation_is_switched_off_by_one_word() {
    assert_eq!(config(&["eval.every_epochs=0"]).eval.every_epochs, 0);
    let text = refused(&["eval.every_epochs=0", "checkpoint.monitor=val/knn_top1"]);
    assert!(text.contains("but evaluation is off"), "{text}");
}

#[test]
fn words_keep_their_letters_where_text_is_wanted() {
    let config = config(&[
        "tags=[010, no, 1.50, true]",
        "data.target=007",
        "data.labels.columns=null",
        "data.root=null",
        "trainer.deterministic=off",
    ]);
    assert_eq!(config.tags, ["010", "no", "1.50", "true"]);
    assert_eq!(config.data.target, "007");
    assert_eq!(config.data.root, None);
    assert!(!config.trainer.deterministic);
}

#[test]
fn a_user_folder_adds_and_shadows() {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("model/cnn_small.yaml", "name: resnet34\n"),
        (
            "experiment/night.yaml",
            "# dtrain experiment=night\n# Owls.\n# All of them.\n\ndefaults: {data: fsdd}\n",
        ),
        ("trainer/tiny.yaml", "batch_size: 4\n"),
    ] {
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let options = ComposeOptions { config_dir: Some(dir.path().to_owned()) };
    let config = compose(&words(&["experiment=night", "trainer=tiny"]), &options).unwrap().config;
    assert_eq!((config.model.name(), config.trainer.batch_size), ("resnet34", 4));
    assert_eq!(config.data.name, "fsdd");

    let infos = dtrain_configs::files("experiment", &options).unwrap();
    let night = infos.iter().find(|info| info.name == "night").unwrap();
    assert_eq!((night.words.as_str(), night.about.as_str()), ("experiment=night", "Owls. All of them."));
    assert!(infos.iter().any(|info| info.name == "supcon_fsdd"));
}

#[test]
fn a_run_reads_back_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let original = config(&["experiment=supcon_fsdd", "optimizer=lars", "run.dir=out put"]);
    fs::write(&path, to_yaml(&original)).unwrap();
    assert_eq!(load(&path).unwrap(), original);
    assert_eq!(load(dir.path()).unwrap(), original, "a run directory stands for its config.yaml");

    let (longer, origins) =
        load_with_overrides(&path, &words(&["trainer.max_epochs=30", "optimizer=sgd"])).unwrap();
    assert!(
        origins.is_asked("trainer.max_epochs") && !origins.is_asked("data.name"),
        "the file only repeats"
    );
    assert_eq!(longer.trainer.max_epochs, Some(30));
    assert!(matches!(longer.optimizer, OptimizerConfig::Sgd(_)));
    assert_eq!(longer.data, original.data);

    fs::write(&path, "seed: 3\n").unwrap();
    let (with_defaults, _) = load_with_overrides(&path, &words(&["data.root=/data", "eval=none"])).unwrap();
    assert_eq!(with_defaults.seed, 3);
    assert_eq!(with_defaults.trainer, dtrain_configs::schema::TrainerConfig::default());
}

/// Files of editors that write a byte order mark and end lines with CR LF.
#[test]
fn files_from_windows_are_read_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "defaults:\n  data: fsdd\n  method: supcon\n# a comment\ntrainer:\n  batch_size: 48\ntags: [a, b]\n";
    let mut composed = Vec::new();
    for (name, text) in
        [("unix.yaml", text.to_owned()), ("windows.yaml", format!("\u{feff}{}", text.replace('\n', "\r\n")))]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let word = format!("experiment={}", path.display());
        let mut config = dtrain_configs::compose(&[word], &Default::default()).unwrap().config;
        config.experiment = None;
        composed.push(config);
    }
    assert_eq!(composed[0], composed[1]);
    assert_eq!(composed[0].trainer.batch_size, 48);
}

#[test]
fn words_of_sweeps_and_of_python_are_told_what_to_write() {
    let said = |word: &str| {
        dtrain_configs::compose(&[word.to_owned()], &Default::default()).unwrap_err().to_string()
    };
    let several = "`dtrain sweep` makes one of each combination";
    for word in [
        "optimizer.lr=0.1,0.01",
        "seed=1,2",
        "seed=range(1,4)",
        "trainer.precision=fp32,bf16",
        "model=resnet18,resnet50",
        "model=glob(resnet*)",
        "seed=range(3)",
        "method.temperature=choice(0.1, 0.5)",
    ] {
        assert!(said(word).contains(several), "{word}: {}", said(word));
    }
    assert!(!said("optimizer.lr=0.1,x").contains(several));
    assert!(!said("model=resnet18,nothing").contains(several));
    assert!(said("trainer.max_steps=None").contains("hint: write `null` for nothing"));
    assert!(!said("optimizer.lr=None").contains("null"), "{}", said("optimizer.lr=None"));
    for (word, hint) in [
        ("hydra/launcher=submitit_slurm", "dtrain slurm train ..."),
        ("trainer/max_steps=3", "parts of a name are parted by dots: `trainer.max_steps`"),
        ("data@train=fsdd", "a group has one place, its section: `data=NAME`"),
        ("model/encoder=resnet", "`GROUP=NAME` chooses a file of a group"),
    ] {
        assert!(said(word).contains(hint), "{word}: {}", said(word));
    }
}

/// Three sources may ask for a probe; only what the user wrote for these data has to mean something.
#[test]
fn what_was_asked_for_is_told_from_what_an_experiment_brings_along() {
    let asked = |overrides: &[&str]| {
        let composed = compose(&words(overrides), &ComposeOptions::default()).unwrap();
        composed.origins.is_asked("eval.probes")
    };
    assert!(!asked(&["experiment=supcon_fsdd"]));
    assert!(asked(&["experiment=supcon_fsdd", "eval.probes=[digit]"]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.yaml");
    fs::write(&path, "defaults: {data: fsdd}\neval: {probes: [speaker]}\n").unwrap();
    let mine = format!("experiment={}", path.display());
    assert!(asked(&[&mine]));
    assert!(!asked(&[&mine, "data=audio_folder", "data.root=x"]), "the file was written for other data");
}

#[test]
fn a_probe_of_the_experiments_own_data_does_not_stand_in_the_way_of_others() {
    config(&["experiment=supcon_fsdd", "data=audio_folder", "data.root=x"]);
    let typed =
        words(&["experiment=supcon_fsdd", "data=audio_folder", "data.root=x", "eval.probes=[speaker]"]);
    let message = compose(&typed, &ComposeOptions::default()).unwrap_err().to_string();
    assert!(
        message.contains("`eval.probes` names `speaker`, which `data.labels.folders` does not have"),
        "{message}"
    );
    assert!(message.contains("--> override 4"), "{message}");
}

#[test]
fn a_home_folder_is_put_in_front_of_paths_only() {
    let home = std::env::home_dir().unwrap();
    let found = config(&["run.dir=~/runs/b", "data.root=~", "tags=['~/x']"]);
    assert_eq!(found.run.dir, Some(home.join("runs/b")));
    assert_eq!(found.data.root, None, "a lone `~` is YAML's null");
    assert_eq!(found.tags, ["~/x"]);
    let quoted = config(&["data.root='~'"]);
    assert_eq!(quoted.data.root, Some(home));
}

/// Runs and command lines of before keep their meaning, and a setting of today's name wins.
#[test]
fn a_setting_of_an_older_name_is_the_one_of_today() {
    let typed = composed(&["experiment=supcon_birdsong", "method.tile=64"]);
    assert_eq!(typed.config.trainer.loss_tile, Auto::Value(64));
    assert_eq!(typed.origin("trainer.loss_tile").as_deref(), Some("override 2: method.tile=64"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let now = to_yaml(&composed(&["experiment=supcon_birdsong"]).config);
    let before = now.replace("  loss_tile: auto\n", "").replace("\nmethod:\n", "\nmethod:\n  tile: 32\n");
    assert!(before != now && !before.contains("loss_tile"), "{now}");
    for (text, expected) in [
        (before.clone(), Auto::Value(32)),
        (before.replace("\ntrainer:\n", "\ntrainer:\n  loss_tile: 16\n"), Auto::Value(16)),
        (now, Auto::Auto),
    ] {
        fs::write(&path, &text).unwrap();
        assert_eq!(load(&path).unwrap().trainer.loss_tile, expected, "{text}");
    }
}
