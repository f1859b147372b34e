//! Codebooks of every kind on patches of a network of strided convolutions: how a batch is cut over ranks and micro-batches does
//! not matter, with k-means before the first step, replaced codes and the entropy term; and a frozen codebook stays bit for bit.

use dtrain_configs::schema::{
    CodebookConfig, CodebookKind, ConvEncoderConfig, NetworkConfig, Norm, PhaseConfig, QuantizerGradient,
    Smoothing, VqvaeConfig,
};

use super::*;
use crate::method::Task;

fn config(kind: CodebookKind) -> VqvaeConfig {
    let codebook = CodebookConfig {
        kind,
        num_codes: 10,
        dim: 5,
        decay: 0.6,
        levels: vec![4, 3, 2],
        reseed_below: 1.0,
        dead_below: 0.7,
        ..CodebookConfig::default()
    };
    let mut config = VqvaeConfig { num_patches: 2, codebook, decoder_channels: 16, ..VqvaeConfig::default() };
    config.lambda_entropy = 0.1;
    config.semantic_heads.hidden_dim = 8;
    config.semantic_heads.label_smoothing = 0.1;
    config.semantic_heads.smoothing = Smoothing::Others;
    config.transform_head_per_patch = kind == CodebookKind::Ema;
    if kind == CodebookKind::Cosine {
        config.gradient = QuantizerGradient::Rotation;
    }
    config
}

/// Normalized sample by sample, so that micro-batches change nothing.
fn case(kind: CodebookKind) -> Case {
    let network = ConvEncoderConfig { channels: vec![6, 8] };
    let mut model = ModelConfig::from(NetworkConfig::from(network));
    model.norm = Norm::Group;
    let build = move |parameters: &mut Parameters| {
        let method = MethodConfig::Vqvae(config(kind));
        method::build(&method, &model, &Task::of_classes([1, SIZE, SIZE], CLASSES), parameters)
    };
    whole(adamw(), built_by(build))
}

#[test]
fn however_the_batch_is_cut_codes_are_the_same() {
    for kind in [CodebookKind::Ema, CodebookKind::Cosine, CodebookKind::Learned] {
        assert_cuts_do_not_matter(&format!("{kind:?}"), || case(kind));
    }
}

#[test]
fn codes_without_a_codebook_of_their_own_do_not_notice_ranks_either() {
    for kind in [CodebookKind::Fsq, CodebookKind::Simvq] {
        let alone = train(&case(kind), &batches(1));
        let cut = Case { micro_batch: Some(2), ..case(kind) };
        assert_same_training(&format!("{kind:?}"), &train(&cut, &batches(3)), &alone);
    }
}

#[test]
fn a_frozen_codebook_stays_bit_for_bit_while_all_else_moves() {
    let phase = |name: &str, freeze: &[&str]| PhaseConfig {
        name: name.into(),
        steps: Some(3),
        freeze: freeze.iter().map(|&name| name.into()).collect(),
        ..PhaseConfig::default()
    };
    let phases = PhasesConfig {
        enabled: true,
        fracs: Vec::new(),
        list: vec![phase("all", &[]), phase("frozen", &["codebook"]), phase("again", &[])],
    };
    for kind in [CodebookKind::Ema, CodebookKind::Cosine, CodebookKind::Learned, CodebookKind::Simvq] {
        let case = Case { phases: phases.clone(), ..case(kind) };
        let [three, six] = [3, 6].map(|steps| train(&case, &batches(2)[..steps]));
        let all = |trained: &Trained| -> Vec<(String, Tensor)> {
            let values = trained.weights.iter().chain(&trained.buffers);
            values.map(|(name, value)| (name.clone(), value.shallow_clone())).collect()
        };
        for ((name, before), (_, after)) in all(&three).iter().zip(&all(&six)) {
            if name.starts_with("codebook.") {
                assert_eq!(before, after, "{kind:?}: {name}");
            } else if name != "started" {
                assert_ne!(before, after, "{kind:?}: {name}");
            }
        }
    }
}
