//! The names that pickles may use, and what they mean here.

use crate::dtype::Dtype;

/// Texts in messages are cut here.
const MAX_SHOWN: usize = 120;

/// Which names are known, and what becomes of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Data sets: three names of numpy, and every other is refused.
    Arrays,
    /// Files of PyTorch: what rebuilds tensors and dictionaries; whatever else is named is never made.
    Tensors,
}

impl Dialect {
    /// The newest protocol that is read.
    pub fn last_protocol(self) -> u8 {
        match self {
            Self::Arrays => 4,
            Self::Tensors => 5,
        }
    }
}

/// A name that a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `numpy.ndarray`
    Ndarray,
    /// `numpy.dtype`
    NumpyType,
    /// `numpy.core.multiarray._reconstruct`
    Reconstruct,
    /// `torch._utils._rebuild_tensor`, of PyTorch before 0.4, or `_rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`, alone or `_with_state`
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a tensor with attributes, or of a subclass
    RebuildFromType,
    /// A class of storages, such as `torch.FloatStorage`
    StorageClass(Dtype),
    /// `collections.OrderedDict`, `dict`
    Dict,
    /// `collections.defaultdict`
    DefaultDict,
    /// `torch.Size`
    Size,
    /// Any other, by number; nothing is known of it but its name.
    Foreign(u32),
}

/// A type of numpy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumpyType {
    /// `|`, `<`, `>`, `=`
    pub order: u8,
    /// Such as `u1`.
    pub code: [u8; 2],
}

impl Global {
    /// What a name means in a dialect; `None`: nothing.
    pub fn resolve(module: &[u8], name: &[u8], dialect: Dialect) -> Option<Self> {
        match dialect {
            Dialect::Arrays => Self::of_numpy(module, name),
            Dialect::Tensors => Self::of_torch(module, name),
        }
    }

    fn of_numpy(module: &[u8], name: &[u8]) -> Option<Self> {
        match (module, name) {
            (b"numpy", b"ndarray") => Some(Self::Ndarray),
            (b"numpy", b"dtype") => Some(Self::NumpyType),
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => {
                Some(Self::Reconstruct)
            }
            _ => None,
        }
    }

    fn of_torch(module: &[u8], name: &[u8]) -> Option<Self> {
        match (module, name) {
            (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            (b"torch._utils", b"_rebuild_parameter" | b"_rebuild_parameter_with_state") => {
                Some(Self::RebuildParameter)
            }
            (b"torch._tensor", b"_rebuild_from_type_v2") => Some(Self::RebuildFromType),
            (b"collections", b"OrderedDict") | (b"builtins" | b"__builtin__", b"dict") => Some(Self::Dict),
            (b"collections", b"defaultdict") => Some(Self::DefaultDict),
            (b"torch", b"Size") => Some(Self::Size),
            (b"torch" | b"torch.cuda", class) => Dtype::of_storage_class(class).map(Self::StorageClass),
            _ => None,
        }
    }
}

impl NumpyType {
    /// Bytes of an element; nothing for types that are no plain numbers.
    pub fn num_bytes(self) -> Option<u64> {
        let [kind, size] = self.code;
        (matches!(kind, b'u' | b'i' | b'f' | b'b') && matches!(size, b'1' | b'2' | b'4' | b'8'))
            .then(|| u64::from(size - b'0'))
    }

    /// Such as `|u1`.
    pub fn name(self) -> String {
        [self.order, self.code[0], self.code[1]].map(char::from).iter().collect()
    }
}

/// A text of the file for a message: shortened, on one line.
pub(crate) fn shown(text: &[u8]) -> String {
    let cut = text.get(..text.len().min(MAX_SHOWN)).unwrap_or_default();
    let text: String =
        String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if cut.len() == MAX_SHOWN { format!("{text}...") } else { text }
}
