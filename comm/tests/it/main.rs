//! Real worlds: each test starts this binary again under `mpirun`, where the same test is the body of a rank.

#![cfg(test)]

mod conveniences;
mod failing;
mod joining;
mod nccl_failing;
mod nccl_memory;
mod nccl_operations;
mod nccl_ordering;
mod nccl_starting;
mod nodes;
mod operations;
mod standin;
mod threading;
mod watching;
mod world;
