//! The three names of numpy that a pickled array needs, and its types.

use super::super::error::FormatProblem;

/// Texts in messages are cut here.
const MAX_SHOWN: usize = 120;

/// A name that a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `numpy.ndarray`
    Ndarray,
    /// `numpy.dtype`
    Dtype,
    /// `numpy.core.multiarray._reconstruct`
    Reconstruct,
}

/// A type of numpy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype {
    /// `|`, `<`, `>`, `=`
    pub order: u8,
    /// Such as `u1`.
    pub code: [u8; 2],
}

impl Global {
    /// # Errors
    /// Any other name.
    pub fn resolve(module: &[u8], name: &[u8], offset: u64) -> Result<Self, FormatProblem> {
        match (module, name) {
            (b"numpy", b"ndarray") => Ok(Self::Ndarray),
            (b"numpy", b"dtype") => Ok(Self::Dtype),
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Ok(Self::Reconstruct),
            _ => Err(FormatProblem::Global { offset, name: format!("{}.{}", shown(module), shown(name)) }),
        }
    }
}

impl Dtype {
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
pub fn shown(text: &[u8]) -> String {
    let cut = text.get(..text.len().min(MAX_SHOWN)).unwrap_or_default();
    let text: String =
        String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if cut.len() == MAX_SHOWN { format!("{text}...") } else { text }
}
