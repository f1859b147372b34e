//! A network has its own settings and no other's, and the settings of runs that had those of all networks are read.

use std::fs;
use std::path::Path;

use dtrain_configs::schema::{ModelConfig, NetworkConfig, Norm};
use dtrain_configs::{ComposeOptions, RunConfig, compose, load, load_with_overrides, to_yaml};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn config(overrides: &[&str]) -> RunConfig {
    compose(&words(overrides), &ComposeOptions::default()).unwrap_or_else(|error| panic!("{error}")).config
}

fn refused(overrides: &[&str]) -> String {
    compose(&words(overrides), &ComposeOptions::default()).unwrap_err().to_string()
}

#[test]
fn a_setting_of_another_network_is_refused_with_the_network_that_has_it() {
    insta::assert_snapshot!(refused(&["model=cnn_small", "model.conv1_channels=8", "model.stem=small"]), @r"
    error: 2 problems in the configuration

    `model.conv1_channels` is not a setting
     --> override 2
      | model.conv1_channels=8
      | ^^^^^^^^^^^^^^^^^^^^
    hint: the model is `cnn_small`; `model.conv1_channels` belongs to `simple_cnn`

    `model.stem` is not a setting
     --> override 3
      | model.stem=small
      | ^^^^^^^^^^
    hint: the model is `cnn_small`; `model.stem` belongs to `resnet18`, `resnet34` and `resnet50`
    ");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.yaml");
    fs::write(&file, "defaults: {model: resnet18}\nmodel: {dropout: 0.1}\n").unwrap();
    let said = refused(&[&format!("experiment={}", file.display())]);
    assert!(said.contains("the model is `resnet18`; `model.dropout` belongs to `simple_cnn`"), "{said}");
}

#[test]
fn a_value_that_cannot_be_read_is_named() {
    let said = refused(&["model=simple_cnn_64k", "model.dropout=much", "model.norm_groups=many"]);
    for part in ["`model.dropout` must be a number", "`model.norm_groups` must be a whole number"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        refused(&["model=simple_cnn_64k", "model.dropout=1"]).contains("`model.dropout` must be at least 0")
    );
}

/// A file of the group is a network with values: a name by itself brings no file, and takes the values of the one before away.
#[test]
fn a_name_may_be_set_by_itself() {
    let model = config(&["model=simple_cnn_64k", "model.norm=group", "model.name=resnet50"]).model;
    assert_eq!(model, ModelConfig { norm: Norm::Group, ..ModelConfig::named("resnet50").unwrap() });
    let model = config(&["model=resnet18_small_stem", "model.name=resnet34"]).model;
    let small_stem = config(&["model=resnet18_small_stem"]).model.network;
    assert_eq!((model.name(), small_stem.name()), ("resnet34", "resnet18"));
    assert_eq!(to_yaml(&RunConfig { model, ..RunConfig::default() }).matches("stem: small").count(), 1);
    let said = refused(&["model=simple_cnn_64k", "model.conv1_channels=4", "model.name=resnet50"]);
    assert!(said.contains("`model.conv1_channels` belongs to `simple_cnn`"), "{said}");
    let said = refused(&["model.name=resnet19"]);
    assert!(
        said.contains("`model.name` must name one of the models") && said.contains("`resnet18`"),
        "{said}"
    );
}

/// As a `config.yaml` held them when the settings of all networks were one section.
fn of_before(config: &RunConfig) -> String {
    let own = to_yaml(config);
    let shared = [
        ("stem", "imagenet"),
        ("conv1_channels", "32"),
        ("conv2_channels", "64"),
        ("pool_size", "7"),
        ("fc_hidden", "128"),
        ("dropout", "0.25"),
    ];
    let (begin, rest) = own.split_once("\nmodel:\n").unwrap();
    let end = rest.find("\nmethod:").unwrap();
    let section = &rest[..end];
    let lines: String = shared
        .iter()
        .filter(|(key, _)| !section.contains(&format!("  {key}:")))
        .map(|(key, value)| format!("\n  {key}: {value}"))
        .collect();
    format!("{begin}\nmodel:\n{section}{lines}{}", &rest[end..])
}

#[test]
fn settings_of_runs_that_had_those_of_all_networks_are_read() {
    for network in NetworkConfig::all() {
        let expected = RunConfig { model: network.into(), ..config(&["experiment=supcon_fsdd"]) };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let text = of_before(&expected);
        assert!(["stem:", "dropout:"].iter().all(|key| text.contains(key)), "{text}");
        fs::write(&path, &text).unwrap();
        assert_eq!(load(&path).unwrap(), expected, "{}", expected.model.name());
        let typed = config(&[&format!("experiment={}", path.display())]);
        assert_eq!(typed.model, expected.model, "as an experiment");
        let refused = load_with_overrides(&path, &words(&["model.no_such=1"])).unwrap_err().to_string();
        assert!(refused.contains("`model.no_such` is not a setting"), "{refused}");
    }
}

/// What did not come together was written by somebody, who is told.
#[test]
fn a_part_of_what_all_had_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let text = to_yaml(&config(&["model=cnn_small"])).replace("\nmodel:\n", "\nmodel:\n  fc_hidden: 9\n");
    fs::write(&path, text).unwrap();
    let said = load(Path::new(&path)).unwrap_err().to_string();
    assert!(said.contains("`model.fc_hidden` belongs to `simple_cnn`"), "{said}");
}

#[test]
fn what_a_network_has_stands_beside_what_all_have() {
    let yaml = to_yaml(&config(&["model=simple_cnn_64k"]));
    let section: Vec<&str> = yaml.split_once("\nmodel:\n").unwrap().1.lines().take(10).collect();
    insta::assert_snapshot!(section.join("\n"), @r"
      name: simple_cnn
      conv1_channels: 16
      conv2_channels: 32
      pool_size: 4
      fc_hidden: 112
      dropout: 0.25
      norm: batch
      norm_groups: 32
      bn_statistics: running
      bn_samples: 4096
    ");
}
