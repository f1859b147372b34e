//! Rules about imports, and a reader of Rust sources that holds them.

mod circles;
mod layers;
mod source;

pub use circles::import_circles;
pub use layers::{Layout, Violation, check_imports};
pub use source::{Import, imports_of, rust_files};
