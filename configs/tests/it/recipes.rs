//! Everything that ships works: each experiment, each file of each group, and what they say about themselves.

use std::collections::BTreeSet;
use std::fmt::Debug;

use dtrain_configs::schema::{MethodConfig, NetworkConfig, OptimizerConfig};
use dtrain_configs::{ComposeOptions, compose, file_text, files, groups};
use serde::Deserialize;
use serde::de::Deserializer;
use serde::de::value::{Error, MapDeserializer};

fn words(overrides: &[&str]) -> Vec<String> {
    overrides.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn every_experiment_composes_and_names_its_command() {
    let infos = files("experiment", &ComposeOptions::default()).unwrap();
    assert!(infos.len() >= 6);
    for info in infos {
        let over = format!("experiment={}", info.name);
        let config =
            compose(&words(&[&over]), &ComposeOptions::default()).unwrap_or_else(|e| panic!("{e}")).config;
        assert_eq!(config.experiment.as_deref(), Some(info.name.as_str()));
        assert_eq!(info.words, over);
        assert!(!info.about.is_empty(), "{}", info.name);
    }
}

#[test]
fn every_file_says_what_it_is() {
    for group in groups() {
        for info in files(group.name, &ComposeOptions::default()).unwrap() {
            assert!(!info.about.is_empty(), "{}/{}", group.name, info.name);
            assert_eq!((info.own, info.shadows), (None, false));
        }
    }
}

#[test]
fn every_file_of_every_group_can_be_chosen() {
    for group in groups() {
        assert!(!group.options.is_empty(), "{}", group.name);
        for option in &group.options {
            let over = format!("{}={option}", group.name);
            let mut overs = vec![over.as_str(), "data.root=/data"];
            let text = file_text(group.name, option).unwrap();
            if over == "eval=heads" || (group.name == "data" && text.contains("kind: images")) {
                // Without probes of embeddings, only a method with heads has something to evaluate; images have no views that
                // differ without an `augment` of theirs.
                overs.push("method=multihead");
            }
            if group.name == "augment" && option.starts_with("image_") {
                overs.extend(["data=digits", "method=byol", "eval.probes=[]"]);
            }
            let result = compose(&words(&overs), &ComposeOptions::default());
            let composition = result.unwrap_or_else(|errors| panic!("{over}: {errors}"));
            assert!(composition.choices.contains(&(group.name.to_owned(), option.clone())));
            assert!(text.starts_with("# "), "{over} does not say what it is");
            assert!(text.lines().count() <= 40, "{over} is long");
        }
    }
}

#[test]
fn every_method_and_optimizer_has_a_file() {
    let files = |name: &str| -> BTreeSet<String> {
        groups().into_iter().find(|group| group.name == name).unwrap().options.into_iter().collect()
    };
    for method in MethodConfig::all() {
        assert!(files("method").contains(method.name()), "{}", method.name());
    }
    for optimizer in OptimizerConfig::all() {
        assert!(files("optimizer").contains(optimizer.name()), "{}", optimizer.name());
    }
}

/// The names that a decoder knows, as it gives them for one that it does not.
fn known<'de, T: Deserialize<'de> + Debug>(
    unknown: impl Deserializer<'de, Error = Error>,
) -> BTreeSet<String> {
    let message = T::deserialize(unknown).unwrap_err().to_string();
    message.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// What goes through all of them (proofs, plans, soak) takes these lists.
#[test]
fn no_method_optimizer_or_model_is_missing_from_its_list() {
    let named = || MapDeserializer::new([("name", "?")].into_iter());
    let methods: BTreeSet<String> =
        MethodConfig::all().iter().map(|method| method.name().to_owned()).collect();
    assert_eq!(methods, known::<MethodConfig>(named()));
    let optimizers: BTreeSet<String> = OptimizerConfig::all().iter().map(|o| o.name().to_owned()).collect();
    assert_eq!(optimizers, known::<OptimizerConfig>(named()));
    let networks: BTreeSet<String> = NetworkConfig::all().iter().map(|n| n.name().to_owned()).collect();
    assert_eq!(networks, known::<NetworkConfig>(named()));
}

#[test]
fn presets_agree_with_the_defaults_that_they_repeat() {
    let config =
        compose(&words(&["optimizer=sgd", "trainer=default"]), &ComposeOptions::default()).unwrap().config;
    assert_eq!(config.optimizer, OptimizerConfig::all()[0]);
    for expected in OptimizerConfig::all() {
        let over = format!("optimizer={}", expected.name());
        // The default experiment sets a learning rate of its own.
        let over = words(&[&over, "~optimizer.lr"]);
        let config = compose(&over, &ComposeOptions::default()).unwrap().config;
        assert_eq!(config.optimizer, expected);
    }
}

#[test]
fn every_loss_of_a_head_has_an_experiment() {
    let losses: BTreeSet<String> = files("experiment", &ComposeOptions::default())
        .unwrap()
        .into_iter()
        .filter_map(|info| {
            let over = words(&[&format!("experiment={}", info.name)]);
            match compose(&over, &ComposeOptions::default()).unwrap().config.method {
                MethodConfig::Multihead(config) => Some(format!("{:?}", config.loss)),
                _ => None,
            }
        })
        .collect();
    let all = ["CrossEntropy", "DistanceWeighted", "OrdinalRegression", "QuantizedRegression", "SoftTargets"];
    assert_eq!(losses, all.map(String::from).into());
}

#[test]
fn both_data_presets_give_the_documented_spectrogram() {
    for (name, expected) in [("birdsong", 51), ("fsdd", 101)] {
        let over = format!("data={name}");
        let data =
            compose(&words(&[&over, "eval.probes=[]"]), &ComposeOptions::default()).unwrap().config.data;
        let samples = data.audio.clip_secs * f64::from(data.audio.sample_rate);
        let frames = samples as usize / data.features.hop_length + 1;
        assert_eq!((data.features.n_mels, frames), (64, expected), "{name}");
    }
}
