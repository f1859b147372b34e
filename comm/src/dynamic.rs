//! Tables of C functions that are found at run time, so that one program runs with and without a GPU.
//!
//! The bindings of `cudarc` give the types. Its functions panic when a symbol is missing and return codes as Rust enums,
//! which a newer library may extend (NCCL 2.30 did); these tables give a typed error, and codes as numbers.

use libloading::Library;

use crate::error::CommError;

/// Why a library cannot be used, as it is remembered for every later call.
#[derive(Debug, Clone)]
pub(crate) struct Unusable {
    pub library: &'static str,
    pub reason: String,
    pub hint: &'static str,
}

impl From<Unusable> for CommError {
    fn from(unusable: Unusable) -> Self {
        let Unusable { library, reason, hint } = unusable;
        Self::Library { library, reason, hint: hint.to_owned() }
    }
}

/// The function `symbol` of `library`.
///
/// # Safety
/// `F` is the function pointer type of the C declaration.
pub(crate) unsafe fn function<F: Copy>(library: &Library, symbol: &'static str) -> Result<F, String> {
    // SAFETY: promised by the caller. The library is never unloaded, since tables live in statics.
    let found = unsafe { library.get::<F>(symbol) };
    found.map(|function| *function).map_err(|_| format!("it lacks the function `{symbol}`"))
}

/// Declares a struct of C functions and how to find them all.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $($name:ident = $symbol:literal($($argument:ty),* $(,)?) -> $result:ty;)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl $table {
            /// The names of all functions.
            #[cfg(test)]
            #[allow(dead_code, reason = "not every library is at hand for a test")]
            pub(crate) const SYMBOLS: &'static [&'static str] = &[$($symbol),*];

            /// Finds all functions; the error names the first that is missing.
            pub(crate) fn find(library: &libloading::Library) -> Result<Self, String> {
                Ok(Self {
                    // SAFETY: the types repeat the declarations of the library's C header.
                    $($name: unsafe { crate::dynamic::function(library, $symbol) }?,)*
                })
            }
        }
    };
}
pub(crate) use functions;
