//! VQ-VAE (van den Oord et al. 2017) whose latents also tell the target and which change was made to the view.

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, Scheduled, ScheduledSetting, ValueRange};
use super::codebook::CodebookConfig;
use super::{LabelUse, MethodConfig, MethodFacts, MethodSettings};
use crate::checks::{Checks, MAX_DIM};

/// A VQ-VAE on patches of spectrograms or images, with heads on its continuous latents (docs/vqvae.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VqvaeConfig {
    /// Equal patches that each view is cut into along time. They are encoded one by one, and share what was drawn for the view;
    /// columns that are left over at the end are left out.
    pub num_patches: u32,
    /// Latents lie in (-bound, bound), by bound * tanh, and codes within it; `null`: anywhere.
    pub latent_bound: Option<f64>,
    /// What latents are rounded to.
    pub codebook: CodebookConfig,
    /// Weight of the distance of latents from their codes, the commitment cost; a number, or a schedule such as
    /// `{from: 0.1, to: 0.25, kind: linear, over: 0.2}`.
    pub commitment: Scheduled,
    /// How gradients pass the rounding.
    pub gradient: QuantizerGradient,
    /// Channels behind the first layer of the decoder; each doubling of rows and columns halves them, down to 16.
    pub decoder_channels: usize,
    /// The classifiers on the latents.
    pub semantic_heads: SemanticHeadsConfig,
    /// Factor on the cross-entropy of `data.target`, such as the machine id.
    pub lambda_machine_id: f64,
    /// Factor on the cross-entropy of the change that `augment.transforms` has drawn.
    pub lambda_transform: f64,
    /// Factor on the entropy of code usage over the global batch, which is made large; 0: no such term, and no first pass over
    /// the batch for it.
    pub lambda_entropy: f64,
    /// `lambda_entropy`: softmax temperature of the squared distances that make usage differentiable.
    pub entropy_temperature: f64,
    /// The head of `augment.transforms` tells the change from each patch by itself, rather than from their mean.
    pub transform_head_per_patch: bool,
}

impl VqvaeConfig {
    /// Name of the commitment cost among the values that are scheduled.
    pub const COMMITMENT: &'static str = "commitment";
    /// Name of the perplexity of code usage, over about the last hundred steps.
    pub const PERPLEXITY: &'static str = "perplexity";
    /// Name of the share of codes that were in use over about the last hundred steps.
    pub const USAGE: &'static str = "codebook_usage";
}

impl Default for VqvaeConfig {
    fn default() -> Self {
        Self {
            num_patches: 4,
            latent_bound: Some(5.0),
            codebook: CodebookConfig::default(),
            commitment: 0.25.into(),
            gradient: QuantizerGradient::StraightThrough,
            decoder_channels: 64,
            semantic_heads: SemanticHeadsConfig::default(),
            lambda_machine_id: 1.0,
            lambda_transform: 1.0,
            lambda_entropy: 0.0,
            entropy_temperature: 1.0,
            transform_head_per_patch: false,
        }
    }
}

/// How gradients pass from the decoder to the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuantizerGradient {
    /// As if codes were the latents (Bengio et al. 2013, arXiv 1308.3432).
    #[default]
    StraightThrough,
    /// Turned and stretched as the latent is turned and stretched to its code (Fifty et al. 2024, arXiv 2410.06424).
    Rotation,
}

/// Heads of one hidden layer: mean over patches and positions, linear layer, SiLU, dropout, linear layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SemanticHeadsConfig {
    /// Width of the hidden layer.
    pub hidden_dim: usize,
    /// Share of the hidden layer that is set to zero in training.
    pub dropout: f64,
    /// Share of the target probability that is spread over classes, in training; validation has none.
    pub label_smoothing: f64,
    /// Which classes it is spread over.
    pub smoothing: Smoothing,
    /// Classes of the target without a sample, such as numbers between those of machines.
    pub unused_classes: UnusedClasses,
}

impl Default for SemanticHeadsConfig {
    fn default() -> Self {
        Self {
            hidden_dim: 128,
            dropout: 0.3,
            label_smoothing: 0.0,
            smoothing: Smoothing::All,
            unused_classes: UnusedClasses::Keep,
        }
    }
}

/// What label smoothing spreads probability over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smoothing {
    /// All K classes, the right one too, which keeps 1 - e + e/K (PyTorch's formula).
    #[default]
    All,
    /// The K - 1 others: the right one keeps 1 - e.
    Others,
}

impl Smoothing {
    /// The same targets by PyTorch's formula, where `share` goes to `num_classes` classes.
    pub fn as_of_all(self, share: f64, num_classes: i64) -> f64 {
        match self {
            Self::All => share,
            Self::Others if num_classes < 2 => 0.0,
            Self::Others => share * num_classes as f64 / (num_classes - 1) as f64,
        }
    }
}

/// What a head does with classes that have no sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnusedClasses {
    /// It has an output for them, as for all others.
    #[default]
    Keep,
    /// They take no part in its softmax.
    LeaveOut,
}

impl MethodSettings for VqvaeConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            labels: LabelUse::Target,
            patches: self.num_patches,
            codes: true,
            first_pass: self.lambda_entropy > 0.0,
            ..MethodFacts::default()
        }
    }

    fn scheduled(&self) -> Vec<ScheduledSetting> {
        vec![ScheduledSetting {
            key: "method.commitment",
            name: Self::COMMITMENT,
            schedule: self.commitment,
            range: ValueRange::NotNegative,
        }]
    }

    fn check(&self, config: &RunConfig, checks: &mut Checks) {
        checks.count("method.num_patches", self.num_patches, 1, 1024);
        if let Some(bound) = self.latent_bound {
            checks.positive("method.latent_bound", bound);
        }
        self.codebook.check(checks);
        checks.count("method.decoder_channels", self.decoder_channels as u64, 1, MAX_DIM);
        checks.count("method.semantic_heads.hidden_dim", self.semantic_heads.hidden_dim as u64, 1, MAX_DIM);
        checks.below_one("method.semantic_heads.dropout", self.semantic_heads.dropout);
        checks.below_one("method.semantic_heads.label_smoothing", self.semantic_heads.label_smoothing);
        for (key, lambda) in [
            ("method.lambda_machine_id", self.lambda_machine_id),
            ("method.lambda_transform", self.lambda_transform),
            ("method.lambda_entropy", self.lambda_entropy),
        ] {
            checks.not_negative(key, lambda);
        }
        checks.positive("method.entropy_temperature", self.entropy_temperature);
        checks.require_of_asked(
            self.lambda_transform == 0.0 || config.augment.transforms.is_some(),
            ["method.lambda_transform", "augment.transforms"],
            || {
                format!(
                    "`method.lambda_transform` = {} weighs a head that tells changes, and `augment.transforms` = null draws \
                     none",
                    self.lambda_transform
                )
            },
            "`augment=machine_transforms` draws them; `method.lambda_transform=0` does without the head",
        );
        checks.require_of_asked(
            self.lambda_entropy == 0.0 || self.codebook.has_entries(),
            ["method.lambda_entropy", "method.codebook.kind"],
            || "`method.lambda_entropy` is about distances to codes, and `method.codebook.kind` = fsq has none".into(),
            "FSQ uses its codes by itself: leave `method.lambda_entropy` out, or choose another `method.codebook.kind`",
        );
    }

    /// Narrow, with whole views as patches, since they may be as small as the network allows, codes that are replaced, and the
    /// entropy term.
    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        let codebook = CodebookConfig { num_codes: 12, dim: 6, decay: 0.8, ..self.codebook.clone() };
        let semantic_heads =
            SemanticHeadsConfig { hidden_dim: 16, label_smoothing: 0.1, ..self.semantic_heads.clone() };
        MethodConfig::Vqvae(Self {
            num_patches: 1,
            codebook,
            decoder_channels: 16,
            semantic_heads,
            lambda_entropy: 0.1,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both formulas give the right class and each other one the same probability, once they are one.
    #[test]
    fn smoothing_over_the_others_is_pytorchs_formula_with_a_larger_share() {
        let (share, num_classes) = (0.1, 4);
        let of_all = Smoothing::Others.as_of_all(share, num_classes);
        let right = 1.0 - of_all + of_all / 4.0;
        assert!((right - (1.0 - share)).abs() < 1e-15);
        assert!((of_all / 4.0 - share / 3.0).abs() < 1e-15);
        assert_eq!(Smoothing::All.as_of_all(share, num_classes).to_bits(), share.to_bits());
        assert_eq!(Smoothing::Others.as_of_all(share, 1).to_bits(), 0.0_f64.to_bits());
    }
}
