//! Element types and how their values are combined.

/// An element type of NCCL that the stand-in knows, by NCCL's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int8,
    Uint8,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float32,
    Float64,
}

impl Kind {
    /// The type of NCCL's number; none for types that the stand-in lacks.
    pub(crate) fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Int8,
            1 => Self::Uint8,
            2 => Self::Int32,
            3 => Self::Uint32,
            4 => Self::Int64,
            5 => Self::Uint64,
            7 => Self::Float32,
            8 => Self::Float64,
            _ => return None,
        })
    }

    /// Bytes per element.
    pub(crate) fn num_bytes(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 => 1,
            Self::Int32 | Self::Uint32 | Self::Float32 => 4,
            Self::Int64 | Self::Uint64 | Self::Float64 => 8,
        }
    }
}

/// A reduction of NCCL that the stand-in knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    Prod,
    Max,
    Min,
}

impl Reduction {
    /// The reduction of NCCL's number.
    pub(crate) fn of(number: u32) -> Option<Self> {
        [Self::Sum, Self::Prod, Self::Max, Self::Min].get(usize::try_from(number).ok()?).copied()
    }
}

/// `into = reduction(into, other)`, element by element, in the type itself.
pub(crate) fn combine(kind: Kind, reduction: Reduction, into: &mut [u8], other: &[u8]) {
    macro_rules! fold {
        ($element:ty, $sum:expr, $product:expr) => {{
            let (into, _) = into.as_chunks_mut::<{ size_of::<$element>() }>();
            let (other, _) = other.as_chunks::<{ size_of::<$element>() }>();
            for (into, other) in into.iter_mut().zip(other) {
                let (a, b) = (<$element>::from_ne_bytes(*into), <$element>::from_ne_bytes(*other));
                let result: $element = match reduction {
                    Reduction::Sum => $sum(a, b),
                    Reduction::Prod => $product(a, b),
                    Reduction::Max => a.max(b),
                    Reduction::Min => a.min(b),
                };
                *into = result.to_ne_bytes();
            }
        }};
        ($integer:ty) => {
            fold!($integer, <$integer>::wrapping_add, <$integer>::wrapping_mul)
        };
    }
    match kind {
        Kind::Int8 => fold!(i8),
        Kind::Uint8 => fold!(u8),
        Kind::Int32 => fold!(i32),
        Kind::Uint32 => fold!(u32),
        Kind::Int64 => fold!(i64),
        Kind::Uint64 => fold!(u64),
        Kind::Float32 => fold!(f32, |a, b| a + b, |a, b| a * b),
        Kind::Float64 => fold!(f64, |a, b| a + b, |a, b| a * b),
    }
}
