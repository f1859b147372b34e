//! Signals become a wish in the next report; nothing else happens in a handler. Ctrl-C once saves and stops, twice stops
//! at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dtrain_trainer::coordinator::Interrupt;
use dtrain_trainer::run::StopFlag;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{flag, low_level};

use crate::exit::Exit;
use crate::launch::rank::is_launched;

/// Turns signals into wishes of the returned flag.
pub fn watch() -> std::io::Result<StopFlag> {
    let stop = StopFlag::default();
    let armed = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, Exit::Interrupted as i32, Arc::clone(&armed))?;
    flag::register(SIGINT, armed)?;
    // mpirun hands on no Ctrl-C: the launcher's reaches its ranks as SIGUSR2. A scheduler that sends it means SIGUSR1.
    let second = if is_launched() { Interrupt::User } else { Interrupt::Requeue };
    for (signal, interrupt) in [
        (SIGINT, Interrupt::User),
        (SIGTERM, Interrupt::Requeue),
        (SIGUSR1, Interrupt::Requeue),
        (SIGUSR2, second),
    ] {
        let stop = stop.clone();
        // SAFETY: the handler does one atomic operation.
        unsafe { low_level::register(signal, move || stop.raise(interrupt)) }?;
    }
    Ok(stop)
}
