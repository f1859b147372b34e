//! ResNets (He et al. 2015, arXiv 1512.03385) as torchvision has them.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::{Elsewhere, NetworkConfig, NetworkFacts, NetworkSettings, NetworkVariant, PythonLibrary};
use crate::checks::Checks;

/// Channels behind the stem, and of the first stage before its expansion.
const STEM_CHANNELS: u64 = 64;
/// Parameters from which on a quick proof leaves a network out.
const LARGE: u64 = 20_000_000;

/// A ResNet of depth `D`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub struct ResnetConfig<D: ResnetDepth> {
    /// The first layers.
    pub stem: Stem,
    #[serde(skip)]
    depth: PhantomData<D>,
}

impl<D: ResnetDepth> ResnetConfig<D> {
    fn with_stem(stem: Stem) -> Self {
        Self { stem, depth: PhantomData }
    }

    /// What the depth decides.
    pub fn architecture(&self) -> ResnetArchitecture {
        D::ARCHITECTURE
    }
}

impl<D: ResnetDepth> Default for ResnetConfig<D> {
    fn default() -> Self {
        Self::with_stem(Stem::Imagenet)
    }
}

/// First layers of a ResNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7x7 convolution of stride 2 and max-pooling, as published for 224x224 images.
    Imagenet,
    /// 3x3 convolution of stride 1, no pooling, for 32x32 images (SimCLR, appendix B.9).
    Small,
}

impl Stem {
    /// Rows and columns of its convolution.
    pub fn kernel(self) -> usize {
        match self {
            Self::Imagenet => 7,
            Self::Small => 3,
        }
    }
}

/// What the depth decides (table 1 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResnetArchitecture {
    /// Residual blocks of each stage.
    pub blocks_per_stage: [usize; 4],
    /// Blocks of three convolutions, of which the last has four times the channels, instead of two.
    pub bottleneck: bool,
    /// Parameters as torchvision counts them: three channels, published stem, a classifier of 1000 classes.
    published_parameters: u64,
    /// The function of `torchvision.models`.
    function: &'static str,
}

impl ResnetArchitecture {
    /// Output channels of a block per channel of its stage.
    pub fn expansion(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    /// Channels behind the last stage.
    pub fn num_features(&self) -> usize {
        512 * self.expansion()
    }
}

/// How deep a ResNet is.
pub trait ResnetDepth: std::fmt::Debug + Clone + PartialEq {
    /// What the depth decides.
    const ARCHITECTURE: ResnetArchitecture;
}

/// 18 layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Depth18;

impl ResnetDepth for Depth18 {
    const ARCHITECTURE: ResnetArchitecture = ResnetArchitecture {
        blocks_per_stage: [2, 2, 2, 2],
        bottleneck: false,
        published_parameters: 11_689_512,
        function: "resnet18",
    };
}

/// 34 layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Depth34;

impl ResnetDepth for Depth34 {
    const ARCHITECTURE: ResnetArchitecture = ResnetArchitecture {
        blocks_per_stage: [3, 4, 6, 3],
        bottleneck: false,
        published_parameters: 21_797_672,
        function: "resnet34",
    };
}

/// 50 layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Depth50;

impl ResnetDepth for Depth50 {
    const ARCHITECTURE: ResnetArchitecture = ResnetArchitecture {
        blocks_per_stage: [3, 4, 6, 3],
        bottleneck: true,
        published_parameters: 25_557_032,
        function: "resnet50",
    };
}

/// For the depths that have a name in the list.
impl<D: ResnetDepth> NetworkSettings for ResnetConfig<D>
where
    NetworkConfig: From<Self>,
{
    fn facts(&self) -> NetworkFacts {
        let ResnetArchitecture { published_parameters, .. } = D::ARCHITECTURE;
        NetworkFacts {
            min_side: 1,
            num_features: D::ARCHITECTURE.num_features(),
            one_size: false,
            is_large: published_parameters > LARGE,
        }
    }

    fn num_parameters(&self, [in_channels, ..]: [u64; 3]) -> u64 {
        let classifier = 1000 * (D::ARCHITECTURE.num_features() as u64 + 1);
        let stem = |channels: u64, kernel: usize| STEM_CHANNELS * channels * (kernel * kernel) as u64;
        let behind_stem =
            D::ARCHITECTURE.published_parameters - classifier - stem(3, Stem::Imagenet.kernel());
        behind_stem + stem(in_channels, self.stem.kernel())
    }

    fn check(&self, _checks: &mut Checks) {}

    fn variants(&self) -> Vec<NetworkVariant> {
        [(Stem::Imagenet, "imagenet stem", 64), (Stem::Small, "small stem", 32)]
            .into_iter()
            .map(|(stem, words, side)| NetworkVariant { network: Self::with_stem(stem).into(), words, side })
            .collect()
    }

    /// torchvision and timm call the tensors the same.
    fn elsewhere(&self, [in_channels, ..]: [u64; 3]) -> Vec<Elsewhere> {
        let function = D::ARCHITECTURE.function;
        let convolution = |form: &str| {
            format!("model.conv1 = torch.nn.Conv2d({in_channels}, {STEM_CHANNELS}, {form}, bias=False)")
        };
        let small = [convolution("3, padding=1"), "model.maxpool = torch.nn.Identity()".to_owned()];
        let adjustments = match self.stem {
            Stem::Small => small.to_vec(),
            Stem::Imagenet if in_channels != 3 => vec![convolution("7, stride=2, padding=3")],
            Stem::Imagenet => Vec::new(),
        };
        let of =
            |library: PythonLibrary, call: String, has_arguments: bool, adjustments: Vec<String>| Elsewhere {
                library,
                call,
                has_arguments,
                adjustments,
                last_layer: "fc",
                takes_norm_layer: library == PythonLibrary::Torchvision,
            };
        let channels = if in_channels == 3 { String::new() } else { format!(", in_chans={in_channels}") };
        let of_timm = format!("timm.create_model(\"{function}\"{channels}");
        let small = if self.stem == Stem::Small { small.to_vec() } else { Vec::new() };
        vec![
            of(PythonLibrary::Torchvision, format!("torchvision.models.{function}("), false, adjustments),
            of(PythonLibrary::Timm, of_timm, true, small),
        ]
    }
}
