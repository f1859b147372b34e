//! Parts of a network, by dotted beginnings of names such as `backbone` or `backbone.layer1`, and how they are left as they are
//! while others learn.

use super::parameters::Parameters;

/// Whether `name` is one of `prefixes` or lies below it: `backbone.layer1` holds `backbone.layer1.0.conv1.weight`, but
/// not `backbone.layer10`. A `*` stands for any characters, dots among them: `*.bias` holds every bias.
pub fn is_below(name: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| begins_with(name, prefix))
}

/// Whether `pattern` matches `name` up to its end or to a dot.
fn begins_with(name: &str, pattern: &str) -> bool {
    matches(name.as_bytes(), pattern.as_bytes())
        || matches(name.as_bytes(), format!("{pattern}.*").as_bytes())
}

/// Whether all of `text` is `pattern`, whose stars stand for any bytes. Of several stars only the last is ever tried again, so
/// that no pattern takes long.
fn matches(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut of_pattern) = (0, 0);
    // Behind the last star, and what follows what it stands for so far.
    let mut again: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(of_pattern) {
            Some(b'*') => {
                of_pattern += 1;
                again = Some((of_pattern, at));
            }
            Some(byte) if text.get(at) == Some(byte) => (at, of_pattern) = (at + 1, of_pattern + 1),
            _ => {
                let Some((behind_star, begin)) = again else { return false };
                again = Some((behind_star, begin + 1));
                (at, of_pattern) = (begin + 1, behind_star);
            }
        }
    }
    pattern.get(of_pattern..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

impl Parameters {
    /// Whether a layer that can be frozen without a parameter, such as a codebook, lies below `prefixes`.
    pub fn has_switch(&self, prefixes: &[String]) -> bool {
        self.switches().iter().any(|(scope, _)| is_below(scope, prefixes))
    }

    /// Freezes what lies below `prefixes`, as [`Self::freeze_where`].
    pub fn freeze(&self, prefixes: &[String]) -> Vec<bool> {
        self.freeze_where(|name| is_below(name, prefixes))
    }

    /// Freezes the parameters and layers whose names `is_frozen` says so of, and sets everything else free. No gradient is
    /// computed for a frozen parameter, and backward passes end where nothing before them needs one. Returns which parameters
    /// are frozen, in registration order.
    pub fn freeze_where(&self, is_frozen: impl Fn(&str) -> bool) -> Vec<bool> {
        for (scope, frozen) in self.switches() {
            frozen.set(is_frozen(scope));
        }
        self.parameters()
            .iter()
            .map(|parameter| {
                let frozen = is_frozen(&parameter.name);
                if parameter.tensor.requires_grad() == frozen {
                    // Set in place: layers hold the same tensor.
                    let _ = parameter.tensor.set_requires_grad(!frozen);
                }
                frozen
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::ModelConfig;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::model::{ForwardContext, build_backbone};

    fn names(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn names_are_cut_at_dots() {
        let prefixes = names(&["backbone.layer1", "head.weight"]);
        for (name, expected) in [
            ("backbone.layer1", true),
            ("backbone.layer1.0.conv1.weight", true),
            ("backbone.layer10.0.conv1.weight", false),
            ("backbone", false),
            ("head.weight", true),
            ("head.bias", false),
        ] {
            assert_eq!(is_below(name, &prefixes), expected, "{name}");
        }
        assert!(!is_below("backbone", &[]));
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("predictor.*", "predictor.0.weight", true),
            ("predictor.*", "predictor", false),
            ("*.bias", "backbone.layer1.0.bn1.bias", true),
            ("*.bias", "backbone.bias.weight", true),
            ("*.bias", "backbone.biases", false),
            ("*", "anything.at.all", true),
            ("backbone.layer*.conv1", "backbone.layer3.0.conv1.weight", true),
            ("backbone.layer*conv1", "backbone.layer3.0.conv1.weight", true),
            ("backbone.*.conv1", "backbone.layer3.0.conv1.weight", true),
            ("backbone.*.conv1", "backbone.layer3.0.conv10.weight", false),
            ("*.*.weight", "fc.weight", false),
            ("", "fc", false),
            (&"*a".repeat(40), &"a.".repeat(60), true),
            (&"*a".repeat(40), &"b.".repeat(60), false),
        ] {
            assert_eq!(is_below(name, &[pattern.to_owned()]), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_frozen_backbone_has_no_graph_and_keeps_its_statistics() {
        let config = ModelConfig::named("cnn_small").unwrap();
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let backbone =
            parameters.scope("backbone", |scope| build_backbone(&config, [1, 16, 16].into(), scope));
        let input = Tensor::randn([6, 1, 16, 16], (Kind::Double, Device::Cpu));
        let before: Vec<Tensor> = parameters.buffers().iter().map(|buffer| buffer.tensor.copy()).collect();

        assert!(parameters.freeze(&names(&["backbone"])).iter().all(|&frozen| frozen));
        let frozen = backbone.forward(&input, &ForwardContext::train(None)).unwrap();
        assert!(!frozen.requires_grad());
        assert_eq!(frozen, backbone.forward(&input, &ForwardContext::eval()).unwrap());
        assert!(parameters.buffers().iter().zip(&before).all(|(buffer, before)| buffer.tensor == *before));

        assert!(parameters.freeze(&[]).iter().all(|&frozen| !frozen));
        let free = backbone.forward(&input, &ForwardContext::train(None)).unwrap();
        assert!(free.requires_grad());
        assert_ne!(free, frozen);
        assert!(parameters.buffers().iter().zip(&before).all(|(buffer, before)| buffer.tensor != *before));
    }

    #[test]
    fn a_layer_below_a_frozen_one_learns_no_more() {
        let config = ModelConfig::named("resnet18").unwrap();
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let backbone = build_backbone(&config, [1, 32, 32].into(), &mut parameters);
        let frozen = parameters.freeze(&names(&["layer2", "layer3.0.bn1"]));
        let input = Tensor::randn([4, 1, 32, 32], (Kind::Double, Device::Cpu));
        backbone.forward(&input, &ForwardContext::train(None)).unwrap().sum(Kind::Double).backward();
        for (parameter, frozen) in parameters.parameters().iter().zip(frozen) {
            // Gradients pass through a frozen layer to those below it.
            assert_eq!(parameter.tensor.grad().defined(), !frozen, "{}", parameter.name);
            let expected =
                parameter.name.starts_with("layer2.") || parameter.name.starts_with("layer3.0.bn1.");
            assert_eq!(frozen, expected, "{}", parameter.name);
        }
    }
}
