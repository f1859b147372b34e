//! What it costs a rank to note what it does: nanoseconds of a stage mark, and of a call beside the bare call of MPI.
//!
//! ```text
//! mpirun -n 1 cargo run --release -p dtrain-comm --example heartbeat_cost
//! ```
#![allow(clippy::print_stdout, reason = "the figures are the result")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use dtrain_comm::{Hint, Stage, connect_mpi};
use mpi::ffi;

const REPETITIONS: u32 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let session = connect_mpi(&Hint::from_environment(&|name| std::env::var(name).ok())?)?;
    let collective = session.collective().clone();
    let heartbeat = collective.heartbeat();
    let rows = [
        ("a stage and its end", nanos(|step| drop(black_box(heartbeat.enter(stage(step)))))),
        ("a step", nanos(|step| heartbeat.set_step(u64::from(step)))),
        ("a barrier of one rank", nanos(|_| drop(black_box(collective.barrier())))),
        ("the same, bare", nanos(|_| assert_eq!(bare_barrier(), 0))),
    ];
    for (name, time) in rows {
        println!("{name:24} {time:8.1} ns");
    }
    session.finalize()?;
    Ok(())
}

fn stage(step: u32) -> Stage {
    if step.is_multiple_of(2) { Stage::Forward } else { Stage::Backward }
}

/// Nanoseconds of one call: the median of several rounds.
fn nanos(mut call: impl FnMut(u32)) -> f64 {
    const ROUNDS: u32 = 9;
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            (0..REPETITIONS / ROUNDS).for_each(&mut call);
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(REPETITIONS / ROUNDS)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn bare_barrier() -> std::ffi::c_int {
    // SAFETY: MPI is running, and nobody else uses MPI_COMM_WORLD meanwhile.
    unsafe { ffi::MPI_Barrier(ffi::RSMPI_COMM_WORLD) }
}
