//! Under which names a file of another program holds the backbone. What stands in front of the names (`state_dict.model.`,
//! `module.encoder_q.`, `teacher.backbone.`) is found by the names themselves, and no list of programs is needed: the backbone
//! is where all of its tensors are.

mod schemes;

use std::collections::BTreeMap;

use super::listed;
use crate::error::TrainError;
use crate::method::BACKBONE;
use schemes::Scheme;

/// Scope of the backbone, and the dot behind it.
const OWN_PREFIX: &str = "backbone.";

/// A network of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    /// What stands in front of the names of its backbone.
    pub prefix: String,
    /// How its layers are called.
    scheme: Scheme,
}

impl Network {
    /// What stands in front of the names of everything that was trained with the backbone.
    pub fn outer(&self) -> &str {
        self.prefix.strip_suffix(OWN_PREFIX).unwrap_or(&self.prefix)
    }

    /// The name in the file of a tensor of the network that starts.
    pub fn in_file(&self, name: &str) -> Option<String> {
        match bare(name) {
            Some(bare) => Some(format!("{}{}", self.prefix, self.scheme.name(bare)?)),
            None => Some(format!("{}{name}", self.outer())),
        }
    }

    /// What is said about where the weights were; nothing where that is as this program writes them.
    pub fn described(&self) -> String {
        let scheme = self.scheme.described();
        match self.prefix.as_str() {
            "" | OWN_PREFIX => scheme.to_owned(),
            prefix => format!(" under `{prefix}`{scheme}"),
        }
    }
}

/// The name of a tensor of the backbone within it.
pub(super) fn bare(name: &str) -> Option<&str> {
    name.strip_prefix(BACKBONE)?.strip_prefix('.')
}

/// The network of the file that is meant: that under this program's own names, else the only one whose tensors are all there;
/// with `wanted` the one whose prefix has that word. Where none is whole, the one with the most tensors, about which more is
/// said elsewhere.
///
/// # Errors
/// Several, or none that is `wanted`.
pub(super) fn choose(
    in_file: &[&str],
    backbone: &[&str],
    wanted: Option<&str>,
    path: &str,
) -> Result<Network, TrainError> {
    let found = networks(in_file, backbone);
    let whole: Vec<&Network> =
        found.iter().filter(|(_, count)| *count == backbone.len()).map(|(network, _)| network).collect();
    if let Some(word) = wanted {
        let named: Vec<&Network> = whole.iter().copied().filter(|network| has_word(network, word)).collect();
        return match named[..] {
            [network] => Ok(network.clone()),
            [] => Err(TrainError::config(
                format!("`init_from={path}` has no whole backbone whose names begin with `{word}`"),
                match whole[..] {
                    [] => "it has no whole backbone of this `model` under any name".to_owned(),
                    _ => format!("there are {}; `init.network` takes one of their words", prefixes(&whole)),
                },
            )),
            _ => Err(several(&named, path)),
        };
    }
    let own = [OWN_PREFIX, ""].iter().find_map(|own| whole.iter().find(|network| network.prefix == *own));
    match (own, &whole[..]) {
        (Some(network), _) => Ok((*network).clone()),
        (None, [network]) => Ok((*network).clone()),
        (None, [_, ..]) => Err(several(&whole, path)),
        (None, []) => Ok(most_of(&found)),
    }
}

/// The network of which the most tensors are there, of equal ones the one with the shortest prefix.
fn most_of(found: &[(Network, usize)]) -> Network {
    let of_own_names = found.iter().filter(|(network, _)| network.scheme == Scheme::Own);
    let best = of_own_names
        .max_by_key(|(network, count)| (*count, std::cmp::Reverse(network.prefix.len())))
        .map(|(network, _)| network.clone());
    best.unwrap_or_else(|| Network { prefix: OWN_PREFIX.into(), scheme: Scheme::Own })
}

fn several(networks: &[&Network], path: &str) -> TrainError {
    let word = networks.first().map(|first| own_word(first, networks)).unwrap_or_default();
    TrainError::config(
        format!("`init_from={path}` holds {} networks that fit: {}", networks.len(), prefixes(networks)),
        format!("choose one by a word of its names: `init.network={word}`"),
    )
}

fn prefixes(networks: &[&Network]) -> String {
    let prefixes: Vec<String> = networks.iter().map(|network| network.prefix.clone()).collect();
    listed(&prefixes)
}

/// A word that no other network has, or the whole prefix.
fn own_word(network: &Network, all: &[&Network]) -> String {
    let is_own = |word: &&str| all.iter().filter(|other| has_word(other, word)).count() == 1;
    let words = network.prefix.split('.').filter(|word| !word.is_empty());
    words.into_iter().find(is_own).unwrap_or(&network.prefix).to_owned()
}

/// Whether these words stand in front of the network's names.
fn has_word(network: &Network, words: &str) -> bool {
    let words = words.trim_end_matches('.');
    format!(".{}", network.prefix).contains(&format!(".{words}."))
}

/// Everything under which a tensor of the backbone is found, and how many are.
fn networks(in_file: &[&str], backbone: &[&str]) -> Vec<(Network, usize)> {
    let mut counts: BTreeMap<(Scheme, &str), usize> = BTreeMap::new();
    for scheme in Scheme::ALL {
        let names: Option<Vec<String>> = backbone.iter().map(|name| scheme.name(name)).collect();
        let Some(names) = names else { continue };
        let names: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
        for name in in_file {
            for at in std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1)) {
                if let Some((prefix, rest)) = name.split_at_checked(at)
                    && names.contains(rest)
                {
                    *counts.entry((scheme, prefix)).or_default() += 1;
                }
            }
        }
    }
    let network = |(scheme, prefix): (Scheme, &str)| Network { prefix: prefix.to_owned(), scheme };
    counts.into_iter().map(|(key, count)| (network(key), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESNET: [&str; 4] = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer2.0.bn1.bias"];
    const VIT: [&str; 4] = ["cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "norm.bias"];

    fn under(prefixes: &[&str], names: &[&str]) -> Vec<String> {
        prefixes.iter().flat_map(|prefix| names.iter().map(move |name| format!("{prefix}{name}"))).collect()
    }

    fn chosen(in_file: &[String], backbone: &[&str], wanted: Option<&str>) -> Result<Network, TrainError> {
        let in_file: Vec<&str> = in_file.iter().map(String::as_str).collect();
        choose(&in_file, backbone, wanted, "w")
    }

    fn refused(in_file: &[String], wanted: Option<&str>) -> String {
        let error = chosen(in_file, &RESNET, wanted).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn what_stands_in_front_of_the_names_is_found() {
        for prefix in [
            "",
            "backbone.",
            "module.",
            "model.",
            "encoder.",
            "state_dict.model.",
            "state_dict.module.encoder_q.",
            "student.backbone.",
            "teacher.",
            "online_encoder.",
            "model.net.0.",
        ] {
            let network = chosen(&under(&[prefix], &RESNET), &RESNET, None).unwrap();
            assert_eq!(network.prefix, prefix);
            assert_eq!(network.in_file("backbone.bn1.weight").unwrap(), format!("{prefix}bn1.weight"));
        }
        let network = chosen(&under(&["state_dict.backbone."], &RESNET), &RESNET, None).unwrap();
        assert_eq!(network.in_file("projector.0.weight").unwrap(), "state_dict.projector.0.weight");
        assert_eq!(network.described(), " under `state_dict.backbone.`");
    }

    #[test]
    fn own_names_go_first_and_several_others_are_refused_with_the_list() {
        let own = under(&["backbone.", "teacher.backbone."], &RESNET);
        assert_eq!(chosen(&own, &RESNET, None).unwrap().prefix, "backbone.");
        assert_eq!(chosen(&own, &RESNET, Some("teacher")).unwrap().prefix, "teacher.backbone.");
        let moco = under(&["state_dict.module.encoder_q.", "state_dict.module.encoder_k."], &RESNET);
        assert_eq!(
            refused(&moco, None),
            "`init_from=w` holds 2 networks that fit: `state_dict.module.encoder_k.`, `state_dict.module.encoder_q.`; \
             choose one by a word of its names: `init.network=encoder_k`"
        );
        let query = chosen(&moco, &RESNET, Some("encoder_q")).unwrap();
        assert_eq!(query.prefix, "state_dict.module.encoder_q.");
        assert_eq!(chosen(&moco, &RESNET, Some("module.encoder_q.")).unwrap(), query);
        assert_eq!(
            refused(&moco, Some("encoder")),
            "`init_from=w` has no whole backbone whose names begin with `encoder`; there are \
             `state_dict.module.encoder_k.`, `state_dict.module.encoder_q.`; `init.network` takes one of their words"
        );
        assert!(refused(&moco, Some("module")).contains("holds 2 networks that fit"));
    }

    #[test]
    fn the_numbers_of_layers_in_a_sequence_are_known() {
        let names = |layers: [&str; 4]| {
            [
                format!("backbone.{}.weight", layers[0]),
                format!("backbone.{}.weight", layers[1]),
                format!("backbone.{}.0.conv1.weight", layers[2]),
                format!("backbone.{}.0.bn1.bias", layers[3]),
            ]
        };
        for layers in [["0", "1", "4", "5"], ["0", "1", "2", "3"]] {
            let network = chosen(&names(layers), &RESNET, None).unwrap();
            assert_eq!(network.prefix, "backbone.", "{layers:?}");
            assert_eq!(
                network.in_file("backbone.layer2.0.bn1.bias").unwrap(),
                format!("backbone.{}.0.bn1.bias", layers[3])
            );
            assert_eq!(network.described(), " by the numbers of their layers");
        }
    }

    #[test]
    fn torchvisions_names_of_vision_transformers_are_known() {
        let theirs = [
            "model.class_token",
            "model.encoder.pos_embedding",
            "model.encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
            "model.encoder.ln.bias",
        ];
        let network = chosen(&theirs.map(str::to_owned), &VIT, None).unwrap();
        assert_eq!(network.in_file("backbone.norm.bias").unwrap(), "model.encoder.ln.bias");
        assert_eq!(network.described(), " under `model.` by torchvision's names");
        let dino = under(&["teacher.backbone.", "student.module.backbone."], &VIT);
        assert_eq!(chosen(&dino, &VIT, Some("teacher")).unwrap().prefix, "teacher.backbone.");
    }

    #[test]
    fn where_nothing_is_whole_the_most_counts() {
        let half = under(&["a."], &RESNET[..2]).into_iter().chain(under(&["b."], &RESNET[..3]));
        assert_eq!(chosen(&half.collect::<Vec<_>>(), &RESNET, None).unwrap().prefix, "b.");
        assert_eq!(chosen(&["x".to_owned()], &RESNET, None).unwrap().prefix, "backbone.");
    }
}
