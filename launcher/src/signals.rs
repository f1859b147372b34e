//! Signals become a stop request in the next report; nothing else happens in a handler. Ctrl-C once saves and stops, twice stops
//! at once. A signal that was ignored when the program began stays ignored: whoever began it wants no hang-up under `nohup`,
//! and no Ctrl-C for a job in the background of a shell, where it is meant for somebody else.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dtrain_front::Exit;
use dtrain_front::rank::is_launched;
use dtrain_trainer::coordinator::Interrupt;
use dtrain_trainer::run::StopFlag;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{flag, low_level};

/// Turns signals into stop requests of the returned flag.
pub fn watch() -> std::io::Result<StopFlag> {
    let stop = StopFlag::default();
    let armed = Arc::new(AtomicBool::new(false));
    for signal in heard(&[SIGINT]) {
        flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    // mpirun hands on no Ctrl-C: the launcher's reaches its ranks as SIGUSR2. A scheduler that sends it means SIGUSR1.
    let second = if is_launched() { Interrupt::User } else { Interrupt::Requeue };
    for signal in heard(&[SIGINT, SIGTERM, SIGUSR1, SIGUSR2]) {
        let interrupt = match signal {
            SIGINT => Interrupt::User,
            SIGUSR2 => second,
            _ => Interrupt::Requeue,
        };
        let stop = stop.clone();
        // SAFETY: the handler does one atomic operation.
        unsafe { low_level::register(signal, move || stop.raise(interrupt)) }?;
    }
    Ok(stop)
}

/// Those of `signals` that are not ignored.
pub fn heard(signals: &[i32]) -> Vec<i32> {
    let ignored = ignored_signals(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    signals.iter().copied().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect()
}

/// The bits of `SigIgn` in `/proc/self/status`: signal n is bit n - 1.
fn ignored_signals(status: &str) -> u64 {
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        assert_eq!(ignored_signals("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored_signals(""), 0);
        assert_eq!(ignored_signals("SigIgn:\tmany\n"), 0);
    }
}
