//! Time of an all-reduce through [`Collective`], against bare `MPI_Allreduce` calls on the same ranks, alternating.
//!
//! ```text
//! mpirun -n 2 --bind-to none cargo run --release -p dtrain-comm --example all_reduce [bytes] [repetitions]
//! ```
#![allow(clippy::print_stdout, reason = "the figures are the result")]

use std::error::Error;
use std::time::Instant;

use dtrain_comm::{
    Background, Buffer, Collective, ElementKind, Hint, ReduceOp, TensorOp, Transport, connect_mpi,
};
use mpi::ffi;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let bytes: usize = arguments.next().map_or(Ok(25 << 20), |text| text.parse())?;
    let repetitions: usize = arguments.next().map_or(Ok(30), |text| text.parse())?;

    let session = connect_mpi(&Hint::from_environment(&|name| std::env::var(name).ok())?)?;
    let collective = session.collective().clone();
    let thread = Background::start(session.duplicate()?)?;
    let mut values = vec![1.0_f32; bytes / size_of::<f32>()];
    let mut other = vec![0.0_f32; values.len()];

    let (mut ours, mut bare, mut two_buffers, mut threaded) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repetitions {
        ours.push(timed(&*collective, || {
            collective.all_reduce(Buffer::from(&mut values[..]), ReduceOp::Max)
        })?);
        // `MPI_IN_PLACE` is 1 in Open MPI.
        let in_place = std::ptr::without_provenance(1);
        bare.push(timed(&*collective, || {
            all_reduce_bare(in_place, &mut values);
            Ok::<_, Box<dyn Error>>(())
        })?);
        two_buffers.push(timed(&*collective, || {
            all_reduce_bare(values.as_ptr().cast(), &mut other);
            Ok::<_, Box<dyn Error>>(())
        })?);
        threaded.push(timed(&*collective, || {
            // SAFETY: the buffer outlives the ticket, which is waited for here.
            unsafe {
                let buffer = Buffer::from_raw(values.as_mut_ptr().cast(), values.len(), ElementKind::F32);
                thread.start(TensorOp::AllReduce(ReduceOp::Max), buffer)
            }?
            .wait()
        })?);
    }
    if session.world().is_main() {
        for warning in session.warnings() {
            println!("{warning}");
        }
        println!("{bytes} bytes, {} ranks, {repetitions} repetitions; ms", session.world().world_size);
        let rows = [
            ("Collective", ours),
            ("MPI_Allreduce, in place", bare),
            ("MPI_Allreduce, two buffers", two_buffers),
            ("Background", threaded),
        ];
        for (name, times) in rows {
            let [fastest, median] = summary(times);
            println!("{name:28} fastest {fastest:8.3}  median {median:8.3}");
        }
    }
    drop(thread);
    session.finalize()?;
    Ok(())
}

/// Milliseconds of `body`, which all ranks start together.
fn timed<E: Into<Box<dyn Error>>>(
    collective: &dyn Collective,
    body: impl FnOnce() -> Result<(), E>,
) -> Result<f64, Box<dyn Error>> {
    collective.barrier()?;
    let start = Instant::now();
    body().map_err(Into::into)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn all_reduce_bare(send: *const std::ffi::c_void, values: &mut [f32]) {
    // SAFETY: MPI is running; `values` and, unless it is MPI_IN_PLACE, `send` hold as many floats as are counted, which
    // is far below the limit of an `int`; nobody else uses MPI_COMM_WORLD meanwhile.
    unsafe {
        ffi::MPI_Allreduce(
            send,
            values.as_mut_ptr().cast(),
            values.len() as std::ffi::c_int,
            ffi::RSMPI_FLOAT,
            ffi::RSMPI_MAX,
            ffi::RSMPI_COMM_WORLD,
        );
    }
}

fn summary(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times.first(), times.get(times.len() / 2)].map(|time| time.copied().unwrap_or(f64::NAN))
}
