//! How programs call the layers of the same networks.

/// How the layers of a network are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheme {
    /// As here: torchvision's names of ResNets, timm's of vision transformers.
    Own,
    /// torchvision's names of vision transformers.
    TorchvisionVit,
    /// A ResNet of torchvision cut into `torch.nn.Sequential(*list(resnet.children())[:-1])`, as lightly's examples do.
    Children,
    /// The same of lightly's own ResNet, which has no layers without weights among its children.
    ChildrenOfLightly,
}

impl Scheme {
    pub const ALL: [Self; 4] = [Self::Own, Self::TorchvisionVit, Self::Children, Self::ChildrenOfLightly];

    /// What a tensor is called there; `None`: there is no such layer.
    pub fn name(self, own: &str) -> Option<String> {
        match self {
            Self::Own => Some(own.to_owned()),
            Self::TorchvisionVit => of_torchvision(own),
            // Behind `conv1` and `bn1` come an activation and a pooling.
            Self::Children => child(own, 4),
            Self::ChildrenOfLightly => child(own, 2),
        }
    }

    /// What is said about it.
    pub fn described(self) -> &'static str {
        match self {
            Self::Own => "",
            Self::TorchvisionVit => " by torchvision's names",
            Self::Children | Self::ChildrenOfLightly => " by the numbers of their layers",
        }
    }
}

/// The name in a sequence whose child of number `first_stage` is `layer1`.
fn child(own: &str, first_stage: u32) -> Option<String> {
    let (layer, rest) = own.split_once('.')?;
    let number = match layer {
        "conv1" => 0,
        "bn1" => 1,
        layer => first_stage + layer.strip_prefix("layer")?.parse::<u32>().ok()?.checked_sub(1)?,
    };
    Some(format!("{number}.{rest}"))
}

/// Of timm's names to those of `torchvision.models.VisionTransformer`.
fn of_torchvision(own: &str) -> Option<String> {
    let fixed = match own {
        "cls_token" => Some("class_token"),
        "pos_embed" => Some("encoder.pos_embedding"),
        "patch_embed.proj.weight" => Some("conv_proj.weight"),
        "patch_embed.proj.bias" => Some("conv_proj.bias"),
        "norm.weight" => Some("encoder.ln.weight"),
        "norm.bias" => Some("encoder.ln.bias"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Some(fixed.to_owned());
    }
    let (block, rest) = own.strip_prefix("blocks.")?.split_once('.')?;
    let (layer, parameter) = rest.rsplit_once('.')?;
    let layer = match layer {
        "attn.qkv" => {
            return Some(format!("encoder.layers.encoder_layer_{block}.self_attention.in_proj_{parameter}"));
        }
        "norm1" => "ln_1",
        "norm2" => "ln_2",
        "attn.proj" => "self_attention.out_proj",
        "mlp.fc1" => "mlp.0",
        "mlp.fc2" => "mlp.3",
        _ => return None,
    };
    Some(format!("encoder.layers.encoder_layer_{block}.{layer}.{parameter}"))
}
