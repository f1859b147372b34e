//! Real worlds: each test starts this binary again under `mpirun`, where the same test is the body of a rank.

#![cfg(test)]

mod conveniences;
mod failing;
mod joining;
mod operations;
mod threading;
mod world;
