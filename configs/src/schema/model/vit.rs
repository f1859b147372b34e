//! Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929) of the sizes that timm and DINO call tiny and small.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::{Elsewhere, NetworkConfig, NetworkFacts, NetworkSettings, NetworkVariant, PythonLibrary};
use crate::checks::Checks;

/// Parameters from which on a quick proof leaves a network out.
const LARGE: u64 = 20_000_000;
/// Blocks of the published sizes.
const DEPTH: usize = 12;
/// Width of the hidden layer of a block's perceptron per feature.
const MLP_RATIO: u64 = 4;

/// A vision transformer of size `S`: patches become tokens, blocks of attention and perceptron follow, each behind a layer norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub struct VitConfig<S: VitSize> {
    /// Rows and columns of a patch; views whose sides it does not divide are filled up with zeros at their ends.
    pub patch_size: usize,
    /// Blocks; the published sizes have 12.
    pub depth: usize,
    /// What the embedding is.
    pub pool: VitPool,
    /// Share of the samples for which the last block is skipped in training; that of earlier blocks rises to it from 0 in equal
    /// steps (stochastic depth, Huang et al. 2016). A teacher skips nothing.
    pub drop_path: f64,
    #[serde(skip)]
    size: PhantomData<S>,
}

impl<S: VitSize> VitConfig<S> {
    /// What the size decides.
    pub fn shape(&self) -> VitShape {
        S::SHAPE
    }

    /// Rows and columns of patches of a view.
    pub fn grid(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        [height, width].map(|side| side.div_ceil(self.patch_size.max(1)))
    }
}

impl<S: VitSize> Default for VitConfig<S> {
    fn default() -> Self {
        Self { patch_size: 16, depth: DEPTH, pool: VitPool::Token, drop_path: 0.0, size: PhantomData }
    }
}

/// What the embedding of a view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VitPool {
    /// The class token, which no patch stands for.
    Token,
    /// The mean of the patches.
    Mean,
}

/// What the size decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VitShape {
    /// Width of a token.
    pub dim: usize,
    /// Heads of the attention.
    pub num_heads: usize,
}

/// How large a vision transformer is.
pub trait VitSize: std::fmt::Debug + Clone + PartialEq {
    /// What the size decides.
    const SHAPE: VitShape;
    /// The name of the published network in timm.
    const IN_TIMM: &'static str;
}

/// 192 features, three heads.
#[derive(Debug, Clone, PartialEq)]
pub struct VitTiny;

impl VitSize for VitTiny {
    const SHAPE: VitShape = VitShape { dim: 192, num_heads: 3 };
    const IN_TIMM: &'static str = "vit_tiny_patch16_224";
}

/// 384 features, six heads.
#[derive(Debug, Clone, PartialEq)]
pub struct VitSmall;

impl VitSize for VitSmall {
    const SHAPE: VitShape = VitShape { dim: 384, num_heads: 6 };
    const IN_TIMM: &'static str = "vit_small_patch16_224";
}

/// For the sizes that have a name in the list.
impl<S: VitSize> NetworkSettings for VitConfig<S>
where
    NetworkConfig: From<Self>,
{
    fn facts(&self) -> NetworkFacts {
        let usual = Self::default().num_parameters([3, 224, 224]);
        NetworkFacts {
            min_side: self.patch_size,
            num_features: S::SHAPE.dim,
            one_size: false,
            is_large: usual > LARGE,
        }
    }

    fn num_parameters(&self, [in_channels, height, width]: [u64; 3]) -> u64 {
        let dim = S::SHAPE.dim as u64;
        let linear = |inputs: u64, outputs: u64| (inputs + 1) * outputs;
        let patch = (self.patch_size * self.patch_size) as u64;
        let [rows, columns] = self.grid([height as usize, width as usize]);
        let tokens = u64::from(self.pool == VitPool::Token);
        let positions = (rows * columns) as u64 + tokens;
        let perceptron = linear(dim, MLP_RATIO * dim) + linear(MLP_RATIO * dim, dim);
        let block = 4 * dim + linear(dim, 3 * dim) + linear(dim, dim) + perceptron;
        linear(in_channels * patch, dim) + (positions + tokens) * dim + self.depth as u64 * block + 2 * dim
    }

    fn check(&self, checks: &mut Checks) {
        checks.count("model.patch_size", self.patch_size as u64, 1, 256);
        checks.count("model.depth", self.depth as u64, 1, 64);
        checks.below_one("model.drop_path", self.drop_path);
    }

    fn position_grid(&self, view: [usize; 2]) -> Option<[usize; 2]> {
        Some(self.grid(view))
    }

    /// timm's network of the same size, built for these views; sides that the patches do not divide are filled up before.
    fn elsewhere(&self, [in_channels, height, width]: [u64; 3]) -> Vec<Elsewhere> {
        let [rows, columns] =
            self.grid([height as usize, width as usize]).map(|patches| patches * self.patch_size);
        let (patch, depth) = (self.patch_size, self.depth);
        let pool = match self.pool {
            VitPool::Token => "",
            VitPool::Mean => ", class_token=False, global_pool=\"avg\", fc_norm=False",
        };
        let call = format!(
            "timm.create_model(\"{}\", in_chans={in_channels}, img_size=({rows}, {columns}), patch_size={patch}, \
             depth={depth}{pool}",
            S::IN_TIMM
        );
        vec![Elsewhere {
            library: PythonLibrary::Timm,
            call,
            has_arguments: true,
            adjustments: Vec::new(),
            last_layer: "head",
            takes_norm_layer: false,
        }]
    }

    /// Of a few blocks, without a path that is dropped.
    fn variants(&self) -> Vec<NetworkVariant> {
        [(VitPool::Token, "class token"), (VitPool::Mean, "mean of patches")]
            .into_iter()
            .map(|(pool, words)| {
                let network = Self { pool, depth: 2, drop_path: 0.0, patch_size: 8, ..self.clone() }.into();
                NetworkVariant { network, words, side: 32 }
            })
            .collect()
    }
}
