//! The dtrain binary.
fn main() {}
