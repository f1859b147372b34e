//! Every key there is with its default, taken from the typed schema itself.

use crate::node::{Node, Value};
use crate::schema::{
    AnomaliesConfig, AugmentConfig, BankConfig, CorrectionsConfig, DataConfig, GenerateConfig, GroupConfig,
    HeadConfig, LabelMapConfig, LabelsConfig, MethodConfig, ModelConfig, NetworkConfig, OptimizerConfig,
    PhaseConfig, PoolConfig, RunConfig, SplitConfig, TransformsConfig,
};
use crate::serialize::to_node;

/// Sections whose keys the user names.
const OPEN_SECTIONS: [&str; 4] = ["data.splits", "data.label_maps", "method.heads", "eval.banks"];

/// Sections that `name` gives their type, with the names and the defaults of each.
pub(crate) const TAGGED_SECTIONS: [&str; 3] = ["method", "optimizer", "model"];

/// Those of them in which each name is that of a file, so that a name is a choice of that file and stays what the file says. A
/// file of another section is a name with values: of a name that is set by itself, the values of the one before are dropped.
pub(crate) const NAMED_BY_FILES: [&str; 2] = ["method", "optimizer"];

/// All keys of a run whose tagged sections have the names that `name_of` gives for them; the default where it is none of them.
/// Sections that are `null` by default are shown as if they were set, so that their keys are known.
pub(crate) fn reference<'a>(name_of: impl Fn(&'static str) -> &'a str) -> Node {
    let config = RunConfig {
        method: MethodConfig::named(name_of("method")).unwrap_or_default(),
        optimizer: OptimizerConfig::named(name_of("optimizer")).unwrap_or_default(),
        model: ModelConfig::named(name_of("model")).unwrap_or_default(),
        data: DataConfig {
            generate: Some(GenerateConfig::default()),
            corrections: Some(CorrectionsConfig::default()),
            splits: DataConfig::default().splits.into_keys().map(|name| (name, split())).collect(),
            ..DataConfig::default()
        },
        augment: AugmentConfig { transforms: Some(TransformsConfig::default()), ..AugmentConfig::default() },
        ..RunConfig::default()
    };
    to_node(&config)
}

/// Whether the user names the keys of that section.
pub(crate) fn is_open(section: &str) -> bool {
    OPEN_SECTIONS.contains(&section)
}

/// The keys of an entry of an open section.
pub(crate) fn open_entry(section: &str) -> Node {
    match section {
        "data.label_maps" => to_node(&LabelMapConfig::default()),
        "method.heads" => to_node(&HeadConfig::default()),
        "eval.banks" => to_node(&BankConfig {
            generate: Some(GenerateConfig::default()),
            labels: Some(LabelsConfig::default()),
            split: Some(split()),
            ..BankConfig::default()
        }),
        _ => to_node(&split()),
    }
}

/// A split with every section that it may have.
fn split() -> SplitConfig {
    SplitConfig { anomalies: Some(AnomaliesConfig::default()), ..SplitConfig::default() }
}

/// The keys of an element of a list of sections.
pub(crate) fn list_entry(list: &str) -> Node {
    match list {
        "phases.list" => to_node(&PhaseConfig::default()),
        "optimizer.groups" => to_node(&GroupConfig::default()),
        "data.pools" => to_node(&PoolConfig::default()),
        _ => Node::null(),
    }
}

/// Names that a tagged section may have.
pub(crate) fn tag_names(section: &str) -> Vec<&'static str> {
    match section {
        "method" => MethodConfig::all().iter().map(MethodConfig::name).collect(),
        "optimizer" => OptimizerConfig::all().iter().map(OptimizerConfig::name).collect(),
        "model" => NetworkConfig::all().iter().map(NetworkConfig::name).collect(),
        _ => Vec::new(),
    }
}

/// Dotted keys of all words and lists below a node, with their values.
pub(crate) fn leaves(node: &Node) -> Vec<(String, &Node)> {
    fn walk<'a>(node: &'a Node, key: &str, found: &mut Vec<(String, &'a Node)>) {
        match &node.value {
            Value::Map(map) => {
                for entry in &map.entries {
                    let dot = if key.is_empty() { "" } else { "." };
                    walk(&entry.node, &format!("{key}{dot}{}", entry.key), found);
                }
            }
            _ => found.push((key.to_owned(), node)),
        }
    }
    let mut found = Vec::new();
    walk(node, "", &mut found);
    found
}
